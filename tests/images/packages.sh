#!/usr/bin/env bash
# Make the image hpcops-packages:SUITE for each named suite, where it is missing: the bare host image with the packages of a cluster's
# hosts, installed by the roles' own steps and with nothing of it configured, enabled or started. Scenarios that are not about the
# installation start from it ("image" of a platform); those of the roles and the scenario cluster start from bare hosts.
# It is named by what decides on its content, so that a change of that makes a new one.
# usage: tests/images/packages.sh SUITE...
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || { echo "usage: $0 SUITE..." >&2; exit 2; }

for suite in "$@"; do
  recipe=$({
    docker image inspect -f '{{.Id}}' "hpcops-test:$suite"
    cat tests/images/packages.sh tests/images/packages.yml roles/{munge,mariadb,slurm}/tasks/packages.yml
    find roles/{os_base,munge,mariadb,slurm}/{defaults,vars} -type f -print0 | sort -z | xargs -0 cat
  } | sha256sum | cut -c1-12)
  if [ "$(docker image inspect -f '{{index .Config.Labels "recipe"}}' "hpcops-packages:$suite" 2>/dev/null)" = "$recipe" ]; then
    continue
  fi
  echo "packages: making the image hpcops-packages:$suite"
  work=$(mktemp -d)
  name=hpcops-packages-$suite
  trap 'docker rm --force --volumes "$name" >/dev/null 2>&1; rm -rf "$work"' EXIT
  docker rm --force --volumes "$name" >/dev/null 2>&1 || true
  docker run --detach --name "$name" --hostname host --label hpcops=scenario --label "hpcops.runner=${HPCOPS_RUNNER:-}" \
    --cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add SYS_NICE --cap-add IPC_LOCK --cap-add SYS_PTRACE \
    --security-opt seccomp=unconfined --security-opt apparmor=unconfined --tmpfs /run:exec --tmpfs /tmp:exec \
    "hpcops-test:$suite" >/dev/null
  for _ in $(seq 60); do
    [[ $(docker exec "$name" systemctl is-system-running 2>/dev/null) =~ running|degraded ]] && break
    sleep 0.5
  done
  printf '%s ansible_connection=community.docker.docker ansible_python_interpreter=/usr/bin/python3\n' "$name" >"$work/hosts"
  if ! ANSIBLE_HOME=$work ANSIBLE_COLLECTIONS_PATH=$PWD/.ansible/collections ANSIBLE_PIPELINING=true ANSIBLE_LOCALHOST_WARNING=false \
    .venv/bin/ansible-playbook --inventory "$work/hosts" tests/images/packages.yml >"$work/log" 2>&1 </dev/null; then
    cat "$work/log" >&2
    exit 1
  fi
  docker stop "$name" >/dev/null
  docker commit --change "LABEL recipe=$recipe" "$name" "hpcops-packages:$suite" >/dev/null
  docker rm --force --volumes "$name" >/dev/null
  rm -rf "$work"
  trap - EXIT
done
