#!/bin/sh
# Answers apt's question for a proxy: the package cache on the engine's host where one listens, else none.
proxy="$(ip -4 route show default | awk '{print $3; exit}'):3142"
if timeout 1 bash -c "exec 3<>/dev/tcp/${proxy%:*}/${proxy#*:}" 2>/dev/null; then
  echo "http://$proxy"
else
  echo DIRECT
fi
