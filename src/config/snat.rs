//! `snat_pool`: reads its addresses and ranges, and checks them against everything else that has an address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::entries::{Addresses, Entries};
use super::fields::{Path, Reader, host_address};
use super::node::Located;
use super::problem::{Severity, shown};
use super::router::Router;
use super::{Eip, Forward, SnatPool};

/// The most addresses of the pool: a VM's is told by the last byte of its own, so one more would never be used.
const MOST: usize = 256;

pub(super) fn read(reader: &mut Reader<'_>, item: &Located<'_>, path: Path) -> Option<SnatPool> {
    let place = item.place;
    match reader.scalar(item).map(range) {
        Some(Ok((first, last))) => return Some(SnatPool { first, last, place }),
        Some(Err(expected)) => {
            let value = reader.scalar(item).map(shown);
            let message = format!("expected {expected}");
            reader.problem(Severity::Error, path, place, value, message);
        }
        None => {
            let message = "expected an address, or a range as in 10.90.2.240-10.90.2.247";
            reader.problem(Severity::Error, path, place, None, message);
        }
    }
    None
}

/// `10.90.2.240`, or `10.90.2.240-10.90.2.247`.
fn range(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let Some((first, last)) = text.split_once('-') else {
        return host_address(text).map(|address| (address, address));
    };
    let (first, last) = (host_address(first.trim())?, host_address(last.trim())?);
    if last < first {
        return Err(format!(
            "a range whose last address is not below its first, {first}"
        ));
    }
    // Its ends are addresses of hosts; what lies between them is one of these too if there are few enough.
    if u32::from(last) - u32::from(first) >= MOST as u32 {
        return Err(format!("at most {MOST} addresses"));
    }
    Ok((first, last))
}

pub(super) fn check(
    reader: &mut Reader<'_>,
    pool: &Entries<SnatPool>,
    eips: &Entries<Eip>,
    by_eip: &Addresses,
    forwards: &Entries<Forward>,
    router: &Router<'_>,
) {
    if pool.values().is_empty() {
        return;
    }
    let by_vm = Addresses::new(eips.values().iter().map(|entry| entry.vm));
    let forwarded = Addresses::new(forwards.values().iter().map(|entry| entry.vm));
    // What an address is already, but one of the pool.
    let used = |address| {
        let path = |path: Option<Path>, is, expected| path.map(|path| format!("is {is} {path}: {expected}"));
        let eip = by_eip.first(address).and_then(|position| eips.get(position));
        path(
            eip.map(|entry| entry.path),
            "the elastic IP of",
            "that is one VM's alone",
        )
        .or_else(|| {
            let entry = by_vm.first(address).and_then(|position| eips.get(position));
            let vm = entry.map(|entry| entry.path).or_else(|| {
                let position = forwarded.first(address)?;
                forwards.get(position).map(|entry| entry.path)
            });
            path(vm, "the vm-ip of", "expected an address outside")
        })
    };
    let mut pooled: BTreeMap<Ipv4Addr, Path> = BTreeMap::new();
    let mut count = 0;
    for entry in pool.iter() {
        let before = count;
        for address in entry.value.addresses() {
            count += 1;
            let message = match pooled.insert(address, entry.path.clone()) {
                Some(first) => Some(format!("is in {first} already")),
                None => used(address).or_else(|| router.not_outside(address, false)),
            };
            if let Some(message) = message {
                let value = Some(address.to_string());
                reader.problem(Severity::Error, &entry.path, entry.place, value, message);
            }
        }
        if before <= MOST && count > MOST {
            let message =
                format!("the pool has more than {MOST} addresses up to here: {MOST} can be used at most");
            reader.problem(Severity::Error, &entry.path, entry.place, None, message);
        }
    }
}
