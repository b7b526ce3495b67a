# A router with the annotated example, as in the README.
kylin-vr reload /run/documents/examples/vpc.yaml >/dev/null 2>&1
