# The place in which the examples of a document run: the machine's programs, and nothing else of it.
exec 2>&1
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/documents/bin /run/documents/examples /run/documents/etc
touch /run/documents/bin/kylin-vr
mount --bind "$COMMAND" /run/documents/bin/kylin-vr
cp "$SOURCE"/examples/*.yaml /run/documents/examples
cp -a /etc/. /run/documents/etc
rm -rf /run/documents/etc/kylin-vr /run/documents/etc/netns
mkdir -m 0700 /run/documents/etc/kylin-vr
mount --bind /run/documents/etc /etc
mount -t tmpfs -o mode=755 tmpfs /var/lib
mount -t tmpfs -o mode=1777 tmpfs /tmp
ip link set lo up
# A namespace has the settings of the machine's first one; the documents show the kernel's own defaults.
ip() {
    command ip "$@" || return
    [ "$1 $2" != 'netns add' ] || command ip netns exec "$3" sh -c '
        for setting in ip_forward conf/all/rp_filter conf/default/rp_filter; do
            echo 0 >/proc/sys/net/ipv4/$setting
        done'
}
# What a sleep waits for takes longer on a busy machine.
sleep() { command sleep "$1"; command sleep "$1"; }
export -f ip sleep
cd /tmp
set +e
