#!/usr/bin/env bash
# Builds the countersign command and runs its demo. Arguments go to `countersign demo`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/cargo.sh build --locked --package countersign-cli
exec "${CARGO_TARGET_DIR:-target}/debug/countersign" demo --result target/demo/result.json "$@"
