//! Who gives the VMs their addresses, and how many it gave.

use serde::Serialize;

use super::entries::State;
use super::faults::Health;
use crate::config::Config;
use crate::dnsmasq::{Leased, Seen, unservable};
use crate::features::dhcp::served;
use crate::model::Observed;

/// The DHCP server.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct DhcpStatus {
    /// The number of its process; `None`: it does not run.
    pub(in crate::cli) process: Option<u32>,
    pub(in crate::cli) subnets: Vec<SubnetStatus>,
}

/// A subnet whose VMs are given their addresses.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct SubnetStatus {
    pub(in crate::cli) path: String,
    pub(in crate::cli) subnet: String,
    pub(in crate::cli) link: Option<String>,
    /// The first and the last address of the range.
    pub(in crate::cli) range: Option<[String; 2]>,
    /// How many addresses the range has.
    pub(in crate::cli) size: u32,
    /// How many VMs have an address of their own.
    pub(in crate::cli) listed: usize,
    pub(in crate::cli) lease: String,
    /// How many addresses are given away now.
    pub(in crate::cli) leases: usize,
    /// How many of these are of the range.
    pub(in crate::cli) of_range: u32,
    pub(in crate::cli) state: State,
}

/// `None`: no subnet has DHCP.
pub(super) fn status(
    config: &Config,
    observed: &Observed,
    seen: &Seen,
    leases: &[Leased],
    now: u64,
) -> Option<DhcpStatus> {
    let unservable = unservable(config, observed);
    let valid: Vec<&Leased> = leases.iter().filter(|one| one.is_valid(now)).collect();
    let subnets: Vec<SubnetStatus> = served(config)
        .map(|(index, interface, dhcp)| {
            let link = observed.find(interface.link()).ok();
            let in_range = |address| {
                dhcp.range
                    .is_some_and(|(first, last)| (first..=last).contains(&address))
            };
            let given = valid
                .iter()
                .filter(|one| interface.address.contains(&one.address));
            let size = dhcp
                .range
                .map_or(0, |(first, last)| u32::from(last) - u32::from(first) + 1);
            SubnetStatus {
                path: format!("if_list[{index}].dhcp"),
                subnet: interface.address.trunc().to_string(),
                link: link.map(|link| link.name.to_string()),
                range: dhcp
                    .range
                    .map(|(first, last)| [first.to_string(), last.to_string()]),
                size,
                listed: interface.vms.len(),
                lease: dhcp.lease.to_string(),
                leases: given.clone().count(),
                of_range: u32::try_from(given.filter(|one| in_range(one.address)).count())
                    .unwrap_or(u32::MAX),
                state: match link {
                    None => State::Pending,
                    Some(_) if seen.process.is_none() => State::Missing,
                    Some(_) if unservable.iter().any(|(one, _)| *one == index) => State::Missing,
                    Some(_) => State::Ok,
                },
            }
        })
        .collect();
    (!subnets.is_empty()).then_some(DhcpStatus {
        process: seen.process,
        subnets,
    })
}

impl SubnetStatus {
    pub(super) fn cells(&self) -> Vec<String> {
        vec![
            self.subnet.clone(),
            self.link.clone().unwrap_or_else(|| "-".to_owned()),
            self.range
                .as_ref()
                .map_or_else(|| "-".to_owned(), |range| range.join("-")),
            self.listed.to_string(),
            self.leases.to_string(),
            self.lease.clone(),
            self.state.text().to_owned(),
        ]
    }
}

/// What is wrong with it.
pub(super) fn judge(
    status: Option<&DhcpStatus>,
    is_watched: bool,
    fault: &mut impl FnMut(Health, &'static str, String, String),
) {
    let Some(status) = status else {
        return;
    };
    if status.process.is_none() && status.subnets.iter().any(|one| one.state == State::Missing) {
        let remedy = if is_watched {
            "`kylin-vr reload` starts it and says what is in the way; `journalctl -u kylin-vr-dnsmasq` has what it said"
        } else {
            "`kylin-vr reload` starts it and says what is in the way"
        };
        fault(
            Health::Error,
            "dhcp-down",
            "dnsmasq does not run: no VM gets or keeps an address by DHCP".to_owned(),
            remedy.to_owned(),
        );
    }
    for subnet in status
        .subnets
        .iter()
        .filter(|one| one.size > 0 && one.of_range >= one.size)
    {
        fault(
            Health::Error,
            "dhcp-range-full",
            format!(
                "all {} addresses of the range of {} are given away: a VM that is not listed gets none",
                subnet.size, subnet.path
            ),
            format!(
                "make the `range` of {} larger, or its `lease` shorter",
                subnet.path
            ),
        );
    }
}
