//! The configurations that tests start from.

use std::process::Command;

use lab::{Nic, Run, Vpc};

/// The example of the design note.
pub const NOTE: &str = include_str!("../../examples/kylin-vr.yaml");

/// A VPC with nothing configured yet.
pub fn vpc() -> Vpc {
    let vpc = Vpc::builder(env!("CARGO_BIN_EXE_kylin-vr")).build();
    for nic in Nic::ALL {
        // The kernel gives a link its queueing discipline when it first goes up, and never takes it away again:
        // without this the namespace could not be as it was.
        vpc.router.ip(&format!("link set {} up", nic.name()));
        vpc.router.ip(&format!("link set {} down", nic.name()));
    }
    vpc
}

/// A VPC with this configuration in effect.
pub fn vpc_with(yaml: &str) -> Vpc {
    let vpc = vpc();
    vpc.reload_ok(yaml);
    vpc
}

/// The note's example and subnet B, with forwards of every shape.
pub fn full() -> String {
    let subnet_b = "   - ipaddr: 192.168.101.254\n     prefix: 24\n     mac: 52:54:84:11:00:04\neip_list:";
    let forwards = "
  - {eip: 10.90.2.254, protocal: tcp, port: 10, end_port: 12, vm-port: 100, vm-ip: 192.168.100.192}
  - {eip: 10.90.2.254, protocal: udp, port: 53, vm-port: 5353, vm-ip: 192.168.101.11}
  - {eip: 10.90.2.253, protocol: tcp, port: 20000, end_port: 39999, vm-port: 20000, vm-ip: 192.168.101.11}
  - {eip: 10.90.2.253, protocol: udp, port: 30000, end_port: 59999, vm-port: 30001, vm-ip: 192.168.101.10}
  - {eip: 10.90.3.37, protocol: tcp, port: 2222, vm-port: 22, vm-ip: 192.168.100.192}
";
    NOTE.replace("eip_list:", subnet_b) + forwards
}

/// A run's text on both streams.
pub fn said(run: &Run) -> String {
    format!("exit {}\n{}{}", run.code, run.stdout, run.stderr)
}

/// Asserts how a run ended, and that it said something.
#[track_caller]
pub fn expect(run: &Run, code: i32, words: &str) {
    assert!(
        run.code == code && said(run).contains(words),
        "expected exit {code} and {words:?}:\n{}",
        said(run)
    );
}

/// The command, run by another program that is given with its arguments: `unshare -m`, `setpriv --no-new-privs`.
pub fn by(vpc: &Vpc, program: &[&str], arguments: &[&str]) -> Command {
    let real = vpc.command();
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(real.get_program());
    command.args(real.get_args()).args(arguments);
    set_environment(&mut command, &real);
    command
}

/// Gives one command the environment of another.
pub fn set_environment(command: &mut Command, real: &Command) {
    for (name, value) in real.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}
