# A router with nothing left to do, and a client far away.
kylin-vr reload vpc.yaml >/dev/null
ip -n tut-outside addr add 198.51.100.10/32 dev lo
