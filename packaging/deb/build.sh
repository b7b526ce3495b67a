#!/bin/sh
# Makes the Debian package: build.sh DIRECTORY, called by `make deb`.
# BINARY: the command; ARCH: Debian's name of its architecture. Neither debhelper nor a chroot, so that a binary which
# was cross-built elsewhere can be packed. The same input gives the same file, byte by byte.
set -eu

out=$1
here=$(dirname "$0")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}"
export SOURCE_DATE_EPOCH

# What is packed is what was said: e_machine of the ELF header.
machine=$(od -An -tu2 -j18 -N2 "$BINARY" | tr -d ' ')
case "$ARCH:$machine" in
amd64:62 | arm64:183) ;;
*) echo "$BINARY is no binary of $ARCH" >&2 && exit 1 ;;
esac

stage=$out/stage
rm -rf "$stage"
mkdir -p "$stage/DEBIAN"
umask 022
"${MAKE:-make}" --no-print-directory --silent install DESTDIR="$(realpath "$stage")" PREFIX=/usr OF=debian BINARY="$BINARY"

# Debian's names for two directories and two files.
mv "$stage/usr/share/zsh/site-functions" "$stage/usr/share/zsh/vendor-completions"
gzip -9n "$stage/usr/share/doc/kylin-vr/CHANGELOG.md"
mv "$stage/usr/share/doc/kylin-vr/CHANGELOG.md.gz" "$stage/usr/share/doc/kylin-vr/changelog.gz"
printf '%s\n' 'kylin-vr, GPL-3.0-or-later.' '/usr/share/common-licenses/GPL-3 has the text.' >"$stage/usr/share/doc/kylin-vr/copyright"

# The newest glibc symbol that it uses, and the libraries that it may link.
glibc=$(strings -a "$BINARY" 2>/dev/null | sed -n 's/^GLIBC_\(2\.[0-9]*\)$/\1/p' | sort -V | tail -n 1)
links() { grep -q "$1" "$BINARY" && echo "$2"; }
libraries=$(links 'libmnl\.so\.0' 'libmnl0 (>= 1.0.3), ' || true)$(links 'libudev\.so\.1' 'libudev1 (>= 183), ' || true)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$ARCH/" -e "s/@GLIBC@/${glibc:-2.28}/" -e "s/@LIBRARIES@/$libraries/" \
    -e "s/@SIZE@/$(du -sk --apparent-size --exclude=DEBIAN "$stage" | cut -f1)/" \
    "$here/control.in" >"$stage/DEBIAN/control"
printf '%s\n' /etc/cloud/cloud.cfg.d/99-kylin-vr.cfg /etc/kylin-vr/kylin-vr.yaml >"$stage/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 0755 "$here/$script" "$stage/DEBIAN/$script"
done
(cd "$stage" && find . -path ./DEBIAN -prune -o -type f -print | LC_ALL=C sort | sed 's|^\./||' | xargs md5sum >DEBIAN/md5sums)

dpkg-deb --root-owner-group -Zxz --build "$stage" "$out/kylin-vr_${version}_$ARCH.deb"
rm -rf "$stage"
