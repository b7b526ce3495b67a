#!/bin/sh
# The command, as the guest agent, a hypervisor and people call it. The program itself lies in /usr/libexec, where
# systemd starts it. Two files, because SELinux gives each file one type, and two are needed: the guest agent may only
# leave its own domain through virt_qemu_ga_unconfined_exec_t, and systemd only through bin_t (see selinux.sh).
exec /usr/libexec/kylin-vr/kylin-vr "$@"
