#!/usr/bin/env bash
# cargo, found also where a fresh rustup has not changed this shell's PATH yet, from the top of the project.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -e "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
exec cargo "$@"
