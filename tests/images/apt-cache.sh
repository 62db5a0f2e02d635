#!/usr/bin/env bash
# Start a package cache (apt-cacher-ng) that the test containers use, so that a package is downloaded once.
# Only a convenience: where it cannot be had, the containers ask the archive themselves.
set -euo pipefail
port=3142
cache=/var/cache/apt-cacher-ng

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }

listening && exit 0
[ "$(id -u)" -eq 0 ] || exit 0
if ! command -v apt-cacher-ng >/dev/null; then
  command -v apt-get >/dev/null || exit 0
  echo "apt-cache: installing apt-cacher-ng"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends apt-cacher-ng >/dev/null
  # The packaged service rewrites archive addresses to mirrors of its own choice; this project's instance keeps them.
  service apt-cacher-ng stop >/dev/null 2>&1 || true
fi
mkdir -p "$cache" /run/hpcops-apt-cache
chown -R apt-cacher-ng: "$cache" /run/hpcops-apt-cache
setpriv --reuid apt-cacher-ng --regid apt-cacher-ng --clear-groups \
  apt-cacher-ng CacheDir="$cache" LogDir=/run/hpcops-apt-cache PidFile=/run/hpcops-apt-cache/pid \
  SupportDir=/usr/lib/apt-cacher-ng Port="$port" ExThreshold=30 >/dev/null
for _ in $(seq 20); do listening && exit 0; sleep 0.2; done
echo "apt-cache: apt-cacher-ng does not listen on port $port; the containers download for themselves" >&2
