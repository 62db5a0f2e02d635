#!/usr/bin/env bash
# Give the demo's cluster a day in short, for its graphs: three people of two accounts submit jobs that sleep, more of them at some hours
# than at others, and a node is taken out for a while.
# usage: tests/demo/day.sh [MINUTES]      (60)
set -euo pipefail

minutes=${1:-60}
declare -A accounts=([alice]=physics [bob]=physics [carol]=chemistry)
people=(alice alice bob carol)
# Seconds from one job to the next, for each eighth of the day.
pauses=(60 30 14 10 60 25 20 60)

on() { docker exec "hpcops-demo-$1" "${@:2}"; }

number=2001
for person in bob carol; do
  for host in ctl login1 c1 c2; do
    on "$host" sh -c "id $person >/dev/null 2>&1 || useradd --create-home --uid $number --shell /bin/bash $person"
  done
  number=$((number + 1))
done
for account in physics chemistry; do
  on ctl sacctmgr --immediate add account "$account" >/dev/null || true # it is there
done
for person in "${!accounts[@]}"; do
  on ctl sacctmgr --immediate add user "$person" account="${accounts[$person]}" >/dev/null || true
done

length=$((minutes * 60)) drained=''
while ((SECONDS < length)); do
  eighth=$((SECONDS * 8 / length))
  if [ "$eighth" -eq 4 ] && [ -z "$drained" ]; then
    on ctl scontrol update nodename=c2 state=drain reason='memory is exchanged'
    drained=yes
  elif [ "$eighth" -eq 5 ] && [ "$drained" = yes ]; then
    on ctl scontrol update nodename=c2 state=resume
    drained=over
  fi
  person=${people[RANDOM % ${#people[@]}]}
  on login1 su --login "$person" --command \
    "sbatch --quiet --account=${accounts[$person]} --ntasks=$((1 + RANDOM % 2)) --output=/dev/null --chdir=/tmp --wrap='sleep $((15 + RANDOM % 60))'"
  sleep $((pauses[eighth] * (50 + RANDOM % 100) / 100))
done
