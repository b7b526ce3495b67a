#!/bin/sh
# kernels.sh ROOT: the hook of mmdebstrap that installs the newest cloud kernel of each suite, in ROOT alone:
# apt-get outside the chroot would have dpkg install them on this machine.
set -eu
root=$1
# The metapackage names the kernel of its suite.
kernels=$(chroot "$root" apt-cache show linux-image-cloud-amd64 |
	sed -n 's/^Depends: *\(linux-image-[^ ]*\).*/\1/p' | sort -u)
# shellcheck disable=SC2086 # one word a package
DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get --yes -qq install --no-install-recommends $kernels
