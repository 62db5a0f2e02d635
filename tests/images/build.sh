#!/usr/bin/env bash
# Make the bare host image hpcops-test:SUITE for each named Debian suite, where it is missing.
# The root file system is Debian's own image where a registry answers, else made from the package archive.
# usage: tests/images/build.sh [--force] SUITE...
set -euo pipefail
cd "$(dirname "$0")"

force=no
[ "${1:-}" != --force ] || { force=yes; shift; }
[ $# -gt 0 ] || { echo "usage: $0 [--force] SUITE..." >&2; exit 2; }

# The archive this machine itself uses (nothing: mmdebstrap's default), so that a mirror or a closed network needs no setting here.
archive() {
  # shellcheck disable=SC2016  # apt's own placeholder
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -m1 -E '/debian/?$' || true
}

# The image is named by what it is made of, so that a change of these files makes a new one.
recipe=$(cat Dockerfile init.sh apt-proxy-detect.sh | sha256sum | cut -c1-12)

root_filesystem() {
  local suite=$1
  if docker pull --quiet "debian:$suite" >/dev/null 2>&1; then
    echo "debian:$suite"
    return
  fi
  if ! docker image inspect "hpcops-root:$suite" >/dev/null 2>&1; then
    if ! command -v mmdebstrap >/dev/null; then
      [ "$(id -u)" -eq 0 ] || { echo "build: no registry answers; mmdebstrap is needed: apt-get install mmdebstrap" >&2; exit 1; }
      apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null
    fi
    local tar mirror
    mapfile -t mirror < <(archive)
    tar=$(mktemp --suffix=.tar)
    # A testing suite's Release file may be past its date.
    mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' "$suite" "$tar" "${mirror[@]}" >&2
    docker import "$tar" "hpcops-root:$suite" >/dev/null
    rm -f "$tar"
  fi
  echo "hpcops-root:$suite"
}

for suite in "$@"; do
  if [ "$force" = no ] && [ "$(docker image inspect -f '{{index .Config.Labels "recipe"}}' "hpcops-test:$suite" 2>/dev/null)" = "$recipe" ]; then
    continue
  fi
  echo "build: making the bare $suite host image"
  base=$(root_filesystem "$suite")
  DOCKER_BUILDKIT=0 docker build --quiet --build-arg BASE="$base" --label recipe="$recipe" --tag "hpcops-test:$suite" . >/dev/null
done
