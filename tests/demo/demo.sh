#!/usr/bin/env bash
# A whole cluster in containers on this machine, deployed by the collection's own playbooks.
# usage: tests/demo/demo.sh up|down      (DISTRO=bookworm|trixie|forky, trixie by default)
set -euo pipefail
cd "$(dirname "$0")/../.."

distro=${DISTRO:-trixie}
hosts=(api ctl db login1 mon c1 c2)
# What this machine itself reaches: the API and Prometheus.
declare -A published=([api]=8420 [mon]=9090)
user=alice
inventory=inventories/demo
state=$HOME/.hpcops-demo
log=$state/run.log

export ANSIBLE_COLLECTIONS_PATH="$PWD/.ansible/collections" ANSIBLE_HOME="$PWD/.ansible/demo"
export ANSIBLE_CONFIG="$PWD/inventories/demo/ansible.cfg"
export ANSIBLE_INJECT_FACT_VARS=false ANSIBLE_PIPELINING=true ANSIBLE_FORKS=10 ANSIBLE_LOCALHOST_WARNING=false
export ANSIBLE_DISPLAY_SKIPPED_HOSTS=false ANSIBLE_DISPLAY_OK_HOSTS=false
# Several times as fast as Ansible's own strategy: docs/operations.md, "Speed". Ansible warns of every strategy that is not its own.
ANSIBLE_STRATEGY_PLUGINS=$(.venv/bin/python -c 'import pathlib, ansible_mitogen; print(pathlib.Path(ansible_mitogen.__file__).parent)')/plugins/strategy
export ANSIBLE_STRATEGY=mitogen_linear ANSIBLE_STRATEGY_PLUGINS ANSIBLE_DEPRECATION_WARNINGS=false

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
play() { .venv/bin/ansible-playbook -i "$inventory" "$@" | tee -a "$log"; }
container() { echo "hpcops-demo-$1"; }

start_cloud() {
  docker network inspect --format '{{(index .IPAM.Config 0).Gateway}}' hpcops-demo >"$state/cloud-address"
  pgrep --pidfile "$state/cloud.pid" --full tests/demo/cloud.py >/dev/null 2>&1 && return
  setsid .venv/bin/python tests/demo/cloud.py "$(cat "$state/cloud-address")" 5170 hpcops-demo "hpcops-test:$distro" "$state/munge.key" \
    >>"$state/cloud.log" 2>&1 </dev/null &
  echo $! >"$state/cloud.pid"
  # Where there was another one before, its credentials and refusals are worth nothing.
  docker exec "$(container ctl)" sh -c '! command -v slurm-elastic >/dev/null || { systemctl restart hpcops-elastic && slurm-elastic clear; }'
}

burst() {
  docker exec "$(container login1)" su --login "$user" --command \
    "timeout 300 srun --chdir=/tmp --partition=cloud --nodes=2 --label sh -c 'echo task \$SLURM_PROCID on \$SLURMD_NODENAME, job \$SLURM_JOB_ID'"
}

no_instances() {
  docker exec "$(container ctl)" timeout 120 sh -c \
    'while sinfo --noheader --Node --partition=cloud --format=%T | grep --quiet --invert-match "^idle~"; do sleep 1; done'
}

down() {
  local -a ids
  if pkill --pidfile "$state/cloud.pid" --full tests/demo/cloud.py 2>/dev/null; then
    timeout 30 tail --pid="$(cat "$state/cloud.pid")" --follow /dev/null || true
  fi
  mapfile -t ids < <(docker ps --all --quiet --filter label=hpcops=demo)
  [ "${#ids[@]}" -eq 0 ] || docker rm --force --volumes "${ids[@]}" >/dev/null
  docker network rm hpcops-demo >/dev/null 2>&1 || true
  rm -rf "$state"
  echo "The demo cluster is gone."
}

start_containers() {
  docker network inspect hpcops-demo >/dev/null 2>&1 || docker network create --label hpcops=demo hpcops-demo >/dev/null
  local host image
  for host in "${hosts[@]}"; do
    image=$(docker inspect --format '{{.Config.Image}}' "$(container "$host")" 2>/dev/null || true)
    if [ -n "$image" ] && [ "$image" != "hpcops-test:$distro" ]; then
      echo "demo: a demo cluster of $image is there already. Remove it with 'make demo-down', or set DISTRO=${image#*:}." >&2
      exit 1
    fi
    if [ -n "$image" ]; then
      docker start "$(container "$host")" >/dev/null
    else
      docker run --detach --label hpcops=demo --name "$(container "$host")" --hostname "$host" \
        --network hpcops-demo --network-alias "$host" ${published[$host]:+--publish "127.0.0.1:${published[$host]}:${published[$host]}"} \
        --cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add SYS_NICE --cap-add IPC_LOCK --cap-add SYS_PTRACE \
        --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
        --tmpfs /run:exec --tmpfs /tmp:exec "hpcops-test:$distro" >/dev/null
    fi
  done
  for host in "${hosts[@]}"; do
    # is-system-running fails for "degraded", which is fine for a container.
    timeout 60 sh -c "until docker exec $(container "$host") systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; do sleep 0.3; done" || {
      echo "demo: $(container "$host") did not boot; its last words:" >&2
      docker logs --tail 20 "$(container "$host")" >&2
      exit 1
    }
  done
}

up() {
  local start=$SECONDS
  mkdir -p "$state"
  chmod 0700 "$state"
  say "1/5 Bare $distro hosts: ${hosts[*]}"
  tests/images/engine.sh
  tests/images/apt-cache.sh
  tests/images/build.sh "$distro"
  tests/images/wheels.sh discovery "$distro" "$PWD/.cache/wheelhouse-$distro"
  ln -sfn "$PWD/.cache/wheelhouse-$distro" "$state/wheels"
  tests/images/wheels.sh slurm_elastic "$distro" "$PWD/.cache/wheelhouse-elastic-$distro"
  ln -sfn "$PWD/.cache/wheelhouse-elastic-$distro" "$state/wheels-elastic"
  start_containers
  start_cloud
  : >"$log"

  say "2/5 Service discovery: ansible-playbook -i $inventory/bootstrap hpcops.cluster.discovery, then the hosts: hpcops.cluster.register"
  inventory=$inventory/bootstrap play hpcops.cluster.discovery
  inventory=$inventory/bootstrap play hpcops.cluster.register -e register_file="$PWD/inventories/demo-hosts.yml"

  say "3/5 The site's users (LDAP brings them in production)"
  play tests/demo/prepare.yml

  say "4/5 The cluster, from what the API says: ansible-playbook -i $inventory hpcops.cluster.site"
  play hpcops.cluster.site
  local changed
  changed=$(sed -n 's/.* changed=\([0-9]*\) .*/\1/p' "$log" | awk '{sum += $1} END {print sum + 0}')

  say "5/5 Acceptance: ansible-playbook -i $inventory hpcops.cluster.verify"
  ANSIBLE_DISPLAY_OK_HOSTS=true play hpcops.cluster.verify -e verify_report="$state/verify.json"

  say "A job: srun -N2 sh -c 'echo \$SLURM_PROCID on \$(hostname)', and what accounting says of it"
  docker exec "$(container login1)" su --login "$user" --command \
    "cd /tmp && srun -N2 --label sh -c 'echo task \$SLURM_PROCID on \$(hostname), job \$SLURM_JOB_ID' && sleep 1 && sacct --allocations --starttime=now-10minutes --format=JobID,JobName,Partition,State,NodeList"

  say "More than there is: two jobs, each on two nodes that are EC2 instances while it needs them (EC2 is moto's, instances are containers)"
  burst
  no_instances
  burst
  docker exec "$(container ctl)" slurm-elastic costs

  say "What Prometheus has seen of it"
  .venv/bin/python tests/demo/metrics.py summary --wait 120 --url https://localhost:9090 --ca-file "$state/ca/ca.crt" \
    --password-file "$state/metrics"

  say "What stands there now"
  cat <<EOF
Slurm $(docker exec "$(container ctl)" slurmctld -V | cut -d" " -f2) on $distro: controller ctl, accounting and its database db, login node login1, compute nodes c1 and c2;
service discovery api, which knows them all; Prometheus and Alertmanager mon; nodes cloud-1 to cloud-4 that come and go with their jobs.
Changes made by this run: $changed$([ "$changed" -ne 0 ] || echo " (everything was as it should be)"). Time: $((SECONDS - start)) s.
  submit a job:  docker exec -it $(container login1) su - $user      then: sinfo, srun hostname, sbatch, sacct
  a burst:       srun --partition=cloud hostname      and, as root on ctl: slurm-elastic status
  look at it:    https://localhost:8420 (hosts, services and their health; signed by $state/ca/ca.crt)
  its metrics:   https://localhost:9090 (user prometheus, password in $state/metrics)
  change it:     edit inventories/demo-hosts.yml or $inventory/group_vars, and run 'make demo' again
  remove it:     make demo-down
EOF
}

case "${1:-}" in
  up | down) "$1" ;;
  *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
