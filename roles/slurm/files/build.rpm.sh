#!/bin/sh
# Turn Slurm's release tarball into RPM packages, with the spec file that upstream ships in it.
# usage: FEATURES="NAME..." build TARBALL VERSION DIRECTORY REPOSITORY STAMP PLUGIN...
# DIRECTORY keeps the build tree, the log and the compiler's cache. The packages go to REPOSITORY/VERSION, in one step and only if
# all PLUGINs are in them; STAMP is made beside them, last.
set -eu
tarball=$1 version=$2 directory=$3 repository=$4 stamp=$5
shift 5
plugins=$*
tree=$directory/slurm-$version
log=$directory/slurm-$version.log

exec 9>"$directory/.lock"
flock --nonblock 9 || { echo "Another build is running on this host; wait for it to end." >&2; exit 1; }

refuse() { echo "$*" >&2; exit 1; }
logged() {
  "$@" >>"$log" 2>&1 || { tail -n 30 "$log" >&2; refuse "Building Slurm $version failed in \"$*\"; the whole log is $log."; }
}

rm -rf "$tree" "$log"
mkdir -p "$tree"
tar --extract --file "$tarball" --directory "$tree" --strip-components 1 --no-same-owner --wildcards '*/slurm.spec' '*/META'
found=$(sed -n 's/^ *Version:[[:space:]]*//p' "$tree/META")
[ "$found" = "$version" ] || refuse "slurm_version: the tarball holds Slurm $found, not $version. Correct slurm_version or slurm_source_url."

export CCACHE_DIR="$directory/ccache" PATH="/usr/lib64/ccache:$PATH"
set --
for feature in ${FEATURES:-}; do
  set -- "$@" --define "_with_$feature --with-$feature"  # what "rpmbuild --with" does; builddep has no such option
done
logged dnf --assumeyes builddep "$@" --spec "$tree/slurm.spec"
logged nice rpmbuild -ta "$tarball" --define "_topdir $tree/rpmbuild" "$@"

cd "$tree/rpmbuild/RPMS"
contents=$(find . -name '*.rpm' -exec rpm --query --list --package {} +)
missing=
for plugin in $plugins; do
  case $contents in
    *"/slurm/$plugin.so"*) ;;
    *) missing="$missing $plugin" ;;
  esac
done
[ -z "$missing" ] || refuse "slurm_build_required_plugins: the build of Slurm $version left out$missing. Slurm skips what it finds no" \
  "library for; see $log. Install the library's development package (slurm_build_packages), or take the plugin off the list."

rm -rf "$repository/$version.new"
mkdir -p "$repository/$version.new"
find . -name '*.rpm' -exec mv -t "$repository/$version.new" -- {} +
chmod -R u=rwX,go=rX "$repository/$version.new"
: >"$repository/$version.new/$stamp"
rm -rf "${repository:?}/$version"
mv "$repository/$version.new" "$repository/$version"
rm -rf "$tree"
