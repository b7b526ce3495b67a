//! The flows that the router holds: how many, how many source ports they take, and what to do before either runs out.

use std::fmt::Write;

use serde::Serialize;

use super::super::table;
use super::Health;
use crate::config::Config;
use crate::flows::ports::{Destination, FEW_LEFT, SOURCE_PORTS, SourcePorts};
use crate::kernel::{ConntrackUsage, Error, Kernel};

/// Rows that people are shown: the fullest; `--json` has all.
const SHOWN: usize = 8;

/// The source ports of one address that VMs without an elastic IP are seen as.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct PortsStatus {
    pub(in crate::cli) address: String,
    /// How many flows it has to the destination that most of them go to: each takes a port.
    pub(in crate::cli) in_use: u32,
    /// How many there are towards one destination.
    pub(in crate::cli) of: u32,
    /// That destination, `tcp 198.51.100.10:443`; `None`: it has no flows.
    towards: Option<String>,
}

/// Counts the flows of the addresses that VMs share: reads all that the kernel tracks, once.
///
/// # Errors
/// If it cannot be asked for them.
pub(super) fn source_ports(config: &Config, kernel: &mut dyn Kernel) -> Result<Vec<PortsStatus>, Error> {
    let addresses = config.masquerade();
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let mut ports = SourcePorts::of(addresses);
    kernel.read_flows(&mut |flow| match flow {
        Some(flow) => ports.see(flow),
        None => ports.clear(),
    })?;
    let status = |(address, busiest): (_, Option<(u32, Destination)>)| PortsStatus {
        address: std::net::Ipv4Addr::to_string(&address),
        in_use: busiest.map_or(0, |(flows, _)| flows),
        of: SOURCE_PORTS,
        towards: busiest.map(|(_, destination)| destination.to_string()),
    };
    Ok(ports.busiest().into_iter().map(status).collect())
}

/// Addresses that have few source ports left: one fault for the worst, since with a pool they fill up together.
pub(super) fn judge(ports: &[PortsStatus], fault: &mut impl FnMut(Health, &'static str, String, String)) {
    let few_left = ports.iter().filter(|one| one.in_use >= FEW_LEFT);
    let Some(worst) = few_left.clone().max_by_key(|one| one.in_use) else {
        return;
    };
    let others = match few_left.count() - 1 {
        0 => String::new(),
        others => format!(" (and {others} more addresses have few left)"),
    };
    fault(
        Health::Error,
        "source-ports-few",
        format!(
            "few source ports are left: {} has {} of {} in use to {}{others}; new connections of VMs without an elastic \
             IP to there are slow, or fail",
            worst.address,
            worst.in_use,
            worst.of,
            worst.towards.as_deref().unwrap_or("nowhere")
        ),
        "give them more addresses: `snat_pool` in the file".to_owned(),
    );
}

/// The section of the text.
pub(super) fn text(usage: &ConntrackUsage, ports: &[PortsStatus]) -> String {
    let mut text = String::new();
    if let (Some(count), Some(max)) = (usage.count, usage.max) {
        let _ = write!(text, "\nConnections\n  {count} of {max} tracked");
        if let (Some(drop @ 1..), Some(insert_failed)) = (usage.drop, usage.insert_failed) {
            let _ = write!(
                text,
                "; {drop} refused since boot ({} for want of a source port)",
                insert_failed.min(drop)
            );
        }
        text.push('\n');
    }
    let mut fullest: Vec<&PortsStatus> = ports.iter().filter(|one| one.in_use > 0).collect();
    fullest.sort_by_key(|one| std::cmp::Reverse(one.in_use));
    if !fullest.is_empty() {
        let row = |one: &&PortsStatus| {
            vec![
                one.address.clone(),
                one.in_use.to_string(),
                one.of.to_string(),
                one.towards.clone().unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = fullest.iter().take(SHOWN).map(row).collect();
        let _ = writeln!(
            text,
            "\nSource ports, towards the busiest destination of each address"
        );
        table::write(&mut text, &["ADDRESS", "IN USE", "OF", "TOWARDS"], &rows);
        if fullest.len() > SHOWN {
            let _ = writeln!(text, "  … and {} more addresses", fullest.len() - SHOWN);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(address: &str, in_use: u32) -> PortsStatus {
        PortsStatus {
            address: address.to_owned(),
            in_use,
            of: SOURCE_PORTS,
            towards: (in_use > 0).then(|| "tcp 198.51.100.10:443".to_owned()),
        }
    }

    #[test]
    fn what_runs_out_is_said_before_it_is_gone_and_not_earlier() {
        let said = |in_use: &[u32]| {
            let ports: Vec<_> = in_use
                .iter()
                .map(|in_use| ports("10.90.2.240", *in_use))
                .collect();
            let mut said = Vec::new();
            judge(&ports, &mut |_, _, what, remedy| {
                said.push(format!("{what}: {remedy}"))
            });
            said
        };
        assert_eq!(said(&[FEW_LEFT - 1, 0]), Vec::<String>::new());
        let [ref few] = said(&[FEW_LEFT])[..] else {
            panic!("one fault")
        };
        assert!(
            few.contains("10.90.2.240 has") && few.contains("`snat_pool`"),
            "{few}"
        );
        let [ref both] = said(&[FEW_LEFT, 64_000, 5])[..] else {
            panic!("one fault")
        };
        assert!(
            both.contains("has 64000 of") && both.contains("and 1 more"),
            "{both}"
        );
    }

    #[test]
    fn people_see_the_fullest_first_and_not_a_line_for_each_of_many() {
        let many: Vec<_> = (0..=255)
            .map(|last| ports(&format!("10.90.2.{last}"), last))
            .collect();
        let text = text(&ConntrackUsage::default(), &many);
        assert_eq!(text.lines().count(), 1 + 1 + 1 + SHOWN + 1, "{text}");
        assert!(
            text.lines()
                .nth(3)
                .is_some_and(|line| line.contains("10.90.2.255")),
            "{text}"
        );
        assert!(text.contains("and 247 more"), "{text}");
    }
}
