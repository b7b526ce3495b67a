#!/bin/sh
# Tells SELinux what the guest agent (virt_qemu_ga_t) needs on a router: selinux.sh add|remove. The package calls it
# where SELinux is on; it can be called again at any time. SELinux stays on. All of it is in the distributions' targeted
# policy (selinux-policy, virt_supplementary.te and .fc):
#
#   virt_qemu_ga_data_t            what the agent may write with guest-file-write, if virt_rw_qemu_ga_data is on
#   virt_qemu_ga_unconfined_exec_t what it may run with guest-exec outside of its domain, if virt_qemu_ga_run_unconfined
#                                  is on: the command that applies the configuration needs CAP_NET_ADMIN and netlink
#
# Booleans that were off before are turned off again by `remove`.
set -u

config='/etc/kylin-vr(/.*)?'
command='/usr/s?bin/kylin-vr'
booleans='virt_rw_qemu_ga_data virt_qemu_ga_run_unconfined'
record=/var/lib/kylin-vr/selinux

for tool in selinuxenabled semanage setsebool getsebool restorecon; do
    command -v "$tool" >/dev/null || {
        echo "kylin-vr: $tool is missing (policycoreutils, policycoreutils-python-utils)" >&2
        exit 1
    }
done
selinuxenabled || exit 0

context() {
    semanage fcontext -a -t "$1" "$2" 2>/dev/null || semanage fcontext -m -t "$1" "$2"
}

case "${1-}" in
add)
    context virt_qemu_ga_data_t "$config"
    context virt_qemu_ga_unconfined_exec_t "$command"
    off=
    for boolean in $booleans; do
        case "$(getsebool "$boolean" 2>/dev/null)" in
        *off) off="$off $boolean" ;;
        '') echo "kylin-vr: this policy has no boolean $boolean" >&2 ;;
        esac
    done
    if [ -n "$off" ]; then
        # Before they are turned on: a run that is cut off is taken back as well.
        mkdir -p -m 0700 "${record%/*}"
        printf '%s\n' $off >>"$record"
        setsebool -P $(printf '%s=1 ' $off)
    fi
    ;;
remove)
    semanage fcontext -d "$config" 2>/dev/null
    semanage fcontext -d "$command" 2>/dev/null
    if [ -s "$record" ]; then
        setsebool -P $(sed 's/$/=0/' "$record")
        rm -f "$record"
    fi
    ;;
*)
    echo 'usage: selinux.sh add|remove' >&2
    exit 2
    ;;
esac
restorecon -RF /etc/kylin-vr /usr/sbin/kylin-vr
