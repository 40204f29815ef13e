#!/bin/bash
# build.sh DIR: makes the test machine's disks, kernel and initrd in DIR: root.img, ext4.img, xfs.img, btrfs.img,
# vmlinuz, initrd. As root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT

# The unpacked packages are kept by a digest of their own: a change of what is done with them is cheap.
base=$(dirname "$out")/base-$(cat "$here/bootstrap.sh" "$here/packages" | sha256sum | cut -c1-16).tar
[ -e "$base" ] || bash "$here/bootstrap.sh" "$base" "$here/packages"
root=$work/root
mkdir "$root"
tar -C "$root" --xattrs --xattrs-include='*' --numeric-owner -xpf "$base"

mount -t proc proc "$root/proc"
bash "$here/customize.sh" "$root" "$here/files"
for fs in xfs btrfs; do # by the guest's own tools: the host may have none
	truncate -s 1G "$root/tmp/$fs.img"
	chroot "$root" "mkfs.$fs" -q -L $fs "/tmp/$fs.img"
	mv "$root/tmp/$fs.img" "$out/"
done
umount "$root/proc"

# The kernel, and an initrd that does nothing but mount the disk.
kernel=$(basename "$root"/lib/modules/*)
cp "$root/boot/vmlinuz-$kernel" "$out/vmlinuz"
ir=$work/initrd
mkdir -p "$ir"/{bin,dev,proc,sys,mnt,modules}
cp "$(chroot "$root" sh -c 'command -v busybox' | sed "s,^,$root,")" "$ir/bin/busybox"
cp "$here/init" "$ir/init"
n=10
for m in virtio_pci virtio_blk ext4 virtio_console virtio_rng 9pnet_virtio 9p; do
	chroot "$root" modprobe -S "$kernel" --show-depends "$m" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | awk '!seen[$0]++' | while read -r ko; do
	case $ko in
	*.xz) xz -dc "$root$ko" ;;
	*.zst) zstd -dcq "$root$ko" ;;
	*) cat "$root$ko" ;;
	esac >"$ir/modules/$n-$(basename "$ko" | sed 's/\.ko.*//').ko"
	n=$((n + 1))
done
(cd "$ir" && find . -print0 | cpio --null --quiet -o -H newc) | gzip -1 >"$out/initrd"

# The disks: sparse, and each run works on a copy-on-write of them.
truncate -s 8G "$out/root.img"
mke2fs -q -F -t ext4 -O verity,^has_journal -E lazy_itable_init=1,nodiscard -L root -d "$root" "$out/root.img"
# No casefold: overlayfs refuses a filesystem that has it, whether it is used or not.
truncate -s 1G "$out/ext4.img"
mke2fs -q -F -t ext4 -O verity,quota,project,encrypt -E quotatype=usrquota:grpquota:prjquota,lazy_itable_init=1 -L ext4 "$out/ext4.img"
