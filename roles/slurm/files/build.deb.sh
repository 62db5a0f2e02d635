#!/bin/sh
# Turn Slurm's release tarball into Debian packages, with the packaging that upstream ships in it.
# usage: build TARBALL VERSION DIRECTORY REPOSITORY STAMP PLUGIN...
# DIRECTORY keeps the build tree, the log and the compiler's cache. The packages go to REPOSITORY/VERSION, in one step and only if
# all PLUGINs are in them; STAMP is made beside them, last.
set -eu
tarball=$1 version=$2 directory=$3 repository=$4 stamp=$5
shift 5
tree=$directory/slurm-$version
log=$directory/slurm-$version.log

exec 9>"$directory/.lock"
flock --nonblock 9 || { echo "Another build is running on this host; wait for it to end." >&2; exit 1; }

refuse() { echo "$*" >&2; exit 1; }
logged() {
  "$@" >>"$log" 2>&1 || { tail -n 30 "$log" >&2; refuse "Building Slurm $version failed in \"$*\"; the whole log is $log."; }
}

rm -rf "$tree" "$log"
mkdir -p "$tree/source"
tar --extract --file "$tarball" --directory "$tree/source" --strip-components 1 --no-same-owner
cd "$tree/source"
found=$(sed -n 's/^ *Version:[[:space:]]*//p' META)
[ "$found" = "$version" ] || refuse "slurm_version: the tarball holds Slurm $found, not $version. Correct slurm_version or slurm_source_url."

export DEBIAN_FRONTEND=noninteractive CCACHE_DIR="$directory/ccache" PATH="/usr/lib/ccache:$PATH"
logged apt-get update --quiet
logged apt-get build-dep --quiet --yes --no-install-recommends ./
logged nice dpkg-buildpackage --build=binary --unsigned-source --unsigned-changes --jobs=auto

cd "$tree"
contents=$(for package in *.deb; do dpkg-deb --contents "$package"; done)
missing=
for plugin in "$@"; do
  case $contents in
    *"/slurm/$plugin.so"*) ;;
    *) missing="$missing $plugin" ;;
  esac
done
[ -z "$missing" ] || refuse "slurm_build_required_plugins: the build of Slurm $version left out$missing. Slurm skips what it finds no" \
  "library for; see $log. Install the library's development package (slurm_build_packages), or take the plugin off the list."

rm -rf "$repository/$version.new"
mkdir -p "$repository/$version.new"
mv -- *.deb "$repository/$version.new/"
chmod -R u=rwX,go=rX "$repository/$version.new"
: >"$repository/$version.new/$stamp"
rm -rf "${repository:?}/$version"
mv "$repository/$version.new" "$repository/$version"
rm -rf "$tree"
