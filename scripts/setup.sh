#!/usr/bin/env bash
# Installs what building ("build") and testing ("test") need on Debian or Ubuntu, only what is missing, and says so.
# rustup is expected: https://rustup.rs. Needs root or sudo only when something is missing.
set -euo pipefail

minimum_rust="1.95.0"
packages=()
wants=("$@")
[ "${#wants[@]}" -gt 0 ] || wants=(build test)

fail() {
  echo "setup: $*" >&2
  exit 1
}

# need COMMAND PACKAGE: the package is wanted unless the command is there.
need() {
  command -v "$1" >/dev/null 2>&1 || packages+=("$2")
}

for want in "${wants[@]}"; do
  case "$want" in
    build)
      need cc gcc
      need make make
      # GMP builds from source.
      need m4 m4
      need curl curl
      [ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
      [ -e /usr/include/stdio.h ] || packages+=(libc6-dev)
      ;;
    test)
      ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 || packages+=(postgresql)
      need node nodejs
      need npm npm
      need python3 python3
      # Tokens for the tests of PKCS#11, and another application of it.
      need softhsm2-util softhsm2
      need pkcs11-tool opensc
      # The module that makes virtual environments, and the one that puts pip into them.
      python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || packages+=(python3-venv)
      ;;
    *) fail "unknown set \"$want\": use build, test or both" ;;
  esac
done

if [ "${#packages[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null 2>&1 ||
    fail "missing: ${packages[*]}. This is no Debian or Ubuntu: install them with your package manager"
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || fail "missing: ${packages[*]}. Run as root or install sudo"
    as_root=(sudo)
  fi
  echo "setup: installing with apt: ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # A Debian package of PostgreSQL starts a server of its own unless told otherwise; the tests start their own.
  if printf '%s\n' "${packages[@]}" | grep -qx postgresql && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    "${as_root[@]}" mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  "${as_root[@]}" apt-get update -qq || fail "apt-get update failed: is the package archive reachable?"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null ||
    fail "apt-get could not install: ${packages[*]}"
fi

[ -e "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
command -v cargo >/dev/null 2>&1 || fail "there is no cargo: install Rust with rustup, see https://rustup.rs"

rust_version() { rustc --version 2>/dev/null | awk '{print $2}'; }
older() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" != "$2" ]; }

if older "$(rust_version)" "$minimum_rust"; then
  command -v rustup >/dev/null 2>&1 ||
    fail "Rust $(rust_version) is older than $minimum_rust: install a newer one, best with rustup"
  echo "setup: Rust $(rust_version) is older than $minimum_rust; updating the stable toolchain"
  rustup toolchain install stable --profile minimal --component clippy,rustfmt
  ! older "$(rust_version)" "$minimum_rust" ||
    fail "Rust is still $(rust_version): make a toolchain from $minimum_rust on the default (rustup default stable)"
fi
