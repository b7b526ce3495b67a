#!/bin/sh
# kernels.sh ROOT: the hook of mmdebstrap that installs the newest cloud kernel of each suite, in ROOT alone:
# apt-get outside the chroot would have dpkg install them on this machine.
set -eu
root=${1:?the root}
architecture=$(chroot "$root" dpkg --print-architecture)
# The metapackage names the kernel of its suite.
kernels=$(chroot "$root" apt-cache show "linux-image-cloud-$architecture" |
	sed -n 's/^Depends: *\(linux-image-[^ ]*\).*/\1/p' | sort -u)
# Without initrds: initrd.sh makes them.
# shellcheck disable=SC2086 # one word a package
INITRD=No DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get --yes -qq install --no-install-recommends $kernels
