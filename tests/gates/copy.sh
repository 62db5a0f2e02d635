#!/usr/bin/env bash
# Copy what is (or would be) under version control to FOLDER/ansible_collections/hpcops/cluster and print that path: some tools
# refuse a symlink, or write into the tree they check.
# usage: tests/gates/copy.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."
copy=$1/ansible_collections/hpcops/cluster
rm -rf "$copy"
mkdir -p "$copy"
# A checkout that belongs to another account is no danger here. Deleted files are still in the index.
git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
  while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
  xargs -0 cp --parents --no-dereference --target-directory "$copy"
echo "$copy"
