#!/bin/sh
# measure.sh prepare; measure.sh set-up WAY; measure.sh flood WAY COUNT: packets of established flows through a router, all
# of it in namespaces of the guest, so that what the guest's processors spend is what the packets cost.
#
# pktgen in "gen" sends UDP packets of eight flows by a veth, the router (kylin-vr in "router") passes them on by another,
# and "sink" drops them. WAY: on or off (fast_path), counted, plain (no netfilter), or none: dropped where they come to the
# router.
set -eu

eip=198.18.0.10
vm=192.168.77.2

in_ns() { ip netns exec "$@"; }

router() {
	in_ns router env STATE_DIRECTORY=/run/measure/state RUNTIME_DIRECTORY=/run/measure/runtime \
		kylin-vr --config /run/measure/router.yaml "$@"
}

prepare() {
	mkdir -p /run/measure/state /run/measure/runtime
	for ns in gen router sink; do ip netns add $ns; done
	ip -netns router link add x0 address 52:54:84:77:00:01 type veth peer name g0 netns gen
	ip -netns router link add x1 address 52:54:84:77:00:02 type veth peer name s0 netns sink
	ip -netns gen addr add 198.18.0.2/24 dev g0
	ip -netns gen link set g0 up
	ip -netns gen route add default via 198.18.0.1
	ip -netns sink addr add $vm/24 dev s0
	ip -netns sink link set s0 up
	ip -netns sink route add default via 192.168.77.254
	modprobe pktgen
	# What waits between the sender and the router must not be dropped, but paid for.
	echo 1000000 >/proc/sys/net/core/netdev_max_backlog
}

# The router anew, with or without its fast path, and with or without counters.
configure() {
	in_ns sink nft flush ruleset
	in_ns router nft flush ruleset
	in_ns router conntrack -F >/dev/null 2>&1 || true
	cat >/run/measure/router.yaml <<-END
		fast_path: $1
		counters: $2
		if_list:
		  - {ipaddr: 198.18.0.1, prefix: 24, mac: 52:54:84:77:00:01, gateway: 198.18.0.2}
		  - {ipaddr: 192.168.77.254, prefix: 24, mac: 52:54:84:77:00:02}
		eip_list:
		  - {eip: $eip, vm-ip: $vm}
	END
	router reload >/dev/null
}

# Both sides of eight flows speak.
establish() {
	in_ns sink python3 -c '
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 5000))
server.settimeout(20)
for _ in range(24):
    data, peer = server.recvfrom(99)
    server.sendto(data, peer)
' &
	server=$!
	in_ns gen python3 -c '
import socket, sys, time
for port in range(6000, 6008):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(("", port))
    client.settimeout(0.5)
    answered = 0
    for _ in range(40):
        client.sendto(b"x", (sys.argv[1], 5000))
        try:
            client.recvfrom(99)
            answered += 1
        except (socket.timeout, ConnectionError):
            time.sleep(0.1)
        if answered == 3:
            break
    else:
        sys.exit("no answer")
' "$1"
	wait $server
}

# Drops what comes by a link, and counts.
bin() {
	in_ns "$1" nft -f - <<-END
		table netdev bin {
			chain bin { type filter hook ingress device $2 priority 0; udp dport 5000 counter drop; }
		}
	END
}

set_up() {
	case $1 in
	on | off)
		configure "$1" false
		establish $eip
		;;
	counted)
		configure auto true
		establish $eip
		;;
	plain | none)
		# No hook of ours, nothing tracked.
		configure off false
		in_ns router nft flush ruleset
		sleep 1
		in_ns gen ping -qc1 -W5 $vm >/dev/null
		;;
	esac
	case $1 in
	none) bin router x0 ;;
	*) bin sink s0 ;;
	esac
}

# Sends so many, and waits until all have arrived.
flood() {
	case $1 in
	on | off | counted) to=$eip ;;
	*) to=$vm ;;
	esac
	in_ns gen sh -eu -c '
		echo rem_device_all >/proc/net/pktgen/kpktgend_0
		echo add_device g0 >/proc/net/pktgen/kpktgend_0
		for setting in "count $2" "pkt_size 60" "dst $1" "src_min 198.18.0.2" "src_max 198.18.0.2" \
			"udp_src_min 6000" "udp_src_max 6008" "udp_dst_min 5000" "udp_dst_max 5000" \
			"dst_mac 52:54:84:77:00:01"; do
			echo "$setting" >/proc/net/pktgen/g0
		done
		echo start >/proc/net/pktgen/pgctrl
	' sh "$to" "$2"
	case $1 in
	none) bin=router ;;
	*) bin=sink ;;
	esac
	for _ in $(seq 30); do
		in_ns $bin nft list table netdev bin | grep -q "packets $2 " && return
		sleep 1
	done
	in_ns $bin nft list table netdev bin >&2
	exit 1
}

case $1 in
prepare) prepare ;;
set-up) set_up "$2" ;;
flood) flood "$2" "$3" ;;
esac
