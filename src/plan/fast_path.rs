//! The table as this kernel can have it: with the fast path on the NICs that are there, or without.

use std::borrow::Cow;

use crate::model::nft::Table;
use crate::model::{Desired, Observed};
use crate::owned::Owned;

/// `NFT_NETDEVICE_MAX`, linux/netfilter/nf_tables.h: the kernel refuses a flowtable with more.
const MOST_DEVICES: usize = 256;

/// What the file asks for where the kernel lacks it.
const LACKING: &str = "this kernel has no nftables flowtables (CONFIG_NF_FLOW_TABLE and CONFIG_NFT_FLOW_OFFLOAD, modules \
                       nf_flow_table and nft_flow_offload)";

/// What is said of a kernel whose elements do not count.
pub(crate) const UNCOUNTED: &str = "packets and connections are not counted: this kernel has no counters in the elements of \
                                    nftables sets (Linux 5.7 and later have them)";

/// The desired table, with the flowtable and its chain where the kernel has flowtables and any NIC is there, and without
/// what counts where its elements do not. What is to be said is said once, not by runs that find it in the record.
pub(super) fn table<'d>(
    desired: &'d Desired,
    observed: &Observed,
    owned: &Owned,
    notes: &mut Vec<String>,
) -> Option<Cow<'d, Table>> {
    let mut table = Cow::Borrowed(desired.table.as_ref()?);
    if observed.counters == Some(false) {
        if !owned.lacks_counters {
            notes.push(UNCOUNTED.to_owned());
        }
        table = Cow::Owned(table.without_counters());
    }
    let Some(wanted) = &desired.fast_path else {
        return Some(table);
    };
    if observed.flowtables != Some(true) {
        if observed.flowtables == Some(false) && !owned.lacks_flowtables {
            notes.push(format!("established flows go the slow path: {LACKING}"));
        }
        return Some(table);
    }
    // NICs come before links of ours: what is left out takes the slow way.
    let there = wanted.devices.iter().filter_map(|id| observed.find(*id).ok());
    let there = there.take(MOST_DEVICES);
    let mut flowtable = wanted.flowtable.clone();
    flowtable.devices = there.map(|link| link.name.clone()).collect();
    if flowtable.devices.is_empty() {
        return Some(table);
    }
    let mut chain = wanted.chain.clone();
    let mut table = table.into_owned();
    if table.counting().next().is_some() {
        chain.rules.splice(0..0, wanted.counted.iter().cloned());
        table.sets.extend(wanted.counted_sets.clone());
    }
    table.flowtables.insert(wanted.name.clone(), flowtable);
    table.chains.insert(wanted.name.clone(), chain);
    Some(Cow::Owned(table))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::super::{Operation, diff};
    use super::*;
    use crate::config::Config;
    use crate::features;
    use crate::model::nft::TableChange;
    use crate::model::{Link, LinkId, LinkIndex, LinkName};

    const FILE: &str = "if_list:\n  - {ipaddr: 10.0.0.1, prefix: 24, mac: 52:54:84:00:00:01, gateway: 10.0.0.2}\n  \
                        - {ipaddr: 10.0.1.1, prefix: 24, mac: 52:54:84:00:00:02}\n";

    fn desired(mode: &str) -> Desired {
        let text = format!("fast_path: {mode}\n{FILE}");
        features::desired(&Config::parse(text.as_bytes()).config.unwrap())
    }

    /// A kernel with links of these names, the last digits of whose hardware addresses are given; one is a stranger's.
    fn kernel(flowtables: Option<bool>, links: &[(&str, u8)]) -> Observed {
        let link = |(name, last): (&str, u8)| Link {
            index: LinkIndex(u32::from(last)),
            name: LinkName(name.into()),
            id: Some(LinkId::Mac(format!("52:54:84:00:00:{last:02x}").parse().unwrap())),
            up: true,
            stacked: false,
            ipv6_in_use: false,
            udev_pending: false,
            mtu: 1_500,
        };
        Observed {
            links: links.iter().copied().chain([("other", 9)]).map(link).collect(),
            flowtables,
            ..Observed::default()
        }
    }

    /// The devices of the flowtable that is to be, and the notes.
    fn wanted(desired: &Desired, observed: &Observed) -> (Option<BTreeSet<LinkName>>, Vec<String>) {
        let mut notes = Vec::new();
        let table = table(desired, observed, &Owned::default(), &mut notes).unwrap();
        assert_eq!(
            table.flowtables.len(),
            usize::from(table.chains.contains_key("fast_path"))
        );
        let devices = table.flowtables.get("fast_path").map(|one| one.devices.clone());
        (devices, notes)
    }

    #[test]
    fn it_has_no_more_links_than_the_kernel_takes_and_nics_before_overlays() {
        let mut text = FILE.to_owned();
        for vni in 1..=300 {
            text += &format!(
                "  - {{ipaddr: 10.{}.{}.1, prefix: 24, vxlan: {{vni: {vni}, peers: [10.0.0.9]}}}}\n",
                1 + vni / 256,
                vni % 256
            );
        }
        let desired = features::desired(&Config::parse(text.as_bytes()).config.unwrap());
        let mut observed = kernel(Some(true), &[("eth0", 1), ("zzz", 2)]);
        let made = diff(&desired, &observed, &Owned::default());
        for operation in &made.operations {
            if let Operation::AddOwnLink { link, .. } = operation {
                let mut new = observed.links[0].clone();
                (new.index, new.name) = (link.index, link.name.clone());
                new.id = crate::model::OwnName::new(&link.name.0).map(LinkId::Own);
                observed.links.push(new);
            }
        }
        assert_eq!(observed.links.len(), 303);
        let devices = wanted(&desired, &observed).0.unwrap();
        assert_eq!(devices.len(), 256);
        assert!(["eth0", "zzz"].map(|nic| devices.contains(&LinkName(nic.into()))) == [true, true]);
    }

    fn names(names: &[&str]) -> Option<BTreeSet<LinkName>> {
        Some(names.iter().map(|name| LinkName((*name).into())).collect())
    }

    #[test]
    fn it_is_on_the_nics_of_the_file_that_are_there() {
        for mode in ["auto", "on"] {
            let both = kernel(Some(true), &[("eth0", 1), ("b", 2)]);
            assert_eq!(wanted(&desired(mode), &both), (names(&["b", "eth0"]), Vec::new()));
            let one = kernel(Some(true), &[("eth0", 1)]);
            assert_eq!(wanted(&desired(mode), &one), (names(&["eth0"]), Vec::new()));
            let none = kernel(Some(true), &[]);
            assert_eq!(wanted(&desired(mode), &none), (None, Vec::new()));
        }
        let both = kernel(Some(true), &[("eth0", 1), ("b", 2)]);
        assert_eq!(wanted(&desired("off"), &both), (None, Vec::new()));
    }

    #[test]
    fn a_nic_that_comes_or_has_another_name_changes_nothing_else() {
        let desired = desired("auto");
        let mut observed = kernel(Some(true), &[("eth0", 1)]);
        observed.table = table(&desired, &observed, &Owned::default(), &mut Vec::new())
            .map(|table| Arc::new(table.into_owned()));
        for links in [&[("eth0", 1), ("eth1", 2)][..], &[("enp1s0", 1)]] {
            let now = Observed {
                links: kernel(None, links).links,
                ..observed.clone()
            };
            let operations = diff(&desired, &now, &Owned::default()).operations;
            let tables = operations.iter().filter_map(|one| match one {
                Operation::Table(change) => Some(&**change),
                _ => None,
            });
            let [TableChange::Edit { elements, chains, .. }] = tables.collect::<Vec<_>>()[..] else {
                panic!("one edit: {operations:?}")
            };
            assert!(elements.is_empty());
            assert_eq!(Vec::from_iter(chains.keys()), ["fast_path"]);
            let lines = operations[0].lines();
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].text.starts_with("flowtable fast_path: on "), "{lines:?}");
        }
    }

    #[test]
    fn a_kernel_without_it_is_told_of_once() {
        let both = kernel(Some(false), &[("eth0", 1), ("b", 2)]);
        let (devices, notes) = wanted(&desired("auto"), &both);
        assert_eq!((devices, notes.len()), (None, 1));
        assert!(notes[0].contains("no nftables flowtables"), "{notes:?}");
        let owned = Owned {
            lacks_flowtables: true,
            ..Owned::default()
        };
        let mut notes = Vec::new();
        let file = desired("auto");
        let table = table(&file, &both, &owned, &mut notes).unwrap();
        assert_eq!(
            (table.as_ref(), notes),
            (file.table.as_ref().unwrap(), Vec::new())
        );
        // Nobody asked: nothing to say.
        assert_eq!(
            wanted(&desired("auto"), &kernel(None, &[("eth0", 1)])),
            (None, Vec::new())
        );
    }

    #[test]
    fn what_is_counted_stays_off_it() {
        let both = kernel(Some(true), &[("eth0", 1), ("b", 2)]);
        let chain = |file: &str, observed: &Observed| {
            let text = format!("{file}{FILE}eip_list: [{{eip: 10.0.0.9, vm-ip: 10.0.1.9}}]\n");
            let desired = features::desired(&Config::parse(text.as_bytes()).config.unwrap());
            let table = table(&desired, observed, &Owned::default(), &mut Vec::new()).unwrap();
            let rules = &table.chains["fast_path"].rules;
            let rules: Vec<String> = rules
                .iter()
                .map(|rule| rule.to_string().split(" comment").next().unwrap().to_owned())
                .collect();
            let masquerade = table.sets.get("masquerade").map(|set| set.elements.len());
            (rules, masquerade)
        };
        let all = "ct state established flow add @fast_path";
        let spared = [
            "ct status dnat return",
            "ct status snat ct reply ip daddr != @masquerade return",
            all,
        ];
        assert_eq!(chain("", &both), (spared.map(str::to_owned).into(), Some(1)));
        let pool = "snat_pool: [10.0.0.20-10.0.0.22]\n";
        assert_eq!(chain(pool, &both), (spared.map(str::to_owned).into(), Some(3)));
        let uncounted = (vec![all.to_owned()], None);
        assert_eq!(chain("counters: false\n", &both), uncounted);
        let old = Observed {
            counters: Some(false),
            ..both
        };
        assert_eq!(chain("", &old), uncounted);
    }

    #[test]
    fn a_kernel_that_cannot_count_is_told_of_once_and_has_the_rest() {
        let observed = Observed {
            counters: Some(false),
            ..kernel(None, &[])
        };
        let text = format!("fast_path: off\n{FILE}eip_list: [{{eip: 10.0.0.9, vm-ip: 10.0.1.9}}]\n");
        let of = |counters: &str, owned: &Owned| {
            let text = format!("counters: {counters}\n{text}");
            let desired = features::desired(&Config::parse(text.as_bytes()).config.unwrap());
            let mut notes = Vec::new();
            let table = table(&desired, &observed, owned, &mut notes).unwrap();
            (table.into_owned(), notes)
        };
        let known = Owned {
            lacks_counters: true,
            ..Owned::default()
        };
        let (uncounted, _) = of("false", &known);
        let first = of("true", &Owned::default());
        assert_eq!(first, (uncounted.clone(), vec![UNCOUNTED.to_owned()]));
        assert_eq!(of("true", &known), (uncounted, Vec::new()));
    }
}
