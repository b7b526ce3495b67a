//! What operators changed with `eip`, `forward`, `network` and `mirror`, and a reload undoes: said, never silent.
//!
//! A change by hand leaves the file's `generation` as it is, so that the hypervisor's next push, which knows nothing of
//! it, is not refused. That push wins; its report, which the hypervisor prints, names what it undoes.

use std::collections::BTreeSet;

use super::Context;
use super::edit::COMMANDS;
use crate::config::Config;
use crate::intake::fingerprint;

/// The most that is named.
const NAMED: usize = 4;

/// A note on what was changed by hand since the last reload and `new`, which replaces `last`, does not have; `None`: nothing
/// is lost.
pub(super) fn lost(context: &Context, last: &[u8], new: &Config) -> Option<String> {
    let in_force = fingerprint(last);
    let history = context.state.history_while(&in_force).ok()?;
    let by_hand = |back: usize| {
        history
            .back(back)
            .filter(|kept| COMMANDS.contains(&kept.entry.command.as_str()))
            .map(|kept| &kept.entry)
    };
    if by_hand(0)?.sha256 != in_force {
        return None;
    }
    let count = (0..).take_while(|back| by_hand(*back).is_some()).count();
    // What was in force before the first of them; nothing, or a history that begins later: an empty router.
    let base = history
        .back(count)
        .and_then(|kept| context.state.history_text(kept).ok());
    let config = |text: &[u8]| Config::parse(text).config;
    let base = base.as_deref().map_or_else(|| Some(Config::default()), config)?;
    let lost = compare(&base, &config(last)?, new);
    if lost.is_empty() {
        return None;
    }
    tracing::warn!("a reload undoes what was changed by hand: {}", lost.join("; "));
    let named = lost.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    let more = lost.len().checked_sub(NAMED).filter(|more| *more > 0);
    let more = more.map(|more| format!("; {more} more")).unwrap_or_default();
    Some(format!(
        "this undoes what was changed by hand: {named}{more} (`kylin-vr rollback` brings it back)"
    ))
}

/// What came and went from `base` to `last`, and is not so in `new`. Pure.
fn compare(base: &Config, last: &Config, new: &Config) -> Vec<String> {
    let [base, last, new] = [base, last, new].map(entries);
    let added = last
        .difference(&base)
        .filter(|entry| !new.contains(*entry))
        .map(|entry| format!("added {entry}"));
    let deleted = base
        .difference(&last)
        .filter(|entry| new.contains(*entry))
        .map(|entry| format!("deleted {entry}"));
    added.chain(deleted).collect()
}

/// Every entry, in words.
fn entries(config: &Config) -> BTreeSet<String> {
    let interfaces = config.interfaces().iter().map(|one| match &one.vxlan {
        Some(vxlan) => format!("network vxlan {} {}", vxlan.vni, one.address),
        None => format!("network {} {}", one.mac, one.address),
    });
    let eips = config
        .eips()
        .iter()
        .map(|one| format!("eip {} to {}", one.eip, one.vm));
    let forwards = config.forwards().iter().map(|one| {
        let ports = format!("{}-{}", one.port, one.end_port);
        format!(
            "forward {} {} {ports} to {} {}",
            one.eip, one.protocol, one.vm, one.vm_port
        )
    });
    let mirrors = config.mirrors().iter().map(|one| format!("mirror {one}"));
    interfaces.chain(eips).chain(forwards).chain(mirrors).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eips(last: &[u8]) -> Config {
        let entries: Vec<String> = last
            .iter()
            .map(|last| format!("{{eip: 10.0.0.{last}, vm-ip: 192.168.0.{last}}}"))
            .collect();
        Config::parse(format!("eip_list: [{}]", entries.join(", ")).as_bytes())
            .config
            .unwrap()
    }

    #[test]
    fn only_what_was_changed_and_is_not_kept_is_lost() {
        // By hand 1 went and 3 came.
        let (base, last) = (eips(&[1, 2]), eips(&[2, 3]));
        let of = |new: &[u8]| compare(&base, &last, &eips(new));
        assert_eq!(
            of(&[1, 2]),
            [
                "added eip 10.0.0.3 to 192.168.0.3",
                "deleted eip 10.0.0.1 to 192.168.0.1"
            ]
        );
        assert_eq!(of(&[2, 3, 4]), [] as [&str; 0]);
        // What is no change by hand may go.
        assert_eq!(of(&[3]), [] as [&str; 0]);
    }
}
