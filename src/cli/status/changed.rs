//! When each entry became what it is: by the texts of the history.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Serialize;

use super::{Context, Status};
use crate::config::{Config, Mirror, Place, Protocol, Vxlan};
use crate::intake::{History, Kept, Standing};
use crate::model::MacAddr;
use crate::words::plain;

/// When an entry became what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Changed {
    /// In UTC, as RFC 3339 writes it: the `when` of a configuration of the history.
    when: String,
    /// Whether it may have been longer ago: what was in force before is not kept any more.
    or_before: bool,
}

impl Changed {
    pub(super) fn text(&self) -> String {
        let before = if self.or_before { "before " } else { "" };
        format!("{before}{}", self.when)
    }
}

/// All of an entry but where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    Interface(Ipv4Net, MacAddr, Option<Ipv4Addr>, Option<Vxlan>),
    Eip(Ipv4Addr, Ipv4Addr),
    Forward(Ipv4Addr, Protocol, (u16, u16), Ipv4Addr, u16),
    Route(Ipv4Net, Ipv4Addr, u32, bool),
    /// In words: all of it has its say in them.
    Mirror(String),
}

/// The entries in the order of their lists: interfaces, elastic IPs, forwards, routes, mirrors.
pub(super) fn items(config: &Config) -> Vec<Item> {
    let interfaces = config
        .interfaces()
        .iter()
        .map(|one| Item::Interface(one.address, one.mac, one.gateway, one.vxlan.clone()));
    let eips = config.eips().iter().map(|one| Item::Eip(one.eip, one.vm));
    let forwards = config.forwards().iter().map(|one| {
        Item::Forward(
            one.eip,
            one.protocol,
            (one.port, one.end_port),
            one.vm,
            one.vm_port,
        )
    });
    let routes = config
        .routes()
        .iter()
        .map(|one| Item::Route(one.to, one.via, one.metric, one.inside));
    let mirrors = config.mirrors().iter().map(|one| {
        let place = Place::default();
        Item::Mirror(format!("{:?}", Mirror { place, ..one.clone() }))
    });
    interfaces
        .chain(eips)
        .chain(forwards)
        .chain(routes)
        .chain(mirrors)
        .collect()
}

/// So many bytes of texts are read at most, about a tenth of a second's: what did not change in them is told to be older.
const MOST_TEXTS: u64 = 2 << 20;

/// What was found out, and of which configuration: its texts need not be read again while that is in force.
#[derive(Debug)]
pub(super) struct Known {
    of: (Option<String>, Option<u64>),
    changed: Vec<Option<Changed>>,
}

impl Status {
    /// Says of each entry when it became what it is.
    pub(super) fn date(&mut self, context: &Context, known: &mut Option<Known>) {
        let of = (
            self.configuration.clone(),
            self.history.first().map(|kept| kept.file),
        );
        if known.as_ref().is_none_or(|known| known.of != of) {
            let changed = match context.state.history() {
                Ok(history) => dates(&self.items, &history, |kept| {
                    let text = context.state.history_text(kept).ok()?;
                    Some(items(&Config::parse(&text).config?))
                }),
                // `look` has told of a history that cannot be read.
                Err(error) => {
                    tracing::debug!("the history cannot be read: {}", plain(&error));
                    vec![None; self.items.len()]
                }
            };
            *known = Some(Known { of, changed });
        }
        let changed = known.iter().flat_map(|known| &known.changed).cloned();
        let entries = (self.interfaces.iter_mut().map(|one| &mut one.changed))
            .chain(self.elastic_ips.iter_mut().map(|one| &mut one.changed))
            .chain(self.forwards.iter_mut().map(|one| &mut one.changed))
            .chain(self.routes.iter_mut().map(|one| &mut one.changed))
            .chain(self.mirrors.iter_mut().map(|one| &mut one.changed));
        for (entry, changed) in entries.zip(changed) {
            *entry = changed;
        }
    }
}

/// Since when each entry is in what was in force, without a break. `None`: it is in nothing that is kept. Pure, but for the
/// texts, each read once at most, and none beyond what is needed.
fn dates(
    current: &[Item],
    history: &History,
    mut read: impl FnMut(&Kept) -> Option<Vec<Item>>,
) -> Vec<Option<Changed>> {
    let mut dates: Vec<Option<Changed>> = vec![None; current.len()];
    let mut open: Vec<usize> = (0..current.len()).collect();
    // The first configuration of all is numbered 1: with it, nothing was before.
    let mut is_whole = history.damaged.is_empty() && history.entries.iter().any(|kept| kept.file == 1);
    let held = |kept: &&Kept| kept.entry.result != Standing::Failed;
    let mut bytes = 0;
    for kept in history.entries.iter().filter(held) {
        if open.is_empty() {
            return dates;
        }
        let is_too_much = bytes > 0 && bytes + kept.bytes > MOST_TEXTS;
        bytes += kept.bytes;
        let Some(mut then) = (if is_too_much { None } else { read(kept) }) else {
            is_whole = false;
            break;
        };
        then.sort_unstable();
        open.retain(|index| {
            let is_there = then.binary_search(&current[*index]).is_ok();
            if is_there {
                dates[*index] = Some(Changed {
                    when: kept.entry.when.clone(),
                    or_before: false,
                });
            }
            is_there
        });
    }
    for index in open {
        if let Some(changed) = &mut dates[index] {
            changed.or_before = !is_whole;
        }
    }
    dates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::{Entry, Summary};

    fn eip(last: u8, vm: u8) -> Item {
        Item::Eip([10, 0, 0, last].into(), [192, 168, 0, vm].into())
    }

    /// The newest first: the number of the file, what became of it, and its entries.
    fn history(versions: &[(u64, Standing)]) -> History {
        let kept = |(file, result): &(u64, Standing)| {
            Kept::of(
                *file,
                Entry {
                    when: format!("T{file}"),
                    command: "reload".to_owned(),
                    source: "-".to_owned(),
                    generation: None,
                    sha256: String::new(),
                    result: *result,
                    changes: Summary::default(),
                },
            )
        };
        History {
            entries: versions.iter().map(kept).collect(),
            damaged: Vec::new(),
        }
    }

    fn shown(dates: &[Option<Changed>]) -> Vec<String> {
        let text = |one: &Option<Changed>| one.as_ref().map_or_else(|| "-".to_owned(), Changed::text);
        dates.iter().map(text).collect()
    }

    #[test]
    fn an_entry_is_as_old_as_it_is_without_a_break() {
        let history = history(&[
            (5, Standing::Applied),
            (4, Standing::Failed),
            (3, Standing::Confirmed),
            (2, Standing::TakenBack),
            (1, Standing::Applied),
        ]);
        let texts = |file: u64| match file {
            5 => vec![eip(1, 1), eip(2, 9), eip(3, 3), eip(4, 4)],
            4 => vec![],
            3 => vec![eip(1, 1), eip(2, 2), eip(3, 3)],
            2 => vec![eip(1, 1), eip(2, 9), eip(4, 4)],
            1 => vec![eip(3, 3), eip(1, 1)],
            _ => unreachable!(),
        };
        let current = [eip(1, 1), eip(2, 9), eip(3, 3), eip(4, 4), eip(5, 5)];
        let found = dates(&current, &history, |kept| Some(texts(kept.file)));
        assert_eq!(shown(&found), ["T1", "T5", "T3", "T5", "-"]);
        // Nothing older is read once all is known.
        let mut read = Vec::new();
        dates(&[eip(2, 9)], &history, |kept| {
            read.push(kept.file);
            Some(texts(kept.file))
        });
        assert_eq!(read, [5, 3]);
    }

    #[test]
    fn what_is_older_than_all_that_is_kept_says_so() {
        let trimmed = history(&[(9, Standing::Applied), (8, Standing::Applied)]);
        let found = dates(&[eip(1, 1)], &trimmed, |_| Some(vec![eip(1, 1)]));
        assert_eq!(shown(&found), ["before T8"]);
        // Texts that are too large to be read for this end what is known, but never the first.
        let mut large = history(&[
            (3, Standing::Applied),
            (2, Standing::Applied),
            (1, Standing::Applied),
        ]);
        large
            .entries
            .iter_mut()
            .for_each(|kept| kept.bytes = MOST_TEXTS - 1);
        let found = dates(&[eip(1, 1)], &large, |_| Some(vec![eip(1, 1)]));
        assert_eq!(shown(&found), ["before T3"]);
        // A text that cannot be read ends what is known.
        let whole = history(&[(2, Standing::Applied), (1, Standing::Applied)]);
        let found = dates(&[eip(1, 1)], &whole, |kept| {
            (kept.file == 2).then(|| vec![eip(1, 1)])
        });
        assert_eq!(shown(&found), ["before T2"]);
    }
}
