#!/bin/sh
# Make the index of a flat apt repository, and sign it with the private key on standard input if there is one.
# usage: index REPOSITORY
# Says "unchanged" and leaves everything alone where packages and key are those of the last time.
set -eu
repository=$1
cd "$repository"
work=$(mktemp -d)
trap 'gpgconf --homedir "$work/gnupg" --kill all 2>/dev/null || true; rm -rf "$work"' EXIT

mkdir -m 0700 "$work/gnupg"
cat >"$work/gnupg/key"
signer=unsigned
if grep -q . "$work/gnupg/key"; then
  gpg --homedir "$work/gnupg" --batch --quiet --import "$work/gnupg/key"
  signer=$(gpg --homedir "$work/gnupg" --batch --with-colons --list-secret-keys | awk -F: '$1 == "fpr" { print $10; exit }')
fi
rm "$work/gnupg/key"

apt-ftparchive packages . >"$work/Packages"
echo "$signer" >"$work/signer"
if cmp --silent "$work/Packages" Packages && cmp --silent "$work/signer" .signer; then
  echo unchanged
  exit
fi

mkdir "$work/index"
cp "$work/Packages" "$work/index/"
gzip --keep --no-name "$work/index/Packages"
apt-ftparchive -o APT::FTPArchive::Release::Origin=hpcops.cluster -o APT::FTPArchive::Release::Label=Slurm \
  release "$work/index" >"$work/Release"
if [ "$signer" != unsigned ]; then
  gpg --homedir "$work/gnupg" --batch --quiet --armor --detach-sign --output "$work/index/Release.gpg" "$work/Release"
  gpg --homedir "$work/gnupg" --batch --quiet --clear-sign --output "$work/index/InRelease" "$work/Release"
fi
mv "$work/Release" "$work/index/"
chmod -R u=rwX,go=rX "$work/index"
rm -f InRelease Release.gpg
mv "$work/index"/* .
mv "$work/signer" .signer
