#!/bin/sh
# initrd.sh ROOT RELEASE FILE: writes FILE, the first root of kernel RELEASE of ROOT (which has busybox and cpio in it), that
# does nothing but load what the disk needs and go on there. A distribution's own asks its udev for that, a sixth
# of an emulated boot.
set -eu
root=$1 release=$2 file=$3

first=/first-root
mkdir "$root$first" "$root$first/bin" "$root$first/dev" "$root$first/modules" "$root$first/root"
cp "$root/bin/busybox" "$root$first/bin/"
number=10
for module in virtio_pci virtio_blk ext4; do
	# In the order in which they depend on each other; what is built in has no file.
	for path in $(chroot "$root" modprobe --set-version "$release" --show-depends $module | sed -n 's/^insmod \([^ ]*\).*/\1/p'); do
		name=$(basename "$path" .xz)
		[ -z "$(find "$root$first/modules" -name "*-$name")" ] || continue
		case $path in
		*.xz) chroot "$root" busybox unxz -c "$path" >"$root$first/modules/$number-$name" ;;
		*) cp "$root$path" "$root$first/modules/$number-$name" ;;
		esac
		number=$((number + 1))
	done
done
cat >"$root$first/init" <<'INIT'
#!/bin/busybox sh
busybox mount -t devtmpfs dev /dev
for module in /modules/*; do
	busybox insmod "$module"
done
busybox mount -t ext4 /dev/vda /root
exec busybox switch_root /root /sbin/init
INIT
chmod 755 "$root$first/init"
chroot "$root" sh -c "cd $first && find . | cpio --quiet --create --format=newc" >"$file"
rm -r "${root:?}$first"
