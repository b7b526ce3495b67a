# Another program's firewall, and a client far away that is kept out by it.
kylin-vr reload vpc.yaml >/dev/null
nft 'add table inet firewall
    add chain inet firewall forward { type filter hook forward priority 0; }
    add rule inet firewall forward tcp dport 22 drop'
ip -n tut-outside addr add 198.51.100.10/32 dev lo
ip netns exec tut-outside sh -c 'while :; do curl -s -m 1 --interface 198.51.100.10 http://10.90.2.250:22/; done' &
