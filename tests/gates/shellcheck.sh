#!/usr/bin/env bash
# Check every shell program of the checkout.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v shellcheck >/dev/null; then
  [ "$(id -u)" -eq 0 ] || { echo "shellcheck: not installed (Debian: shellcheck)" >&2; exit 1; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends shellcheck >/dev/null
fi
# A checkout that belongs to another account is no danger here.
mapfile -t programs < <(git -c safe.directory='*' ls-files --cached --others --exclude-standard -- '*.sh' .ci/run)
[ "${#programs[@]}" -gt 1 ] || { echo "shellcheck: git names no shell program" >&2; exit 1; }
for program in "${programs[@]}"; do
  [ ! -e "$program" ] || printf '%s\0' "$program"
done | xargs -0 shellcheck
