#!/bin/bash
# bootstrap.sh TAR PACKAGES: unpacks Debian with the packages that the file PACKAGES lists, and makes TAR of it. The packages
# come from the mirror that the host's own apt is set up for, by its proxy. Inside, /var/lib/vm/debian.tar is a small
# Debian with systemd, for containers.
set -euo pipefail
tar=$1 list=$2
suite=trixie
work=$(mktemp -d "$tar.XXXXXX")
trap 'rm -rf --one-file-system "$work" "$tar.new"' EXIT

# The host's own mirror of Debian: the repository may be listed in any form that apt reads.
mirror() { apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian|Debian|//p' | head -n 1; }
uri=$(mirror)
[ -n "$uri" ] || { apt-get update >&2 && uri=$(mirror); }
[ -n "$uri" ] || { echo "vm: apt has no Debian repository in its sources" >&2; exit 1; }
# How the host reaches it: proxies, time-outs, certificates.
apt-config dump | grep -iE '^Acquire::(https?|Retries|Check-Valid-Until)(::| )' | grep -v '""' >"$work/apt.conf" || true
echo 'Acquire::Retries "5";' >>"$work/apt.conf"
echo 'Acquire::Languages "none";' >>"$work/apt.conf"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $keyring ] || { echo "vm: $keyring is missing: apt-get install debian-archive-keyring" >&2; exit 1; }

unpack() { # DIR VARIANT PACKAGES
	mmdebstrap --quiet --mode=root --format=directory --variant="$2" --include="$3" --components=main \
		--keyring=$keyring --aptopt="$work/apt.conf" \
		--essential-hook='mkdir -p "$1/etc/initramfs-tools" && echo update_initramfs=no >"$1/etc/initramfs-tools/update-initramfs.conf"' \
		--dpkgopt=force-confold --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
		--skip=check/qemu "$suite" "$1" "$uri" </dev/null
}
packages=$(sed 's/#.*//' "$list" | tr -s ' \n' ',' | sed 's/^,//; s/,$//')
unpack "$work/root" apt "$packages"
# A small Debian with systemd for containers, as a tar.
unpack "$work/guest" minbase systemd,systemd-sysv,dbus,procps
root=$work/root
rm -rf "$work"/{root,guest}/var/lib/apt/lists/* "$work"/{root,guest}/var/cache/apt/*.bin
mkdir -p "$root/var/lib/vm"
tar -C "$work/guest" --one-file-system -cf "$root/var/lib/vm/debian.tar" --exclude=./usr/share/locale --exclude=./dev/'*' .
rm -rf "$work/guest" "$root"/boot/initrd*
tar -C "$root" --one-file-system --xattrs --xattrs-include='*' --numeric-owner -cf "$tar.new" .
mv "$tar.new" "$tar"
