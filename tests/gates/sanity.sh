#!/usr/bin/env bash
# ansible-test sanity under this environment's Python, with no network but a package index.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PWD/.venv/bin:$PATH
output=$PWD/.cache/sanity/output.log
cd "$(tests/gates/copy.sh "$PWD/.cache/sanity")"
# A repository of its own: in the checkout's, the copy is an ignored folder, and ansible-test would skip all of it.
git init --quiet .
unset ANSIBLE_COLLECTIONS_PATH ANSIBLE_HOME

# ansible-test downloads a script that puts pip into its environments. The interpreter can do that itself.
version=$(python -c '
from types import SimpleNamespace
from ansible_test._internal.python_requirements import get_venv_packages
print(get_venv_packages(SimpleNamespace(version="3.11"))["pip"].replace(".", "_"))')
bootstrap=$HOME/.ansible/test/cache/get_pip_$version.py
if [ ! -e "$bootstrap" ]; then
  mkdir -p "$(dirname "$bootstrap")"
  cat >"$bootstrap" <<'PYTHON'
import subprocess
import sys

subprocess.check_call([sys.executable, "-m", "ensurepip"])
arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "pip", "install"] + arguments)
PYTHON
fi

if ! command -v shellcheck >/dev/null && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends shellcheck; } >/dev/null 2>&1 || true
fi

# Version managers keep their interpreters off the path, or behind programs that do not work for every version.
interpreters=$(printf '%s:' "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin)
PATH=${PATH%%:*}:$interpreters${PATH#*:}
own=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

sanity() {
  ansible-test sanity --color no "$@" 2>&1 | tee --append "$output"
}
: >"$output"
failed=0
sanity --python "$own" || failed=1
# What depends on the managed hosts' interpreters, on the oldest and the newest that this ansible-test knows.
for version in 3.9 3.13; do
  [ "$version" != "$own" ] || continue
  if "python$version" -c 'import ensurepip' 2>/dev/null; then
    sanity --python "$version" --test compile --test import || failed=1
  else
    echo "SKIPPED: the tests compile and import on Python $version: there is none here"
  fi
done

if grep -q 'All targets skipped' "$output"; then
  echo "sanity: ansible-test saw no file" >&2
  exit 1
fi
# What ansible-test itself leaves out, it says in warnings.
grep -iE '^WARNING: .*(skip|unable|not found|cannot)' "$output" | sort -u | sed 's/^WARNING: /SKIPPED: /' || true
# The findings again at the end, where they are read.
[ "$failed" = 0 ] || grep -E '^(ERROR|FATAL)' "$output" | sort -u
exit "$failed"
