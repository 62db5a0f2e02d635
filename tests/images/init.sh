#!/bin/sh
# First process of a test container: gives systemd a writable cgroup2 tree, then becomes systemd.
# systemd 258 and newer boots on nothing else. On a host with pure cgroup v2 the container already has its own tree.
set -eu

if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
  mount -o remount,rw /sys/fs/cgroup
  exec /sbin/init
fi

# cgroup v1 or hybrid host: replace the v1 mounts by a cgroup2 tree whose root is a group of this container's own. Its name has the
# container's number: two systemd in one group would take each other's services down.
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
container=$(sed -nE 's|.*/containers/([0-9a-f]{12}).*/hostname .*|\1|p' /proc/self/mountinfo | head -n 1)
group="/sys/fs/cgroup/hpcops-${container:-$(cat /proc/sys/kernel/random/uuid)}"
mkdir -p "$group"
echo $$ >"$group/cgroup.procs"
# Those of containers that are no more.
find /sys/fs/cgroup -maxdepth 1 -name 'hpcops-*' -mmin +60 | while read -r old; do
  ! grep -q 'populated 0' "$old/cgroup.events" || find "$old" -depth -type d -exec rmdir {} + || true
done
exec unshare --cgroup sh -c 'umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec /sbin/init'
