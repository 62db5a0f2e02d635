#!/bin/sh
# Restart slurmdbd. Where the host has nft, the beginnings of connections are dropped meanwhile: who connects tries again by itself a second
# later, instead of being refused, which no command tries twice. Ten seconds later they are accepted in any case.
set -u

listening() {
  ss --no-header --listening --tcp --numeric --processes | sed -n 's/.*:\([0-9]*\) .*"slurmdbd.*/\1/p' | head -n 1
}

port=$(listening)
if [ -n "$port" ] && command -v nft >/dev/null; then
  clients() {
    ss --no-header --tcp --numeric state established "sport = :$port" | awk '{print $4}' | sort
  }
  folder=$(mktemp -d)
  clients >"$folder/lasting"  # slurmctld, which connects again by itself
  sleep 2
  nft -f - <<EOF
add table inet hpcops_slurmdbd
flush table inet hpcops_slurmdbd
table inet hpcops_slurmdbd {
  set ports { type inet_service; flags timeout; elements = { $port timeout 10s } }
  chain input { type filter hook input priority -10; tcp dport @ports tcp flags & (fin | syn | rst | ack) == syn drop; }
}
EOF
  for _ in 1 2 3; do  # what was asked before is answered
    [ -n "$(clients | comm -23 - "$folder/lasting")" ] || break
    sleep 0.1
  done
fi

systemctl restart slurmdbd
result=$?
if [ -n "${folder-}" ]; then
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -z "$(listening)" ] || break
    sleep 0.1
  done
  nft delete table inet hpcops_slurmdbd
  rm -r "$folder"
fi
exit $result
