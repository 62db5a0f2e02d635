#!/bin/sh
# Copyright (c) 2026 hpcops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This host's firewall: a table of nftables of its own, which leaves other tables alone. The rules are in /etc/hpcops/firewall.nft, and the
# ports in the units of the daemons that are enabled, which declare them in a section [X-hpcops.cluster].
#   hpcops-firewall load          load them, as at boot
#   hpcops-firewall try SECONDS   load /etc/hpcops/firewall.wanted.nft, and take it back after that time
#   hpcops-firewall keep          do not, and load it at boot from now on
#   hpcops-firewall undo          take it back now
#   hpcops-firewall stop          let everything in
#   hpcops-firewall status        say whether what is loaded is what is wanted: loaded, or other
#   hpcops-firewall ports         say which ports are declared
set -eu
rules=/etc/hpcops/firewall.nft
wanted=/etc/hpcops/firewall.wanted.nft
state=/run/hpcops-firewall
undo=hpcops-firewall-undo

ports() {
  grep --files-with-matches --no-messages '^\[X-hpcops\.cluster\]' /etc/systemd/system/*.service /etc/systemd/system/*.socket \
    /etc/systemd/system/*.service.d/*.conf /etc/systemd/system/*.socket.d/*.conf | while read -r file; do
    unit=${file#/etc/systemd/system/}
    unit=${unit%%/*}
    unit=${unit%.d}
    ! systemctl --quiet is-enabled "$unit" 2>/dev/null || sed --quiet 's/^Ports=//p' "$file"
  done | tr ' ,' '\n' | sort --unique
}

# The rules of a file with the declared ports.
whole() {
  cat "$1"
  ports | while IFS=/ read -r port protocol; do
    [ -z "$port" ] || echo "add element inet hpcops declared { ${protocol:-tcp} . $port }"
  done
}

load() {
  whole "$1" >"$state/next"
  use "$state/next"
}

# The listing tells afterwards whether somebody has changed what is loaded.
use() {
  nft --file "$1"
  mv "$1" "$state/loaded"
  listing >"$state/listing"
}

listing() {
  nft --stateless list table inet hpcops 2>/dev/null
}

mkdir -p "$state"
case ${1:-} in
  load) load "$rules" ;;
  try)
    rm -f "$state/before"
    if listing >/dev/null && [ -e "$state/loaded" ]; then
      cp "$state/loaded" "$state/before"
    fi
    systemctl stop "$undo.timer" 2>/dev/null || true
    systemd-run --quiet --collect --unit="$undo" --on-active="$2" --timer-property=AccuracySec=1s "$0" undo
    load "$wanted"
    ;;
  keep)
    systemctl stop "$undo.timer"
    cp "$wanted" "$rules.new"
    mv "$rules.new" "$rules"
    ;;
  undo)
    if [ -e "$state/before" ]; then
      use "$state/before"
    else
      "$0" stop
    fi
    ;;
  stop)
    systemctl --no-block stop "$undo.timer" 2>/dev/null || true
    rm -f "$state/loaded"
    nft delete table inet hpcops 2>/dev/null || true
    ;;
  status)
    whole "$wanted" >"$state/wanted"
    if listing | cmp -s - "$state/listing" && cmp -s "$state/wanted" "$state/loaded" && cmp -s "$wanted" "$rules"; then
      echo loaded
    else
      echo other
    fi
    ;;
  ports) ports ;;
  *)
    sed --quiet 's/^#   //p' "$0" >&2
    exit 2
    ;;
esac
