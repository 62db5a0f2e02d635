#!/usr/bin/env bash
# Make sure a Docker engine answers. Installs Debian's docker.io and starts dockerd where none runs; does nothing otherwise.
# Needs root only when it has to install or start something.
set -euo pipefail

if docker info >/dev/null 2>&1; then
  exit 0
fi

if [ "$(id -u)" -ne 0 ]; then
  echo "engine: no Docker engine answers, and only root can install or start one. Start Docker, or run as root." >&2
  exit 1
fi

if ! command -v dockerd >/dev/null; then
  echo "engine: installing Docker from the distribution"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io docker-cli iptables >/dev/null 2>&1 ||
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables >/dev/null
fi

echo "engine: starting dockerd"
if [ -d /run/systemd/system ]; then
  systemctl start docker
else
  # A killed engine leaves its pid files behind and then refuses to start.
  pkill -x dockerd || true
  rm -f /var/run/docker.pid /run/docker/containerd/containerd.pid
  setsid nohup dockerd >/var/log/dockerd.log 2>&1 </dev/null &
fi

for _ in $(seq 60); do
  docker info >/dev/null 2>&1 && exit 0
  sleep 0.5
done
echo "engine: dockerd does not answer after 30 s; its last lines:" >&2
tail -n 20 /var/log/dockerd.log >&2 || journalctl -u docker -n 20 >&2
exit 1
