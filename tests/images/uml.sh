#!/usr/bin/env bash
# Test hosts with a kernel of their own: Debian under user-mode-linux, beside the containers of a Docker network.
# They have what a container on a cgroup v1 machine lacks: cgroup v2 with controllers, kernel modules, a real reboot.
# Needs root, and neither /dev/kvm nor systemd on this machine. Everything it makes lies under .cache/uml of the checkout.
set -euo pipefail

usage() {
  cat >&2 <<'USAGE'
usage: tests/images/uml.sh VERB ...
  build SUITE                 make the root image of a Debian suite where it is missing
  start NAME [--suite SUITE] [--network DOCKER_NETWORK] [--ip ADDRESS] [--memory MIB] [--audit 1]
                              boot a host and wait until it answers over SSH; a host that was powered off
                              boots from its own disk again; a running host is left alone
                              (default: trixie, on the network "bridge", the highest free address, 1500 MiB, a kernel that audits nothing)
  stop NAME...                cut the host's power, and throw away its disk
  ssh NAME [COMMAND...]       log in as root, or run a command
  address NAME                print the host's address
  status                      list the hosts
USAGE
  exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${HPCOPS_UML_CACHE:-$(cd "$here/../.." && pwd)/.cache/uml}
key=$cache/id_ed25519
preload=$cache/uml-xstate.so

die() {
  echo "uml: $*" >&2
  exit 1
}

# --- This machine ----------------------------------------------------------------------------------------------------

# One at a time: scenarios may run side by side, here and in other checkouts, and apt waits for no other.
prepare_machine() (
  [ "$(id -u)" -eq 0 ] || die "needs root: it makes network devices and root file systems"
  exec 9>/run/lock/hpcops-uml
  flock 9
  missing=()
  for command in linux.uml:user-mode-linux mmdebstrap:mmdebstrap ssh:openssh-client mke2fs:e2fsprogs ip:iproute2; do
    command -v "${command%:*}" >/dev/null || missing+=("${command#*:}")
  done
  if grep -qw amx_tile /proc/cpuinfo && ! { command -v gcc >/dev/null && [ -e /usr/include/elf.h ]; }; then
    missing+=(gcc libc6-dev)
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    echo "uml: installing ${missing[*]}" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
  mkdir -p "$cache/hosts"
  ! grep -qw amx_tile /proc/cpuinfo || build_preload
  [ -e "$key" ] || ssh-keygen -q -t ed25519 -N '' -C hpcops-test -f "$key"
)

# What linux.uml needs on a processor with AMX. Under its final name only when it is whole: another host may start with it.
build_preload() {
  [ "$here/uml-xstate.c" -nt "$preload" ] || return 0
  gcc -O2 -Wall -Wextra -Werror -shared -fPIC -o "$preload.$$" "$here/uml-xstate.c"
  mv "$preload.$$" "$preload"
}

# --- The root image --------------------------------------------------------------------------------------------------

# The archive this machine itself uses (nothing: mmdebstrap's default), so that a mirror or a closed network needs no setting here.
archive() {
  # shellcheck disable=SC2016  # apt's own placeholder
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -m1 -E '/debian/?$' || true
}

# What turns Debian's minimal root at $1 into a bare host: what a cloud image has, and no Slurm.
make_bare_host() {
  local root=$1 unit generator
  install -m 0755 "$here/apt-proxy-detect.sh" "$root/usr/local/sbin/apt-proxy-detect"
  install -m 0600 -D "$key.pub" "$root/root/.ssh/authorized_keys"
  rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root/etc/resolv.conf"
  : >"$root/etc/machine-id"
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/90test-image"
  printf '%s\n' \
    'Acquire::http::Proxy-Auto-Detect "/usr/local/sbin/apt-proxy-detect";' \
    'Acquire::Check-Valid-Until "false";' \
    'Acquire::Languages "none";' \
    'APT::Install-Recommends "false";' >"$root/etc/apt/apt.conf.d/90test-image"

  # The kernel's modules are those of this machine's package, seen through hostfs: they always fit the kernel.
  mkdir -p "$root/usr/lib/modules"
  echo 'none /usr/lib/modules hostfs ro 0 0' >"$root/etc/fstab"

  # Name and address come on the kernel's command line. networkd would need udev to take the interface up.
  cat >"$root/usr/local/sbin/host-identity" <<'GUEST'
#!/bin/sh
# Gives this host the name and the address that the kernel's command line carries.
set -eu
argument() { tr ' ' '\n' </proc/cmdline | sed -n "s/^host\.$1=//p"; }
address=$(argument address)
ip link set lo up
ip address replace "$address" dev vec0
ip link set vec0 up
ip route replace default via "$(argument gateway)"
# The rest is the host's own once it has booted.
[ ! -e /etc/hostname ] || exit 0
argument name >/etc/hostname
hostname -F /etc/hostname
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n%s %s\n' "${address%/*}" "$(argument name)" >/etc/hosts
argument nameserver | sed 's/^/nameserver /' >/etc/resolv.conf
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
GUEST
  chmod 0755 "$root/usr/local/sbin/host-identity"
  cat >"$root/etc/systemd/system/host-identity.service" <<'GUEST'
[Unit]
Description=Name and address of this host
DefaultDependencies=no
After=local-fs.target systemd-tmpfiles-setup-dev.service
Before=sysinit.target network-pre.target network.target
Wants=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/host-identity
[Install]
WantedBy=sysinit.target
GUEST
  mkdir -p "$root/etc/systemd/system/sysinit.target.wants"
  ln -s ../host-identity.service "$root/etc/systemd/system/sysinit.target.wants/"
  # Not needed here, and time at each boot.
  for unit in getty.target console-getty.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer modprobe@.service sys-kernel-config.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount systemd-networkd.service \
    systemd-timesyncd.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
  done
  # systemd runs every generator at boot and again at each daemon-reload; programs start slowly here.
  mkdir -p "$root/etc/systemd/system-generators"
  for generator in "$root"/usr/lib/systemd/system-generators/*; do
    case ${generator##*/} in
      systemd-fstab-generator | systemd-sysv-generator) ;;
      *) ln -s /dev/null "$root/etc/systemd/system-generators/${generator##*/}" ;;
    esac
  done
  # Nothing in /usr is newer than what was made from it (ldconfig, sysusers, the journal's catalog).
  touch -r "$root/usr" "$root/etc/.updated" "$root/var/.updated"
}

make_root_image() {
  local suite=$1 image=$2 work mirror
  mapfile -t mirror < <(archive)
  work=$(mktemp -d "$cache/build.XXXXXX")
  # Expanded now: the names are gone when the trap runs.
  # shellcheck disable=SC2064
  trap "rm -rf --one-file-system '$work'" EXIT
  # A testing suite's Release file may be past its date.
  mmdebstrap --quiet --mode=root --variant=minbase --format=directory --skip=cleanup/apt/lists --aptopt='Acquire::Check-Valid-Until "false"' \
    --include=systemd,systemd-sysv,dbus,python3,python3-apt,sudo,ca-certificates,iproute2,iputils-ping,procps,gpg,kmod,hostname,openssh-server \
    "$suite" "$work/root" "${mirror[@]}" >&2
  make_bare_host "$work/root"
  # The file is sparse: it takes what is in it.
  mke2fs -q -t ext4 -m 0 -d "$work/root" "$work/image" 8G >/dev/null
  mv "$work/image" "$image"
  rm -rf --one-file-system "$work"
  trap - EXIT
}

# The image is named by what it is made of, so that a change of these makes a new one.
image_of() {
  local recipe
  recipe=$({ declare -f make_bare_host make_root_image; cat "$here/apt-proxy-detect.sh" "$key.pub"; } | sha256sum | cut -c1-12)
  echo "$cache/root-$1-$recipe.ext4"
}

build() (
  suite=$1
  # One at a time: scenarios may run side by side.
  exec 9>"$cache/lock"
  flock 9
  image=$(image_of "$suite")
  [ -e "$image" ] && exit
  echo "uml: making the bare $suite root image" >&2
  rm -rf --one-file-system "$cache"/build.* # of a build that was killed
  make_root_image "$suite" "$image"
  # Images of former recipes, unless a host's disk is a difference to one of them.
  for old in "$cache/root-$suite-"*.ext4; do
    [ "$old" = "$image" ] || grep -qsxF "image=$old" "$cache"/hosts/*/settings || rm -f "$old"
  done
)

# --- Hosts: hosts/NAME holds settings, disk (the difference to the image), pid, console.log, uml/ -----------------------

running() {
  local pid
  pid=$(cat "$cache/hosts/$1/pid" 2>/dev/null) && grep -qsF "ubd0=$cache/hosts/$1/disk," "/proc/$pid/cmdline"
}

# Ends all its processes: the helpers of a killed kernel live on, and hold the disk.
cut_power() {
  local pids
  while pids=$(grep -lsF -f <(echo "ubd0=$cache/hosts/$1/disk,") /proc/[0-9]*/cmdline | cut -d/ -f3); [ -n "$pids" ]; do
    # shellcheck disable=SC2086
    kill -KILL $pids 2>/dev/null || true
    sleep 0.05
  done
}

setting() {
  sed -n "s/^$2=//p" "$cache/hosts/$1/settings" 2>/dev/null | grep . || die "there is no host $1"
}

# Interface names hold 15 characters, and two checkouts may have a host of one name.
tap_of() {
  echo "uml$(cksum <<<"$cache/$1" | cut -d' ' -f1)"
}

# Prints "BRIDGE ADDRESS/PREFIX GATEWAY" for a host with address $2 (or the highest free one) on Docker network $1
place_in_network() {
  local inspected
  inspected=$(docker network inspect "$1" 2>/dev/null) || die "there is no Docker network $1"
  # shellcheck disable=SC2046
  python3 -c '
import ipaddress, json, sys
wanted, taken = sys.argv[2], set(sys.argv[3:])
network = json.loads(sys.argv[1])[0]
if network["Driver"] != "bridge":
    sys.exit("uml: the network " + network["Name"] + " is no bridge")
bridge = network["Options"].get("com.docker.network.bridge.name") or "br-" + network["Id"][:12]
config = next(c for c in network["IPAM"]["Config"] if ":" not in c["Subnet"])
subnet = ipaddress.ip_network(config["Subnet"])
gateway = (config.get("Gateway") or str(subnet[1])).split("/")[0]
taken |= {gateway} | {c["IPv4Address"].split("/")[0] for c in network["Containers"].values()}
if not wanted:
    # Docker gives out addresses from the lowest.
    wanted = next(str(subnet[-i]) for i in range(2, subnet.num_addresses) if str(subnet[-i]) not in taken)
elif wanted in taken or ipaddress.ip_address(wanted) not in subnet:
    sys.exit(f"uml: {wanted} is taken or not in {subnet}")
print(bridge, f"{wanted}/{subnet.prefixlen}", gateway)
' "$inspected" "$2" $(cat "$cache"/hosts/*/settings 2>/dev/null | sed -n 's/^address=//p')
}

# The first name server that is more than this machine's own loopback, as Docker chooses for its containers.
nameserver() {
  cat /etc/resolv.conf /run/systemd/resolve/resolv.conf 2>/dev/null | awk '$1 == "nameserver" && $2 !~ /^(127\.|::1)/ {print $2; exit}'
}

ssh_to() {
  local name=$1 address
  shift
  address=$(setting "$name" address)
  ssh -F /dev/null -i "$key" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
    -o ConnectTimeout=5 "root@$address" "$@"
}

# Attach the host's network device to the bridge, and boot. Bridged frames pass iptables' FORWARD chain where br_netfilter
# is loaded: Docker's own rules for the bridge accept them there, and masquerade what leaves the subnet.
power_on() {
  local name=$1 dir=$cache/hosts/$1 tap bridge address octets
  cut_power "$name"
  tap=$(tap_of "$name")
  bridge=$(setting "$name" bridge)
  address=$(setting "$name" address)
  ip link show "$tap" >/dev/null 2>&1 || ip tuntap add "$tap" mode tap
  ip link set "$tap" master "$bridge" up
  mapfile -t octets < <(tr . '\n' <<<"$address")
  # A fixed hardware address, so that neighbours still know the host after its reboot.
  # Write barriers are off: this machine keeps what a host wrote while it reboots, and nothing needs it to last longer.
  # On one processor: the kernel and its processes hand over to one another at each system call, two to three times as
  # fast there.
  setsid taskset -c "$(setting "$name" processor)" "$here/uml.sh" mem="$(setting "$name" memory)M" umid=uml uml_dir="$dir/" \
    ubd0="$dir/disk,$(setting "$name" image)" root=/dev/ubda rw rootfstype=ext4 rootflags=nobarrier,noinit_itable \
    hostfs=/usr/lib/uml/modules \
    vec0:transport=tap,ifname="$tap",depth=128,gro=1,mac="$(printf '02:42:%02x:%02x:%02x:%02x' "${octets[@]}")" \
    host.name="$name" host.address="$address/$(setting "$name" prefix)" host.gateway="$(setting "$name" gateway)" \
    host.nameserver="$(nameserver)" \
    con0=fd:0,fd:1 con=null quiet lsm=yama audit="$(setting "$name" audit)" </dev/null >>"$dir/console.log" 2>&1 &
  echo $! >"$dir/pid"
}

# Become the kernel with these arguments. When its guest reboots, linux.uml executes its argv[0] with its arguments: with
# this script there, that is here again. It leaves the network device open, which cannot be opened twice.
boot() {
  local fd
  for fd in "/proc/$$/fd"/*; do
    if [ "$(readlink "$fd")" = /dev/net/tun ]; then
      fd=${fd##*/}
      exec {fd}>&-
    fi
  done
  [ ! -e "$preload" ] || export LD_PRELOAD=$preload
  exec -a "$here/uml.sh" linux.uml "$@"
}

# Settles what a new host is. Under the lock: hosts that start side by side take different addresses.
define() (
  name=$1 suite=$2 network=$3 ip=$4 memory=$5 audit=$6
  exec 9>"$cache/lock"
  flock 9
  place=$(place_in_network "$network" "$ip")
  read -r bridge address gateway <<<"$place"
  processor=$(($(find "$cache/hosts" -mindepth 1 -maxdepth 1 | wc -l) % $(nproc)))
  mkdir -p "$cache/hosts/$name"
  printf '%s\n' "image=$(image_of "$suite")" "network=$network" "bridge=$bridge" "address=${address%/*}" "prefix=${address#*/}" \
    "gateway=$gateway" "memory=$memory" "processor=$processor" "audit=$audit" >"$cache/hosts/$name/settings"
)

wait_for_ssh() {
  local name=$1 end=$((SECONDS + 120))
  until ssh_to "$name" true 2>/dev/null; do
    if ! running "$name" || [ "$SECONDS" -gt "$end" ]; then
      tail -n 30 "$cache/hosts/$name/console.log" >&2
      die "$name does not answer over SSH; the last lines of its console are above"
    fi
    sleep 0.2
  done
}

start() {
  local name=$1 suite=trixie network=bridge ip='' memory=1500 audit=0
  shift
  [[ $name =~ ^[a-z0-9][a-z0-9.-]*$ ]] || die "$name is no host name"
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
      --suite) suite=$2 ;;
      --network) network=$2 ;;
      --ip) ip=$2 ;;
      --memory) memory=$2 ;;
      --audit) audit=$2 ;;
      *) usage ;;
    esac
    shift 2
  done
  if [ ! -e "$cache/hosts/$name/settings" ]; then
    build "$suite"
    define "$name" "$suite" "$network" "$ip" "$memory" "$audit"
  elif [ -n "$ip" ] && [ "$ip" != "$(setting "$name" address)" ]; then
    die "$name exists with the address $(setting "$name" address); stop it first"
  fi
  running "$name" || power_on "$name"
  wait_for_ssh "$name"
}

stop() {
  local name=$1
  cut_power "$name"
  ip link delete "$(tap_of "$name")" 2>/dev/null || true
  rm -rf "$cache/hosts/$name"
}

status() {
  local settings name
  for settings in "$cache"/hosts/*/settings; do
    [ -e "$settings" ] || continue
    name=$(basename "$(dirname "$settings")")
    printf '%-20s %-16s %-20s %s\n' "$name" "$(setting "$name" address)" "$(setting "$name" network)" \
      "$(running "$name" && echo running || echo off)"
  done
}

verb=${1:-}
[ $# -gt 0 ] && shift
case $verb in
  build | start) [ $# -gt 0 ] || usage; prepare_machine; "$verb" "$@" ;;
  stop) [ $# -gt 0 ] || usage; for name in "$@"; do stop "$name"; done ;;
  ssh) [ $# -gt 0 ] || usage; ssh_to "$@" ;;
  address) [ $# -eq 1 ] || usage; setting "$1" address ;;
  status) status ;;
  mem=*) boot "$verb" "$@" ;;
  *) usage ;;
esac
