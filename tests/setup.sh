#!/usr/bin/env bash
# Make a Python environment with what a requirements file names, and the link that makes the checkout importable as the
# collection. Does nothing where both are there.
# usage: tests/setup.sh [--optional] FOLDER REQUIREMENTS PYTHON_VERSION...   (the versions in order of preference)
set -euo pipefail
cd "$(dirname "$0")/.."

optional=no
[ "$1" != --optional ] || { optional=yes; shift; }
folder=$1 requirements=$2
shift 2

link=.ansible/collections/ansible_collections/hpcops/cluster
if [ ! -e "$link" ]; then
  mkdir -p "$(dirname "$link")"
  ln -sfn ../../../.. "$link"
fi

# A moved checkout needs a new environment: its programs name their interpreter by its path.
stamp="$(cat "$requirements" tests/setup.sh | sha256sum) $PWD"
if [ "$(cat "$folder/.installed" 2>/dev/null)" = "$stamp" ] && "$folder/bin/python" -c '' 2>/dev/null; then
  exit 0
fi

# The first interpreter of a wanted version that can make environments: the distribution's, which is built with profile-guided
# optimization and runs a quarter faster than a version manager's, then the path's, then a version manager's.
find_python() {
  local version candidate
  for version in "$@"; do
    for candidate in "/usr/bin/python$version" "python$version" python3 "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python3; do
      if "$candidate" -c "import sys, venv, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" >/dev/null 2>&1; then
        # An environment's own Python, which may be on the path, is gone when the environment is made anew.
        "$candidate" -c 'import sys; print(sys._base_executable)'
        return
      fi
    done
  done
  return 1
}

if ! python=$(find_python "$@"); then
  if [ "$optional" = yes ]; then
    echo "setup: no Python $* here; $folder is left out"
    exit 0
  fi
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: Python $* with venv is needed (Debian: python3-venv)" >&2
    exit 1
  fi
  echo "setup: installing python3-venv"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv git ca-certificates >/dev/null
  python=$(find_python "$@") || { echo "setup: the distribution's Python is none of $*" >&2; exit 1; }
fi

echo "setup: installing $requirements into $folder ($("$python" --version))"
# Kept where it is whole: others may be using it.
if ! "$folder/bin/python" -c '' 2>/dev/null || ! grep -qsF "$PWD/$folder/" "$folder/bin/pip"; then
  rm -rf "$folder"
  "$python" -m venv "$folder"
fi
# uv does in seconds what takes pip minutes; pip, which knows this machine's settings best, where it cannot.
pip=("$folder/bin/python" -m pip --disable-pip-version-check)
"${pip[@]}" install --quiet uv
index=$("${pip[@]}" config get global.index-url 2>/dev/null) || index=${PIP_INDEX_URL:-}
UV_DEFAULT_INDEX=$index "$folder/bin/uv" pip install --quiet --native-tls --python "$folder/bin/python" --requirement "$requirements" ||
  "${pip[@]}" install --quiet --requirement "$requirements"
# Ansible makes many objects and no cycles that matter: rarer collections save a tenth of each run's processor time.
for site in "$folder"/lib/python3*/site-packages; do
  echo 'import gc; gc.set_threshold(50_000, 20, 50)' >"$site/gc_seldom.pth"
done
echo "$stamp" >"$folder/.installed"
