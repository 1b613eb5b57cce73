#!/bin/sh
# Transactions made by ethers, tronweb and eth-account are read by `countersign inspect`, and transactions made by
# Countersign are read by them: same bytes, same digests, same meaning, same signer, same ids. Statements are verified by
# securesystemslib and `cryptography`, and statements made in Python are read by Countersign.
#
# Installs the libraries into the target directory once (npm ci, pip in a venv; versions pinned, nothing global), and prints
# "N passed, N failed" last. COUNT and SEED may be set; a failure repeats with its seed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
cache=$target/outside
COUNT=${COUNT:-5000}
SEED=${SEED:-1}

cd "$root"
cargo build --quiet --package countersign-cli --bin countersign
cargo build --quiet --package countersign-tests --example signed_transactions --example statements
countersign=$target/debug/countersign
signed_transactions=$target/debug/examples/signed_transactions
statements=$target/debug/examples/statements

mkdir -p "$cache"
if ! cmp -s "$here/package-lock.json" "$cache/package-lock.json" || [ ! -d "$cache/node_modules" ]; then
    rm -rf "$cache/node_modules"
    cp "$here/package.json" "$here/.npmrc" "$cache/"
    cp "$here/package-lock.json" "$cache/package-lock.json.new"
    mv "$cache/package-lock.json.new" "$cache/package-lock.json"
    (cd "$cache" && npm ci --ignore-scripts --silent)
fi
if ! cmp -s "$here/requirements.txt" "$cache/requirements.txt"; then
    rm -rf "$cache/venv"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$cache/requirements.txt"
fi
# ECMAScript modules look for packages beside themselves.
cp "$here"/*.mjs "$cache/"
python=$cache/venv/bin/python

work=$(mktemp -d "$cache/run.XXXXXX")
trap 'rm -rf "$work"' EXIT

# One direction: theirs, read by us.
node "$cache/make.mjs" "$work" "$COUNT" "$SEED"
"$python" "$here/make_with_eth_account.py" "$work" "$((COUNT / 4))" "$SEED"
for input in "$work"/*.hex; do
    name=$(basename "$input" .hex)
    network=$(printf '%s' "${name#*-}" | tr _ :)
    # Exit code 3 says that something was refused, as some of it must be.
    "$countersign" inspect --network "$network" --json - <"$input" >"$work/$name.answers" || [ $? -eq 3 ]
done
node "$cache/compare.mjs" "$work" >"$work/1.count"

# The other: ours, read by them.
"$signed_transactions" "$COUNT" "$SEED" >"$work/signed.jsonl"
node "$cache/check.mjs" "$work/signed.jsonl" >"$work/2.count"
"$python" "$here/check_with_eth_account.py" "$work/signed.jsonl" "$((COUNT / 10))" >"$work/3.count"

# Statements, both directions.
"$python" "$here/dsse.py" "$statements" >"$work/4.count"

passed=0
failed=0
for count in "$work"/*.count; do
    read -r good bad <"$count"
    passed=$((passed + good))
    failed=$((failed + bad))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -ge "$COUNT" ]
