#!/usr/bin/env bash
# Formatting, clippy and rustdoc; every warning is an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/cargo.sh fmt --all --check
scripts/cargo.sh clippy --locked --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" scripts/cargo.sh doc --locked --workspace --no-deps
