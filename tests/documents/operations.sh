# The tutorial's router at work: its monitor, its guest agent, and a second file.
sed 's/10.90.2.250/10.90.2.249/' vpc.yaml >other.yaml
kylin-vr reload vpc.yaml >/dev/null
kylin-vr monitor 2>monitor.log &
mkdir -p qga
qemu-ga -m unix-listen -p "$PWD/qga.sock" -t "$PWD/qga" -f "$PWD/qga/pid" >qga/log 2>&1 &
until [ -S qga.sock ] && [ -e /run/kylin-vr/monitor ]; do sleep 0.1; done
