#!/bin/sh
# Make the index of a dnf repository.
# usage: index REPOSITORY
# Says "unchanged" where no package is newer than the index.
set -eu
repository=$1
cd "$repository"
if [ -e repodata/repomd.xml ] && [ -z "$(find . -mindepth 1 -newer repodata/repomd.xml ! -path './repodata*' -print -quit)" ]; then
  echo unchanged
  exit
fi
createrepo_c --quiet --update .
