//! `snat_pool`: reads its addresses and ranges, and checks them against everything else that has an address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::check::Router;
use super::fields::{Fields, Path, Read, Reader, host_address};
use super::problem::{Severity, shown};
use super::{Eip, Forward, SnatPool};

/// The most addresses of the pool: a VM's is told by the last byte of its own, so one more would never be used.
const MOST: usize = 256;

pub(super) fn read(reader: &mut Reader<'_, '_>, fields: &Fields<'_>) -> Vec<Read<SnatPool>> {
    let key = "snat_pool";
    let mut pool = Vec::new();
    for (index, item) in reader.list(fields.get(key), key).iter().enumerate() {
        let path = Path::Item(key, index);
        let parsed = reader.scalar(item).map(range);
        match parsed {
            Some(Ok((first, last))) => pool.push(Read {
                value: SnatPool {
                    first,
                    last,
                    place: item.place,
                },
                path,
                place: item.place,
            }),
            Some(Err(expected)) => {
                let value = reader.scalar(item).map(shown);
                let message = format!("expected {expected}");
                reader.problem(Severity::Error, path, item.place, value, message);
            }
            None => {
                let message = "expected an address, or a range as in 10.90.2.240-10.90.2.247";
                reader.problem(Severity::Error, path, item.place, None, message);
            }
        }
    }
    pool
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
    reader: &mut Reader<'_, '_>,
    pool: &[Read<SnatPool>],
    eips: &[Read<Eip>],
    forwards: &[Read<Forward>],
    router: &Router<'_>,
) {
    let mut used: BTreeMap<Ipv4Addr, String> = BTreeMap::new();
    for entry in forwards.iter().rev() {
        let text = format!("is the vm-ip of {}: expected an address outside", entry.path);
        used.insert(entry.value.vm, text);
    }
    for entry in eips.iter().rev() {
        let text = format!("is the vm-ip of {}: expected an address outside", entry.path);
        used.insert(entry.value.vm, text);
    }
    for entry in eips.iter().rev() {
        let text = format!("is the elastic IP of {}: that is one VM's alone", entry.path);
        used.insert(entry.value.eip, text);
    }
    let mut count = 0;
    for entry in pool {
        let before = count;
        for address in entry.value.addresses() {
            count += 1;
            let message = match used.get(&address) {
                Some(message) => Some(message.clone()),
                None => router.not_outside(address, false),
            };
            if let Some(message) = message {
                let value = Some(address.to_string());
                reader.problem(Severity::Error, &entry.path, entry.place, value, message);
            }
            used.insert(address, format!("is in {} already", entry.path));
        }
        if before <= MOST && count > MOST {
            let message =
                format!("the pool has more than {MOST} addresses up to here: {MOST} can be used at most");
            reader.problem(Severity::Error, &entry.path, entry.place, None, message);
        }
    }
}
