#!/usr/bin/env bash
# Fetch what a role's program in Python needs into a folder, for the Python of a suite's hosts: not all of them reach a package index.
# usage: tests/images/wheels.sh ROLE SUITE FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."

declare -A versions=([bookworm]=3.11 [trixie]=3.13 [forky]=3.14)
version=${versions[$2]:?no such suite}
folder=$3
requirements=roles/$1/files/requirements.txt
stamp=.$version-$(sha256sum "$requirements" | cut -c1-16)

[ ! -e "$folder/$stamp" ] || exit 0
rm -rf "$folder"
.venv/bin/python -m pip download --quiet --disable-pip-version-check --require-hashes --only-binary :all: --python-version "$version" \
  --dest "$folder" --requirement "$requirements"
touch "$folder/$stamp"
