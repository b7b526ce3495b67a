#!/bin/sh
# build-aarch64.sh DIRECTORY: a Debian 13 user land for aarch64 in DIRECTORY/rootfs, and its kernel in DIRECTORY/6.12 (vmlinuz,
# initrd). Needs root, mmdebstrap, arch-test, qemu-user-static, binfmt-support and this machine's package mirror, which is read from
# its own sources. Packages are set up under emulation: five minutes. Nothing of kylin-vr is in it.
set -eu

out=$1
rm -rf --one-file-system "$out" && mkdir -p "$out/6.12"
here=$(cd "$(dirname "$0")" && pwd)

mirror=$("$here/../../../packaging/debian-mirror")

"$here/emulate-aarch64.sh"

packages=systemd,systemd-sysv,udev,dbus,kmod,zstd,initramfs-tools,linux-image-cloud-arm64,qemu-guest-agent
packages=$packages,nftables,iproute2,conntrack,iputils-ping,procps,libnftnl11,libmnl0,libudev1
# For guest-set-time: hwclock.
packages=$packages,util-linux-extra

mmdebstrap --quiet --variant=minbase --mode=root --architectures=arm64 --include="$packages" \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
	--essential-hook='mkdir -p "$1"/etc/initramfs-tools && cp -r "'"$here"'"/initramfs-tools/. "$1"/etc/initramfs-tools/' \
	trixie "$out/rootfs" "deb $mirror trixie main"

root=$out/rootfs
cp -L "$root"/boot/vmlinuz-* "$out/6.12/vmlinuz"
cp -L "$root"/boot/initrd.img-* "$out/6.12/initrd"
rm -rf "$root"/boot/*

# The bench's own channel into the guest, beside the guest agent that kylin-vr is pushed through.
cp "$here/bench-agent.service" "$root/etc/systemd/system/"
cp "$here/90-bench-agent.rules" "$root/etc/udev/rules.d/"
# An empty one would make each boot a first boot, which enables every unit.
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
echo router >"$root/etc/hostname"
chroot "$root" systemctl --quiet set-default multi-user.target
chroot "$root" systemctl --quiet mask getty@tty1.service console-getty.service serial-getty@ttyAMA0.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer systemd-timesyncd.service \
	systemd-hwdb-update.service e2scrub_all.timer 2>/dev/null
# A fresh update stamp spares the catalogue and sysusers jobs at each boot.
touch "$root/etc/.updated" "$root/var/.updated"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
