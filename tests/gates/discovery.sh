#!/usr/bin/env bash
# The service-discovery API's own tests, in its own environment: types, the OpenAPI document, and the tests themselves, on SQLite and
# on the distribution's PostgreSQL. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."
environment=.cache/venv-discovery
tests/setup.sh "$environment" tests/requirements-discovery.txt 3.11 3.12 3.13

# What no package index has: a database server, and a browser for the status page.
wanted=()
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || wanted+=(postgresql)
command -v chromium >/dev/null || wanted+=(chromium)
if [ "${#wanted[@]}" -gt 0 ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "discovery: installing ${wanted[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # Without a server of its own: the tests make one in a temporary folder.
  apt-get install -y -qq --no-install-recommends postgresql-common >/dev/null
  sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
  apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
fi

"$environment/bin/mypy" --config-file tests/discovery/mypy.ini roles/discovery/files/hpcops_discovery tests/discovery
# Most of them wait, for servers to start and for checks to turn: more at once than there are cores.
exec "$environment/bin/python" -m pytest -c tests/discovery/pytest.ini --quiet --numprocesses=4 "${@:-tests/discovery}"
