#!/bin/sh
# build.sh DIRECTORY: a Debian 12 user land in DIRECTORY/rootfs, and three kernels that boot it, in
# DIRECTORY/5.10, 6.1 and 6.12 (vmlinuz, initrd). Needs root, mmdebstrap and this machine's package mirror,
# which is read from its own sources; two minutes. Nothing of kylin-vr is in it.
set -eu

out=$1
rm -rf --one-file-system "$out" && mkdir -p "$out"
here=$(cd "$(dirname "$0")" && pwd)

mirror=$("$here/../../../packaging/debian-mirror")

# The neighbours (network-manager, firewalld) are installed, and masked until a test wants them.
packages=systemd,systemd-sysv,udev,dbus,kmod,zstd,initramfs-tools,qemu-guest-agent
packages=$packages,nftables,iproute2,conntrack,iputils-ping,procps,network-manager,firewalld,dnsmasq-base,tcpdump
packages=$packages,libnftnl11,libmnl0,libudev1

# One user land for all kernels: 5.10 is of the suite before it, 6.12 of its backports.
mmdebstrap --quiet --variant=minbase --mode=root --include="$packages" \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
	--setup-hook='mkdir -p "$1"/etc/apt/preferences.d && cp "'"$here"'"/preferences "$1"/etc/apt/preferences.d/bench' \
	--essential-hook='mkdir -p "$1"/etc/initramfs-tools && cp -r "'"$here"'"/initramfs-tools/. "$1"/etc/initramfs-tools/' \
	--customize-hook="\"$here\"/kernels.sh \"\$1\"" \
	bookworm "$out/rootfs" \
	"deb $mirror bookworm main" "deb $mirror bullseye main" "deb $mirror bookworm-backports main"

root=$out/rootfs
for image in "$root"/boot/vmlinuz-*; do
	release=${image##*/vmlinuz-}
	kernel=$(echo "$release" | cut -d. -f1,2)
	mkdir "$out/$kernel"
	mv "$image" "$out/$kernel/vmlinuz"
	mv "$root/boot/initrd.img-$release" "$out/$kernel/initrd"
done
for kernel in 5.10 6.1 6.12; do
	[ -s "$out/$kernel/initrd" ] || { echo "no kernel $kernel was installed" >&2; exit 1; }
done

# The bench's own channel into the guest, beside the guest agent that kylin-vr is pushed through.
cp "$here/bench-agent.service" "$root/etc/systemd/system/"
cp "$here/90-bench-agent.rules" "$root/etc/udev/rules.d/"
# An empty one would make each boot a first boot, which enables every unit.
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
echo router >"$root/etc/hostname"
chroot "$root" systemctl --quiet set-default multi-user.target
# The neighbours wait for their tests. The rest of these does nothing for a router, and a third of an emulated boot is
# theirs.
chroot "$root" systemctl --quiet mask \
	NetworkManager.service NetworkManager-wait-online.service NetworkManager-dispatcher.service firewalld.service \
	getty@tty1.service console-getty.service serial-getty@ttyS0.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
	dev-hugepages.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount \
	sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
	modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service \
	modprobe@fuse.service modprobe@loop.service systemd-binfmt.service systemd-hwdb-update.service \
	systemd-logind.service systemd-timesyncd.service systemd-update-utmp.service \
	systemd-update-utmp-runlevel.service 2>/dev/null
# A fresh update stamp spares the catalogue and sysusers jobs at each boot.
touch "$root/etc/.updated" "$root/var/.updated"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/boot/System.map-* "$root"/boot/config-*
