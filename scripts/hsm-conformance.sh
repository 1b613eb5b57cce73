#!/usr/bin/env bash
# Outside PKCS#11 suites against SoftHSM, straight and through hsm-sim without a fault: is the result of every test the same?
# And is it the recorded one (hsm-sim/conformance/*.txt), where SoftHSM and OpenSC have the recorded versions?
# One line a suite; the last line is "N suites, N same". With "--record" the results become the record.
#
# Suites are fetched once, from crates.io and PyPI, into the target directory.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -e "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"

record=""
case "${1:-}" in
  "") ;;
  --record) record=yes ;;
  *) echo "usage: $0 [--record]" >&2; exit 2 ;;
esac

root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac
cache=$target/hsm-conformance
recorded=$root/hsm-sim/conformance
mkdir -p "$cache"
work=$(mktemp -d "$cache/run.XXXXXX")
trap 'rm -rf "$work"' EXIT

fail() {
  echo "hsm-conformance: $*" >&2
  exit 1
}

softhsm=${SOFTHSM2_MODULE:-}
for path in /usr/lib/softhsm /usr/local/lib/softhsm /usr/lib/*/softhsm /usr/lib64/pkcs11; do
  [ -n "$softhsm" ] || [ ! -e "$path/libsofthsm2.so" ] || softhsm=$path/libsofthsm2.so
done
[ -n "$softhsm" ] || fail "there is no SoftHSM: run scripts/setup.sh test"
CARGO_TARGET_DIR=$target cargo build --quiet --locked --package countersign-hsm-sim || fail "the simulator does not build"
simulator=$target/debug/libcountersign_hsm_sim.so
versions="SoftHSM $(softhsm2-util --version), $(opensc-tool --info 2>/dev/null | sed -nE '1s/^OpenSC ([^ ]+).*/OpenSC \1/p')"

export COUNTERSIGN_HSM_SIM=i-know-this-is-a-simulator
export COUNTERSIGN_HSM_SIM_MODULE=$softhsm
unset COUNTERSIGN_HSM_SIM_PLAN COUNTERSIGN_HSM_SIM_CONTROL COUNTERSIGN_HSM_SIM_MEMORY

# softhsm_in FOLDER: SoftHSM without a token, in the folder.
softhsm_in() {
  mkdir -p "$1/tokens"
  printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' "$1" >"$1/softhsm2.conf"
  export SOFTHSM2_CONF=$1/softhsm2.conf
}

# fresh_token FOLDER: one token there, "suite".
fresh_token() {
  softhsm2-util --init-token --free --label suite --so-pin 12345678 --pin 1234 >"$1/init.log" 2>&1 ||
    fail "no token: $(cat "$1/init.log")"
}

# Each suite: NAME MODULE FOLDER, writes FOLDER/outcomes, a line for each test. Exit code 3: cannot be run here, and says why.

pkcs11_tool() {
  local module=$1 folder=$2
  fresh_token "$folder"
  tool() { pkcs11-tool --module "$module" --token-label suite "$@" 2>&1; }
  {
    tool --login --pin 1234 --keypairgen --key-type rsa:2048 --id 01 --label rsa --usage-sign --usage-decrypt
    # Before there are other keys: the test goes through them in an order of chance.
    tool --login --pin 1234 --test
    tool --login --pin 1234 --keypairgen --key-type EC:secp256k1 --id 02 --label k1 --usage-sign
    tool --list-mechanisms
    # SoftHSM lists objects in an order of chance.
    tool --login --pin 1234 --list-objects | sort
    tool --login --pin 9999 --list-objects
  } >"$folder/log"
  # Points, and numbers of slots, are made anew for every token; and the simulator says what it is.
  sed -E '/^hsm-sim: this is a SIMULATOR/d; s/0x[0-9a-f]{6,}/0x.../g; s/(EC_POINT:).*/\1 .../' "$folder/log" >"$folder/outcomes"
}

cryptoki() {
  local module=$1 folder=$2 source version
  version=$(sed -n '/^name = "cryptoki"$/{n;s/version = "\(.*\)"/\1/p}' "$root/Cargo.lock")
  source=$cache/cryptoki-$version
  if [ ! -e "$source/Cargo.toml" ]; then
    local manifest
    manifest=$(cd "$root" && cargo metadata --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu |
      python3 -c 'import json, sys
print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cryptoki"))') || return 1
    rm -rf "$source.new"
    cp -r "$(dirname "$manifest")" "$source.new" && chmod -R u+w "$source.new" || return 1
    # On its own, with the versions it was released with.
    printf '\n[workspace]\n' >>"$source.new/Cargo.toml"
    mv "$source.new" "$source"
  fi
  (
    cd "$source" && export CARGO_TARGET_DIR=$cache/cryptoki-target CARGO_PROFILE_DEV_DEBUG=0
    cargo test --quiet --locked --no-run --tests >"$folder/build.log" 2>&1 || { cat "$folder/build.log" >&2; exit 1; }
    TEST_PKCS11_MODULE=$module TEST_PRETEND_LIBRARY=softhsm \
      timeout 600 cargo test --locked --no-fail-fast --tests -- --test-threads 1 >"$folder/log" 2>"$folder/errors"
  )
  sed -nE 's/^test (.*) \.\.\. (ok|FAILED|ignored).*/\1 \2/p' "$folder/log" | sort >"$folder/outcomes"
}

# The part of the suite that calls what key custody calls; the whole of it takes an hour.
pkcs11_check_files=(access access_levels aead attribute_invariants buffers concurrent_sessions data_objects digest ec_curves
  eddsa encrypt errors gcm_parameter_fidelity init initialize_args interface key_lifecycle keymgmt keypair_consistency multipart
  object object_search_patterns operation_termination pin reinitialize rng ro_session search sensitivity session_edge_cases
  session_info session_state_machine set_attribute sign slot threading token_flags token_objects)

# A Python from 3.12, which the suite is written in.
new_python() {
  local python
  for python in python3 python3.14 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do
    if "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then
      echo "$python"
      return 0
    fi
  done
  return 1
}

pkcs11_check() {
  local module=$1 folder=$2 python venv=$cache/venv tests files=() name
  python=$(new_python) || { echo "needs Python 3.12"; return 3; }
  fresh_token "$folder"
  if ! cmp -s "$recorded/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    "$python" -m venv "$venv" &&
      "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$recorded/requirements.txt" >"$folder/pip.log" 2>&1 ||
      { tail -n 3 "$folder/pip.log" >&2; return 1; }
    cp "$recorded/requirements.txt" "$venv/requirements.txt"
  fi
  tests=$("$venv/bin/python" -c 'import os, pkcs11_check; print(os.path.dirname(pkcs11_check.__file__))')/testcases
  for name in "${pkcs11_check_files[@]}"; do files+=("$tests/test_$name.py"); done
  (
    cd "$folder" && export P11TEST_PIN=1234 P11TEST_SO_PIN=12345678 PYTEST_ADDOPTS="--junitxml=$folder/junit.xml -p no:cacheprovider"
    # It exits with 1 when a test failed, as some do against SoftHSM.
    timeout 900 "$venv/bin/pkcs11-check" test --module "$module" --skip-slow --isolation none --output json \
      --output-file "$folder/results.json" "${files[@]}" >"$folder/log" 2>&1
  )
  "$venv/bin/python" "$recorded/outcomes.py" "$folder/junit.xml" >"$folder/outcomes"
}

# google/pkcs11test is a git repository and no package: whoever has built it names the program in PKCS11TEST.
google_pkcs11test() {
  local module=$1 folder=$2 slot
  [ -n "${PKCS11TEST:-}" ] || { echo "PKCS11TEST names no program"; return 3; }
  fresh_token "$folder"
  slot=$(sed -nE 's/.*reassigned to slot ([0-9]+)$/\1/p' "$folder/init.log")
  # It exits with 1 when a test failed, as some do against SoftHSM.
  timeout 300 "$PKCS11TEST" -m "$(basename "$module")" -l "$(dirname "$module")" -s "$slot" -u 1234 -o 12345678 \
    >"$folder/log" 2>"$folder/errors"
  sed -nE 's/^\[ +(OK|FAILED|SKIPPED) +\] ([^ ,]+\.[^ ,]+).*/\2 \1/p' "$folder/log" | sort -u >"$folder/outcomes"
}

suites=0
same=0

# suite NAME FUNCTION: runs it straight and through the simulator and compares.
suite() {
  local name=$1 run=$2 way module status said calls against=""
  for way in straight through; do
    mkdir -p "$work/$name/$way"
    softhsm_in "$work/$name/$way"
    module=$softhsm
    unset COUNTERSIGN_HSM_SIM_TRACE
    if [ "$way" = through ]; then
      module=$simulator
      export COUNTERSIGN_HSM_SIM_TRACE=$work/$name/trace
    fi
    said=$("$run" "$module" "$work/$name/$way")
    status=$?
    if [ "$status" -eq 3 ]; then
      echo "$name: NOT RUN, $said"
      return
    fi
    if [ "$status" -ne 0 ] || [ ! -s "$work/$name/$way/outcomes" ]; then
      suites=$((suites + 1))
      tail -n 20 "$work/$name/$way/log" >&2
      echo "$name: FAILED to run $way"
      return
    fi
  done
  suites=$((suites + 1))
  calls=$(wc -l <"$work/$name/trace")
  local straight=$work/$name/straight/outcomes through=$work/$name/through/outcomes
  local tests results
  tests=$(wc -l <"$straight")
  if [ -n "$record" ]; then
    { echo "# $versions"; cat "$straight"; } >"$recorded/$name.txt"
  fi
  results="$tests results, $calls calls through the simulator"
  if [ "$calls" -eq 0 ]; then
    echo "$name: NOT THE SAME, the simulator was not called"
  elif ! diff -u "$straight" "$through" >"$work/difference"; then
    head -n 40 "$work/difference" >&2
    echo "$name: NOT THE SAME straight and through the simulator"
  elif [ "$(head -n 1 "$recorded/$name.txt" 2>/dev/null)" != "# $versions" ]; then
    echo "$name: same, $results; the record is of other versions than $versions"
    same=$((same + 1))
  elif ! tail -n +2 "$recorded/$name.txt" | diff -u - "$straight" >"$work/difference"; then
    head -n 40 "$work/difference" >&2
    echo "$name: NOT THE SAME as recorded"
  else
    echo "$name: same, $results, as recorded"
    same=$((same + 1))
  fi
}

suite pkcs11-tool pkcs11_tool
suite cryptoki cryptoki
suite pkcs11-check pkcs11_check
suite google-pkcs11test google_pkcs11test
echo "$suites suites, $same same"
[ "$suites" -gt 0 ] && [ "$same" -eq "$suites" ]
