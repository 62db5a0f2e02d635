# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a kernel lets ordinary users make containers, and which setting is in the way."""

from __future__ import annotations

from collections.abc import Mapping

# Does as an ordinary user what starts each container, says what came of it, and tells the settings that matter.
PROBE = """
as_user() {
  if [ "$(id -u)" = 0 ]; then set -- setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; fi
  "$@" 2>&1
}
cd /
namespaces=$(as_user unshare --user --map-root-user --mount true) && namespaces=yes
echo "namespaces $namespaces" | head -n 1
overlay=$(as_user unshare --user --map-root-user --mount sh -c '
  mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir lower upper work merged &&
  mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged') && overlay=yes
echo "overlay $overlay" | head -n 1
cd /proc/sys
for setting in user/max_user_namespaces user/max_mnt_namespaces kernel/unprivileged_userns_clone \
  kernel/apparmor_restrict_unprivileged_userns; do
  [ ! -r $setting ] || echo "$setting $(cat $setting)"
done
""".strip()

# Setting: the value that is in the way, and the one that is not.
OBSTACLES = {
    "user/max_user_namespaces": ("0", "65536"),
    "user/max_mnt_namespaces": ("0", "65536"),
    "kernel/unprivileged_userns_clone": ("0", "1"),
}
APPARMOR = "kernel/apparmor_restrict_unprivileged_userns"


def read_probe(output: str) -> dict[str, str]:
    """What PROBE has printed, by its first words."""
    return {name: value.strip() for name, _blank, value in (line.partition(" ") for line in output.splitlines())}


def judge(found: Mapping[str, str]) -> tuple[str | None, list[str]]:
    """Why no container can start on the host (None when they can), and warnings."""
    if found.get("namespaces") != "yes":
        said = f"An ordinary user cannot make a user namespace on this host ({found.get('namespaces')})"
        wrong = [
            f"{name.replace('/', '.')} is {bad}: set it to {good} in os_base_sysctl"
            for name, (bad, good) in OBSTACLES.items()
            if found.get(name) == bad
        ]
        if wrong:
            return f"{said}, so no container would start. {'; '.join(wrong)}.", []
        if found.get(APPARMOR) == "1":
            return None, [
                f"{said}, since {APPARMOR.replace('/', '.')} is 1. enroot's package brings AppArmor's permission for enroot alone; where "
                "its containers do not start, set it to 0 in os_base_sysctl."
            ]
        return (
            f"{said}, so no container would start. Its kernel may have been built without CONFIG_USER_NS, or the host is itself a "
            "container that may not make any."
        ), []
    if found.get("overlay") != "yes":
        return None, [
            f"An ordinary user cannot mount overlay on this host ({found.get('overlay')}), which takes Linux 5.11 or newer: imports of "
            "images need enroot_caps, and a job's changes to its container need a copy of it."
        ]
    return None, []
