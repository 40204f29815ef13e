#!/bin/bash
# customize.sh ROOT FILES: makes the unpacked Debian in ROOT the test machine.
set -euo pipefail
root=$1 files=$2
cp -R --no-preserve=ownership "$files/." "$root/"
echo vm >"$root/etc/hostname"
printf '127.0.0.1 localhost vm\n::1 localhost\n' >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
cat >"$root/etc/fstab" <<T
/dev/vda / ext4 noatime 0 0
/dev/vdc /mnt/ext4 ext4 noatime,prjquota,nofail,x-systemd.device-timeout=200 0 0
/dev/vdd /mnt/xfs xfs noatime,prjquota,nofail,x-systemd.device-timeout=200 0 0
/dev/vde /mnt/btrfs btrfs noatime,nofail,x-systemd.device-timeout=200 0 0
T
mkdir -p "$root"/mnt/{ext4,xfs,btrfs} "$root"/work "$root"/out
sed -i 's,^root:[^:]*:,root::,' "$root/etc/shadow"
chroot "$root" useradd -m -s /bin/bash -u 1000 user
printf 'user:100000:65536\n' >"$root/etc/subuid"
printf 'containers:1000000:1048576\n' >>"$root/etc/subuid" # --userns=auto
cp "$root/etc/subuid" "$root/etc/subgid"

# What only costs time under emulation. Engines are started by the suites.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
	logrotate.timer man-db.timer systemd-timesyncd.service getty@tty1.service serial-getty@ttyS0.service getty-static.service \
	systemd-networkd-wait-online.service selinux-autorelabel-mark.service selinux-autorelabel.service systemd-pcrphase.service \
	systemd-tpm2-setup.service systemd-tpm2-setup-early.service systemd-hibernate-clear.service nftables.service \
	systemd-boot-update.service systemd-binfmt.service modprobe@drm.service modprobe@configfs.service \
	modprobe@efi_pstore.service systemd-update-utmp.service systemd-pstore.service sys-kernel-tracing.mount sys-kernel-debug.mount; do
	ln -sfn /dev/null "$root/etc/systemd/system/$unit"
done
for unit in docker.service docker.socket containerd.service podman.socket podman.service podman-restart.service \
	podman-auto-update.service podman-auto-update.timer podman-clean-transient.service quotarpc.service quota.service \
	netavark-dhcp-proxy.socket netavark-dhcp-proxy.service nginx.service; do
	chroot "$root" systemctl disable --quiet "$unit" 2>/dev/null || true
	chroot "$root" systemctl --global disable --quiet "$unit" 2>/dev/null || true
done
chroot "$root" systemctl enable --quiet vm.service apparmor.service
chroot "$root" systemctl set-default --quiet multi-user.target

# AppArmor compiles each profile at boot: those of the engines are enough.
for p in "$root"/etc/apparmor.d/*; do
	[ -f "$p" ] || continue
	case ${p##*/} in
	buildah | crun | runc | podman | rootlesskit | slirp4netns | passt | pasta | unprivileged_userns) ;;
	*) rm -f "$p" ;;
	esac
done
# Nothing is to be brought up to date at the first boot.
touch "$root/etc/.updated" "$root/var/.updated"
