#!/usr/bin/env bash
# All tests: Rust tests on SQLite and PostgreSQL, documentation examples, and the checks by outside libraries.
# With the argument "adversary" only the hostile coordinator's attempts. The last line is "N passed, N failed".
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -e "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"

logs=$(mktemp -d "${TMPDIR:-/tmp}/countersign-test.XXXXXX")
trap 'rm -rf "$logs"' EXIT
passed=0
failed=0
broken=()

# Adds up what a log of cargo, nextest or a check by outside libraries says it ran.
count() {
  local sums
  sums=$(sed -E 's/\x1b\[[0-9;]*m//g' "$1" | awk '
    # nextest: "Summary [ 1.2s] 12 tests run: 11 passed (1 slow), 1 failed, 3 skipped"
    /^ *Summary \[/ { for (i = 1; i < NF; i++) {
        if ($(i+1) ~ /^passed/) p += $i
        if ($(i+1) ~ /^(failed|timed)/) f += $i } }
    # cargo test: "test result: ok. 12 passed; 0 failed; ..."
    /^test result:/ { for (i = 1; i < NF; i++) {
        if ($(i+1) ~ /^passed/) p += $i
        if ($(i+1) ~ /^failed/) f += $i } }
    # outside checks: "12 passed, 0 failed"
    /^[0-9]+ passed, [0-9]+ failed$/ { p += $1; f += $3 }
    END { printf "%d %d\n", p, f }')
  passed=$((passed + ${sums% *}))
  failed=$((failed + ${sums#* }))
}

# part NAME COMMAND...: runs the command, shows its output, counts it, and remembers if it failed.
part() {
  local name=$1 status=0
  shift
  echo "== $name"
  "$@" 2>&1 | tee "$logs/$name"
  status=${PIPESTATUS[0]}
  count "$logs/$name"
  if [ "$status" -ne 0 ]; then broken+=("$name"); fi
}

rust_tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --no-fail-fast "$@"
  else
    cargo test --locked --no-fail-fast "$@"
  fi
}

# The tests that need a database server say so instead of passing when it is missing.
export CI=true
case "${1:-all}" in
  adversary)
    # A line for each attack: its name, who refused it, and why. The last line says how many there were.
    attacks="$logs/attacks"
    if cargo nextest --version >/dev/null 2>&1; then
      rust_tests --package countersign-tests --test adversary --success-output final >"$attacks.log" 2>&1
    else
      rust_tests --package countersign-tests --test adversary -- --nocapture >"$attacks.log" 2>&1
    fi
    status=$?
    sed -E 's/^ +//' "$attacks.log" | grep -E ' refused by ' | sort -u | tee "$attacks"
    if [ "$status" -ne 0 ]; then
      grep -E '^ *(FAIL|TIMEOUT|error)|panicked|FAILED' "$attacks.log" | sort -u
      echo "failed: an attack was not refused as it should be, or could not be made" >&2
    fi
    told=$(sed -E 's/ refused by .*//' "$attacks" | sort -u | wc -l)
    sums=$(sed -E 's/^ +//' "$attacks.log" | awk '/^[0-9]+ attacks, [0-9]+ refused$/ { a += $1; r += $3 }
      END { printf "%d %d\n", a, r }')
    if [ "$status" -eq 0 ] && [ "$told" -ne "${sums% *}" ]; then
      echo "failed: ${sums% *} attacks, but $told names in the lines above: a name stands for two attacks" >&2
      status=1
    fi
    echo "${sums% *} attacks, ${sums#* } refused"
    exit "$status"
    ;;
  all)
    export -f rust_tests
    part rust scripts/test-postgres.sh bash -c 'rust_tests --workspace'
    if cargo nextest --version >/dev/null 2>&1; then
      part documentation cargo test --locked --workspace --doc
    fi
    if [ -x tests/outside/run.sh ]; then part outside tests/outside/run.sh; fi
    ;;
  *)
    echo "usage: $0 [adversary]" >&2
    exit 2
    ;;
esac

if [ "${#broken[@]}" -gt 0 ]; then
  echo "failed: ${broken[*]}"
  # A part that broke before it could count anything, such as by not compiling, is one failure.
  if [ "$failed" -eq 0 ]; then failed=${#broken[@]}; fi
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
