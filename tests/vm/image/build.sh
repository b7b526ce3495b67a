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
packages=systemd,systemd-sysv,udev,dbus,kmod,zstd,busybox-static,cpio,qemu-guest-agent
packages=$packages,nftables,iproute2,conntrack,iputils-ping,procps,network-manager,firewalld,dnsmasq-base,tcpdump
packages=$packages,libnftnl11,libmnl0,libudev1

# One user land for all kernels: 5.10 is of the suite before it, 6.12 of its backports.
mmdebstrap --quiet --variant=minbase --mode=root --include="$packages" \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
	--setup-hook='mkdir -p "$1"/etc/apt/preferences.d && cp "'"$here"'"/preferences "$1"/etc/apt/preferences.d/bench' \
	--customize-hook="\"$here\"/kernels.sh \"\$1\"" \
	bookworm "$out/rootfs" \
	"deb $mirror bookworm main" "deb $mirror bullseye main" "deb $mirror bookworm-backports main"

root=$out/rootfs
for image in "$root"/boot/vmlinuz-*; do
	release=${image##*/vmlinuz-}
	kernel=$(echo "$release" | cut -d. -f1,2)
	mkdir "$out/$kernel"
	cp -L "$image" "$out/$kernel/vmlinuz"
	"$here/initrd.sh" "$root" "$release" "$out/$kernel/initrd"
done
for kernel in 5.10 6.1 6.12; do
	[ -s "$out/$kernel/initrd" ] || { echo "no kernel $kernel was installed" >&2; exit 1; }
done
"$here/finish.sh" "$root"
