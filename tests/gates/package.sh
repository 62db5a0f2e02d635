#!/usr/bin/env bash
# Build the tarball, install it alone into an empty place, and check from there: the playbooks are found by their full names,
# and nothing of the tests or the development tools is inside.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PWD/.venv/bin:$PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export ANSIBLE_HOME=$work/home ANSIBLE_COLLECTIONS_PATH=$work/collections

ansible-galaxy collection build --output-path "$work" "$(tests/gates/copy.sh "$work/copy")"
tarball=$(echo "$work"/hpcops-cluster-*.tar.gz)

if tar -tzf "$tarball" | grep -E '^(\./)?(tests|molecule|build|\.[^/]|Makefile|pyproject\.toml)'; then
  echo "package: the files above do not belong into the tarball; see build_ignore in galaxy.yml" >&2
  exit 1
fi

# Its dependencies come with the package "ansible".
ansible-galaxy collection install --offline --no-deps "$tarball"
cd "$work"
for playbook in collections/ansible_collections/hpcops/cluster/playbooks/*.yml; do
  ansible-playbook --inventory localhost, --syntax-check "hpcops.cluster.$(basename "$playbook" .yml)"
done
