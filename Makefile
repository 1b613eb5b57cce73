# Every target does its own set-up (scripts/setup.sh says what it installs) and does nothing twice.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-build build demo test lint adversary hsm-conformance bench load

help: ## Say what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: ## Install what building and testing need
	@scripts/setup.sh build test

setup-build:
	@scripts/setup.sh build

build: setup-build ## Build the countersign command
	@scripts/cargo.sh build --locked --package countersign-cli --package countersign-hsm

demo: setup-build ## Three signers and a coordinator sign real transfers; at most a minute after the build
	@scripts/demo.sh

test: setup ## All tests, on SQLite and PostgreSQL, and the checks by outside libraries
	@scripts/test.sh

lint: setup-build ## Formatting, clippy, rustdoc
	@scripts/lint.sh

adversary: setup-build ## Only the hostile coordinator's attempts
	@scripts/test.sh adversary

hsm-conformance: setup ## Outside PKCS#11 suites against SoftHSM, straight and through the simulator
	@scripts/hsm-conformance.sh

bench: setup-build ## Criterion benches, with release code
	@scripts/cargo.sh bench --locked --package countersign-bench

load: setup-build ## What a signature costs in a whole deployment, beside the bare library; and memory
	@scripts/cargo.sh build --locked --release --package countersign-cli --package countersign-bench --bin countersign --bin load
	@$${CARGO_TARGET_DIR:-target}/release/load memory
	@$${CARGO_TARGET_DIR:-target}/release/load sign --protocols dkls23,frost-ed25519,cggmp24
