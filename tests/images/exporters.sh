#!/usr/bin/env bash
# Build upstream's exporters and lay them out in a folder as upstream publishes its releases, for hosts that fetch them by
# os_base_artifact_mirror. What is built, down to the checksums of all it is made of, stands in go/*/go.mod and go.sum.
# usage: tests/images/exporters.sh FOLDER
set -euo pipefail
folder=$(realpath --canonicalize-missing "$1")
cd "$(dirname "$0")"
go_version=1.26.8
go_checksum=30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7

stamp=.$(cat exporters.sh go/*/go.sum go/*/*.go | sha256sum | cut -c1-16)
[ ! -e "$folder/$stamp" ] || exit 0
mkdir -p "${folder%/*}"
exec 9>"$folder.lock"
flock 9
[ ! -e "$folder/$stamp" ] || exit 0

# What is mounted from it stays so.
mkdir -p "$folder"
find "$folder" -mindepth 1 -delete
# Built once on a machine: another checkout takes a copy.
kept=${XDG_CACHE_HOME:-$HOME/.cache}/hpcops.cluster/exporters$stamp
if [ -e "$kept/$stamp" ]; then
  cp -a "$kept/." "$folder"
  exit 0
fi

# Debian 12 has an older Go. The module proxy has Go itself as a module.
if ! go version 2>/dev/null | grep --quiet --fixed-strings "go${go_version%.*}."; then
  toolchain=$folder.go/golang.org/toolchain@v0.0.1-go$go_version.linux-amd64
  if [ ! -x "$toolchain/bin/go" ]; then
    mkdir -p "$folder.go"
    proxy=${GOPROXY:-https://proxy.golang.org}
    proxy=${proxy%%[,|]*}
    curl --silent --show-error --fail --retry 3 --output "$folder.go/toolchain.zip" \
      "$proxy/golang.org/toolchain/@v/v0.0.1-go$go_version.linux-amd64.zip"
    echo "$go_checksum  $folder.go/toolchain.zip" | sha256sum --check --quiet
    python3 -m zipfile -e "$folder.go/toolchain.zip" "$folder.go"
    chmod +x "$toolchain"/bin/* "$toolchain"/pkg/tool/*/*
    rm "$folder.go/toolchain.zip"
  fi
  export PATH=$toolchain/bin:$PATH GOROOT=$toolchain
fi
# go.sum has every checksum, so that no other machine is asked for them.
export GOFLAGS="-mod=readonly -trimpath" GOSUMDB=off GOTOOLCHAIN=local CGO_ENABLED=0 GOCACHE=$folder.go/build

# publish MODULE PACKAGE PROJECT LIST: build the module's program, and publish it as a release of the project with a list of checksums
publish() {
  local program=${3#*/} version release
  version=$(cd "go/$program" && go list -m -f '{{.Version}}' "$1")
  release=$folder/$3/releases/download/$version
  mkdir -p "$release/$program-${version#v}.linux-amd64"
  (cd "go/$program" && go build -ldflags "-X github.com/prometheus/common/version.Version=${version#v}" \
    -o "$release/$program-${version#v}.linux-amd64/$program" "$2")
  (cd "$release" && tar --create --gzip --file "$program-${version#v}.linux-amd64.tar.gz" "$program-${version#v}.linux-amd64" &&
    rm -r "$program-${version#v}.linux-amd64" && sha256sum ./*.tar.gz | sed 's|\./||' >"$4")
}

publish github.com/prometheus/node_exporter github.com/prometheus/node_exporter prometheus/node_exporter sha256sums.txt
publish github.com/ncabatoff/process-exporter github.com/ncabatoff/process-exporter/cmd/process-exporter ncabatoff/process-exporter \
  checksums.txt

# stand_in PROJECT VERSION ARCHIVE LIST: what takes the place of an exporter that cannot be built here (the proxy lacks its module). It is
# node_exporter without its collectors: of its options it takes those that all of Prometheus' exporters have, also as NVIDIA's names them.
stand_in() {
  local program=${1#*/} release=$folder/$1/releases/download/v$2 node_exporter
  node_exporter=$(echo "$folder"/prometheus/node_exporter/releases/download/v*/*.tar.gz)
  mkdir -p "$release/$3"
  tar --extract --file "$node_exporter" --directory "$release/$3" --strip-components=1
  cat >"$release/$3/$program" <<'STAND_IN'
#!/bin/sh
for argument; do
  case $argument in
    --web.*) set -- "$@" "$argument" ;;
    --address=*) set -- "$@" "--web.listen-address=${argument#*=}" ;;
    --web-config-file=*) set -- "$@" "--web.config.file=${argument#*=}" ;;
  esac
  shift
done
exec "$(dirname "$(readlink -f "$0")")/node_exporter" --collector.disable-defaults "$@"
STAND_IN
  chmod +x "$release/$3/$program"
  (cd "$release" && tar --create --gzip --file "$3.tar.gz" "$3" && rm -r "$3" && sha256sum ./*.tar.gz | sed 's|\./||' >"$4")
}

# cAdvisor's release is its program alone. Upstream publishes no list of checksums; the scenarios need one.
version=$(cd go/cadvisor && go list -m -f '{{.Version}}' github.com/google/cadvisor/lib)
release=$folder/google/cadvisor/releases/download/$version
mkdir -p "$release"
(cd go/cadvisor && go build -ldflags "-X github.com/google/cadvisor/lib/version.Version=$version" \
  -o "$release/cadvisor-$version-linux-amd64" .)
(cd "$release" && sha256sum cadvisor-* >sha256sums.txt)
stand_in treydock/cgroup_exporter 1.2.1 cgroup_exporter-1.2.1.linux-amd64 checksums.txt
stand_in SckyzO/slurm_exporter 1.8.4 slurm_exporter-1.8.4-linux-amd64 slurm_exporter_checksums.txt
stand_in NVIDIA/dcgm-exporter 4.8.2 dcgm-exporter-4.8.2.linux-amd64 checksums.txt
rm -rf "$folder.go/build"
touch "$folder/$stamp"
mkdir -p "${kept%/*}"
rm -rf "${kept%/*}"/exporters.*
cp -a "$folder" "$kept.new"
mv "$kept.new" "$kept"
