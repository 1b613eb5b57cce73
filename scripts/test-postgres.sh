#!/usr/bin/env bash
# Runs a command with a PostgreSQL server of its own: scripts/test-postgres.sh COMMAND [ARGUMENT...]
#
# The server lives in a temporary folder, listens on loopback only, knows one user with a random password, does not sync to
# disk, and is stopped by its process id when the command ends. The command finds it in COUNTERSIGN_TEST_POSTGRES; when that
# is set already, the command runs with it as it is.
set -euo pipefail

[ $# -gt 0 ] || { echo "usage: $0 COMMAND [ARGUMENT...]" >&2; exit 2; }
[ -z "${COUNTERSIGN_TEST_POSTGRES:-}" ] || exec "$@"

fail() {
  echo "test-postgres: $*" >&2
  exit 1
}

# Debian keeps the server's programs out of PATH; the newest version wins.
programs=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
if [ -z "$programs" ]; then
  command -v initdb >/dev/null 2>&1 || fail "there is no PostgreSQL: run scripts/setup.sh test"
  programs=$(dirname "$(readlink -f "$(command -v initdb)")")
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/countersign-postgres.XXXXXX")
server_pid=""
command_pid=""
finish() {
  status=$?
  trap - EXIT INT TERM
  if [ -n "$command_pid" ]; then kill "$command_pid" 2>/dev/null || true; fi
  if [ -n "$server_pid" ]; then
    # SIGINT is PostgreSQL's fast shutdown.
    kill -INT "$server_pid" 2>/dev/null || true
    for _ in $(seq 100); do
      kill -0 "$server_pid" 2>/dev/null || break
      sleep 0.1
    done
  fi
  rm -rf "$dir"
  exit "$status"
}
trap finish EXIT INT TERM

# PostgreSQL refuses to run as root.
as_user=()
if [ "$(id -u)" -eq 0 ]; then
  for user in postgres nobody; do
    if id "$user" >/dev/null 2>&1; then break; fi
  done
  as_user=(setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups env "HOME=$dir")
  chown "$user" "$dir"
fi

password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
printf '%s' "$password" > "$dir/password"
if [ "$(id -u)" -eq 0 ]; then chown "$user" "$dir/password"; fi
chmod 600 "$dir/password"
(cd "$dir" && "${as_user[@]}" "$programs/initdb" --pgdata="$dir/data" --username=countersign --pwfile="$dir/password" \
  --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1) ||
  { cat "$dir/initdb.log" >&2; fail "initdb failed"; }

for _ in $(seq 10); do
  port=$((20000 + RANDOM % 20000))
  (cd "$dir" && exec "${as_user[@]}" "$programs/postgres" -D "$dir/data" -c listen_addresses=127.0.0.1 -c "port=$port" \
    -c "unix_socket_directories=$dir" -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
    -c max_connections=300 -c shared_buffers=64MB >"$dir/server.log" 2>&1) &
  server_pid=$!
  for _ in $(seq 100); do
    kill -0 "$server_pid" 2>/dev/null || break
    if [ -S "$dir/.s.PGSQL.$port" ] && grep -q 'ready to accept connections' "$dir/server.log"; then
      export COUNTERSIGN_TEST_POSTGRES="postgres://countersign:$password@127.0.0.1:$port/postgres"
      "$@" &
      command_pid=$!
      status=0
      wait "$command_pid" || status=$?
      command_pid=""
      exit "$status"
    fi
    sleep 0.1
  done
  # Most probably the port is taken: try another.
  kill -INT "$server_pid" 2>/dev/null || true
  wait "$server_pid" 2>/dev/null || true
  server_pid=""
done
cat "$dir/server.log" >&2
fail "the server did not start"
