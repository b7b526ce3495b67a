# A router with nothing left to do.
kylin-vr reload vpc.yaml >/dev/null
