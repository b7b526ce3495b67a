//! What is on the stage: the VPC as a picture.

use crate::page::Page;

/// The topology of the lab (`lab::Vpc`), with the elastic IPs and forwards of `examples/vpc.yaml`.
const PICTURE: &str = "
       client  198.51.100.10              somebody far away
          │
      upstream 10.90.3.1                  the provider's router     neighbour 10.90.3.9
          │                                                             │
    ══════╪═══════════════════╤═════════════════════════════════════════╧══  external network
                              │ wan7
                    ┌─────────┴─────────┐   10.90.3.37 outside,
                    │  the kylin-vr VM  │   answering for 10.90.2.250 to .254 as well
                    └──┬─────────────┬──┘
                  lan3 │             │ lan4
       192.168.100.254 │             │ 192.168.101.254
    ══╤═══════╤═══════╤╧══         ══╧╤═══════╤══
      a1      a2      a3              b1      b2
      .190    .191    .192            .10     .11
      subnet A: 192.168.100.0/24      subnet B: 192.168.101.0/24

    elastic IPs (every port, both ways)   port forwards (only these ports)      from scene 2 on
      10.90.2.250  is a1                    10.90.2.254  several ports, of a1, a3 and b2
      10.90.2.251  is a2                    10.90.2.253  tcp 20000-20999, of b2
      10.90.2.252  is b1                    10.90.3.37   tcp 2222, of a3
";

/// Says what is about to be seen.
pub fn introduce(page: &mut Page) {
    page.heading("kylin-vr: the router of a VPC");
    page.say(
        "A VPC is a private network of virtual machines. kylin-vr is the agent in the VM that is its router: it \
         reads one YAML file and makes the kernel of that VM match it: addresses, routes, and the translation (NAT) \
         that gives VMs addresses outside.",
    );
    for line in PICTURE.lines() {
        page.line(line);
    }
    page.say(
        "Here every machine of the picture is a network namespace on this computer, made for this demo and gone with \
         it. The wires, the packets, the kernel's NAT and kylin-vr itself are real. What a packet met is told by the \
         sockets that got it, never by the router.",
    );
}
