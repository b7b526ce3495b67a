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

packages=systemd,systemd-sysv,udev,dbus,kmod,zstd,busybox-static,cpio,qemu-guest-agent
packages=$packages,nftables,iproute2,conntrack,iputils-ping,procps,libnftnl11,libmnl0,libudev1
# For guest-set-time: hwclock.
packages=$packages,util-linux-extra

mmdebstrap --quiet --variant=minbase --mode=root --architectures=arm64 --include="$packages" \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
	--customize-hook="\"$here\"/kernels.sh \"\$1\"" \
	trixie "$out/rootfs" "deb $mirror trixie main"

root=$out/rootfs
cp -L "$root"/boot/vmlinuz-* "$out/6.12/vmlinuz"
"$here/initrd.sh" "$root" "$(ls "$root/lib/modules")" "$out/6.12/initrd"
"$here/finish.sh" "$root"
