#!/bin/sh
# measure.sh prepare; measure.sh set-up WAY; measure.sh flood WAY COUNT: packets through a router that copies each of them, all of it in
# namespaces of the guest, so that what the guest's processors spend is what packets and copies cost.
#
# pktgen in "gen" sends UDP packets by a veth, the router (kylin-vr in "router") passes them on to "sink", which drops them,
# and "col" is the analyser at a third veth, which drops all that comes. WAY: none (no mirror), or span, gre, erspan or vlan
# with -ours (mirror_list) or -tc (a link and a filter made by hand) behind it.
set -eu

vm=192.168.77.2
collector=172.19.0.21
span=52:54:84:77:00:03
far=52:54:84:77:00:04
sink=52:54:84:77:00:05

in_ns() { ip netns exec "$@"; }

router() {
	in_ns router env STATE_DIRECTORY=/run/measure/state RUNTIME_DIRECTORY=/run/measure/runtime \
		kylin-vr --config /run/measure/router.yaml "$@"
}

# Drops what comes by a link and is this, and counts.
bin() {
	in_ns "$1" nft -f - <<-END
		table netdev bin {
			chain bin { type filter hook ingress device $2 priority 0; $3 counter drop; }
		}
	END
}

prepare() {
	mkdir -p /run/measure/state /run/measure/runtime
	for ns in gen router sink col; do ip netns add $ns; done
	ip -netns router link add x0 address 52:54:84:77:00:01 type veth peer name g0 netns gen
	ip -netns router link add x1 address 52:54:84:77:00:02 type veth peer name s0 address $sink netns sink
	ip -netns router link add x2 mtu 9000 address $span type veth peer name c0 mtu 9000 netns col
	ip -netns col link set c0 address $far up
	# What looks for IPv6 routers would be copied as well.
	for ns in gen sink col; do
		in_ns $ns sh -c 'for which in all default; do echo 1 >/proc/sys/net/ipv6/conf/$which/disable_ipv6; done'
	done
	ip -netns gen addr add 198.18.0.2/24 dev g0
	ip -netns gen link set g0 up
	ip -netns gen route add default via 198.18.0.1
	ip -netns sink addr add $vm/24 dev s0
	ip -netns sink link set s0 up
	ip -netns sink route add default via 192.168.77.254
	# ARP would be copied as well.
	ip -netns sink neigh replace 192.168.77.254 lladdr 52:54:84:77:00:02 dev s0 nud permanent
	modprobe pktgen
	# What waits between the sender and the router must not be dropped, but paid for.
	echo 1000000 >/proc/sys/net/core/netdev_max_backlog
}

# The router's file: `$1` is where copies go, nothing for no mirror; `$2` whether x2 is a NIC of the file.
configure() {
	{
		cat <<-END
			counters: false
			fast_path: off
			if_list:
			  - {ipaddr: 198.18.0.1, prefix: 24, mac: 52:54:84:77:00:01, gateway: 198.18.0.2}
			  - {ipaddr: 192.168.77.254, prefix: 24, mac: 52:54:84:77:00:02}
		END
		[ -z "$2" ] || echo "  - {ipaddr: 172.19.0.1, prefix: 24, mac: '$span'}"
		[ -z "$1" ] || echo "mirror_list: [{name: ids-1, source: {mac: 52:54:84:77:00:02}, to: [{$1}]}]"
	} >/run/measure/router.yaml
	router reload >/dev/null
	# Of an address or a link that came or went, the kernel forgets its neighbours.
	ip -netns router link set x2 up
	ip -netns router neigh replace $vm lladdr $sink dev x1 nud permanent
	[ -z "$2" ] || ip -netns router neigh replace $collector lladdr $far dev x2 nud permanent
}

# A link (`ip link add` with these arguments; none: x2 itself), and a filter for each direction.
by_hand() {
	to=x2
	if [ -n "$1" ]; then
		ip -netns router link add $1
		ip -netns router link set copies up
		to=copies
	fi
	tc -netns router qdisc add dev x1 clsact
	for direction in ingress egress; do
		tc -netns router filter add dev x1 $direction matchall action mirred egress mirror dev $to
	done
}

set_up() {
	in_ns sink nft flush ruleset
	in_ns col nft flush ruleset
	tc -netns router qdisc del dev x1 clsact 2>/dev/null || true
	ip -netns router link del copies 2>/dev/null || true
	ends="local 172.19.0.1 remote $collector"
	case $1 in
	none) configure '' '' ;;
	span-ours) configure "nic: {mac: '$span'}" '' ;;
	span-tc) configure '' '' && by_hand '' ;;
	gre-ours) configure "gre: {remote: $collector, key: 99}" yes ;;
	gre-tc) configure '' yes && by_hand "copies type gretap $ends key 99" ;;
	erspan-ours) configure "erspan: {remote: $collector, index: 7, version: 2}" yes ;;
	erspan-tc) configure '' yes && by_hand "copies type erspan $ends seq key 7 erspan_ver 2 erspan_dir ingress erspan_hwid 0" ;;
	vlan-ours) configure "vlan: {mac: '$span', id: 51}" '' ;;
	vlan-tc) configure '' '' && by_hand "link x2 name copies type vlan id 51" ;;
	esac
	in_ns gen ping -qc1 -W9 $vm >/dev/null
	bin sink s0 'udp dport 5000'
	# Frames of copies only: the ones with a packet of this size, however they are carried.
	bin col c0 'meta length > 45'
}

has_counted() {
	in_ns "$1" nft list table netdev bin | grep -q "packets $2 "
}

# Sends so many, and waits until all have arrived, and all copies (of WAY).
flood() {
	in_ns gen sh -eu -c '
		echo rem_device_all >/proc/net/pktgen/kpktgend_0
		echo add_device g0 >/proc/net/pktgen/kpktgend_0
		for setting in "count $2" "pkt_size 60" "dst $1" "src_min 198.18.0.2" "src_max 198.18.0.2" \
			"udp_src_min 6000" "udp_src_max 6008" "udp_dst_min 5000" "udp_dst_max 5000" \
			"dst_mac 52:54:84:77:00:01"; do
			echo "$setting" >/proc/net/pktgen/g0
		done
		echo start >/proc/net/pktgen/pgctrl
	' sh $vm "$2"
	copies=$2
	[ "$1" != none ] || copies=0
	for _ in $(seq 60); do
		has_counted sink "$2" && has_counted col $copies && return
		sleep 1
	done
	in_ns sink nft list table netdev bin >&2
	in_ns col nft list table netdev bin >&2
	exit 1
}

case $1 in
prepare) prepare ;;
set-up) set_up "$2" ;;
flood) flood "$2" "$3" ;;
esac
