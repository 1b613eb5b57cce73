#!/bin/sh
# Runs every fuzz target for SECONDS_EACH (default 20) where a nightly compiler is present, with plain cargo and the flags that
# cargo-fuzz would set. Without one it says so and succeeds: the same bodies run as property tests.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "no nightly compiler: the fuzz bodies run as property tests only (cargo test -p countersign-tests --test fuzz_bodies)"
    exit 0
fi
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
out=${CARGO_TARGET_DIR:-$here/target}/fuzz
RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
export RUSTFLAGS
cargo +nightly build --release --target "$host" --target-dir "$out"
for target in fuzz_targets/*.rs; do
    name=$(basename "$target" .rs)
    mkdir -p "corpus/$name" "artifacts/$name"
    echo "== $name"
    log=artifacts/$name.log
    if ! "$out/$host/release/$name" -max_total_time="${SECONDS_EACH:-20}" -max_len=4096 -timeout=60 \
        -print_final_stats=1 -artifact_prefix="artifacts/$name/" "corpus/$name" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "$name failed: its input is in fuzz/artifacts/$name" >&2
        exit 1
    fi
    grep -E 'stat::number_of_executed_units|DONE' "$log"
done
