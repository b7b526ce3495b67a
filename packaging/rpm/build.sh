#!/bin/sh
# Makes the rpm packages: build.sh DIRECTORY, called by `make rpm`. Only the vendoring may need a network, and only if
# cargo has not downloaded the crates yet.
# For another architecture: RPM_ARCH (aarch64, say), and either BINARY, the command built elsewhere, or RUST_TARGET
# (aarch64-unknown-linux-gnu) and what cargo needs to link for it.
set -eu

mkdir -p "$1"
out=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=kylin-vr-$version
: "${CARGO:=cargo}"
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}"
export SOURCE_DATE_EPOCH
mkdir -p "$out/SOURCES"

# The same input gives the same tarball.
pack() {
    tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go+r-w --mtime="@$SOURCE_DATE_EPOCH" "$@"
}

# What git knows, as it is in this directory now; from a tarball, all of it.
if git rev-parse --git-dir >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard >"$out/files"
else
    find . \( -path ./target -o -path ./vendor \) -prune -o -type f -print0 >"$out/files"
fi
pack --transform="s|^\(\./\)\{0,1\}|$name/|" --null --no-recursion --files-from="$out/files" |
    gzip -9n >"$out/SOURCES/$name.tar.gz"
rm "$out/files"

# The crates change with Cargo.lock only.
lock=$(sha256sum Cargo.lock | cut -d ' ' -f 1)
if [ "$(cat "$out/vendored" 2>/dev/null)" != "$lock" ] || [ ! -e "$out/SOURCES/$name-vendor.tar.gz" ]; then
    rm -rf "$out/vendor" "$out/vendored"
    (cd "$out" && "$CARGO" vendor --quiet --locked --versioned-dirs --manifest-path "$here/../../Cargo.toml" vendor) \
        >"$out/vendor-config"
    mv "$out/vendor-config" "$out/vendor/config.toml"
    pack -C "$out" vendor | gzip -1n >"$out/SOURCES/$name-vendor.tar.gz"
    rm -rf "$out/vendor"
    echo "$lock" >"$out/vendored"
fi

command -v rpmbuild >/dev/null || {
    echo 'rpmbuild is missing (rpm-build; Debian: rpm)' >&2
    exit 1
}
set --
[ -z "${RPM_ARCH-}" ] || set -- "$@" --target "$RPM_ARCH"
[ -z "${RUST_TARGET-}" ] || set -- "$@" --define "cargo_target $RUST_TARGET"
[ -z "${BINARY-}" ] || set -- "$@" --define "prebuilt $(realpath "$BINARY")"
# Where rpm is a guest (Debian), its database knows of none of the build's requirements.
rpm -q rpm >/dev/null 2>&1 || set -- "$@" --nodeps
rpmbuild -ba --quiet "$@" --define "_topdir $out" --define "kylin_vr_version $version" \
    --define "cargo_target_dir ${RPM_CARGO_TARGET_DIR:-$out/cargo}" \
    --define 'use_source_date_epoch_as_buildtime 1' --define 'clamp_mtime_to_source_date_epoch 1' \
    --define '_buildhost localhost' "$here/kylin-vr.spec"
find "$out/RPMS" "$out/SRPMS" -name "$name-*.rpm" -print
