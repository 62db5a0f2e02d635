#!/usr/bin/env bash
# The unit and plugin tests on the newest ansible-core, which needs a newer Python than some distributions have: with this
# machine's interpreter where it has one, else in a container.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -x .venv-newest/bin/python ]; then
  .venv-newest/bin/python -m pytest --numprocesses=2 --dist=loadfile --quiet tests/unit
  exit
fi
if ! docker image inspect hpcops-test:trixie >/dev/null 2>&1; then
  echo "SKIPPED: no Python 3.12 or newer, and no container image to take its place; make test makes one"
  exit
fi
# The package index as this machine is set up for it: its network, its pip settings, its certificates.
options=(--rm --network host --volume "$PWD:/src:ro" --label hpcops=scenario)
while IFS= read -r name; do options+=(--env "$name"); done < <(compgen -e | grep -E '^(PIP_|.*_proxy$|.*_PROXY$)' || true)
[ ! -e /etc/pip.conf ] || options+=(--volume /etc/pip.conf:/etc/pip.conf:ro)
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || options+=(--volume /etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro)
docker run "${options[@]}" hpcops-test:trixie bash -euc '
  apt-get update -qq
  apt-get install -y -qq python3-venv git >/dev/null
  python3 -m venv /tmp/venv
  /tmp/venv/bin/pip install --quiet --requirement /src/tests/requirements-newest.txt
  mkdir -p /tmp/checkout
  cd /src
  git -c safe.directory="*" ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --target-directory /tmp/checkout
  cd /tmp/checkout
  /tmp/venv/bin/python -m pytest --numprocesses=2 --dist=loadfile --quiet tests/unit'
