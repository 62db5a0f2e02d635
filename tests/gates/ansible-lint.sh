#!/usr/bin/env bash
# ansible-lint, profile production. On a copy: it would install the checkout over the link that the tests use.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PWD/.venv/bin:$PATH
collections=$PWD/.cache/lint
cd "$(tests/gates/copy.sh "$collections")"
export ANSIBLE_COLLECTIONS_PATH=$collections ANSIBLE_HOME=$collections/home
exec ansible-lint --offline --strict --profile production
