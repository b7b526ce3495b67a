#!/bin/sh
# finish.sh ROOT: what makes a user land one of the bench's, and quick to boot where the processor is emulated.
set -eu
root=${1:?the root}
here=$(cd "$(dirname "$0")" && pwd)

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
	getty@tty1.service console-getty.service serial-getty@ttyS0.service serial-getty@ttyAMA0.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
	dev-hugepages.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount \
	sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
	modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service \
	modprobe@fuse.service modprobe@loop.service systemd-binfmt.service systemd-hwdb-update.service \
	systemd-logind.service systemd-timesyncd.service systemd-update-utmp.service \
	systemd-update-utmp-runlevel.service 2>/dev/null
# So with the programs that look for file systems, terminals and old scripts to make units of: there are none.
mkdir -p "$root/etc/systemd/system-generators"
for generator in "$root"/lib/systemd/system-generators/*; do
	ln -s /dev/null "$root/etc/systemd/system-generators/${generator##*/}"
done
# A fresh update stamp spares the catalogue and sysusers jobs at each boot.
touch "$root/etc/.updated" "$root/var/.updated"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/boot/*
