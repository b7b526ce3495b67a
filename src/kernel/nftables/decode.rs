//! Dumps into the model's values. Pure.
//!
//! What the model has no word for comes back as a value that differs from every desired one, never as an
//! error: it must not keep us from repairing it.

use std::collections::BTreeMap;

use nix::libc;

use super::expression::Expression;
use super::message::{Attributes, attributes};
use super::statement::decompile;
use super::types;
use super::uapi::{COUNTER, chain, rule, set, table};
use crate::model::nft::{Chain, ChainKind, Hook, Rule, Set, Statement};

/// The priority of a chain or flowtable that is not as one of ours could be: no desired one has it.
pub(super) const FOREIGN_PRIORITY: i32 = i32::MIN;

/// A chain that stands for what the model cannot say; `problem` says it.
pub(super) fn foreign_chain(problem: String) -> Chain {
    let rules = vec![Rule {
        statements: vec![Statement::Foreign(problem)],
        comment: String::new(),
    }];
    Chain {
        kind: ChainKind::Filter,
        hook: Hook::Prerouting,
        priority: FOREIGN_PRIORITY,
        rules,
    }
}

/// A set that no desired one equals: it has no key.
pub(super) fn foreign_set() -> Set {
    Set::new(&[], &[], false)
}

/// What is odd about our table (for example that it is dormant), as a chain.
pub(super) fn table(message: &[u8]) -> Result<Option<Chain>, String> {
    let message = Attributes::<3>::read(message)?;
    let flags = message.number(table::FLAGS).unwrap_or(0);
    Ok((flags != 0).then(|| foreign_chain(format!("table flags {flags:#x}"))))
}

/// A chain's table, its name and itself, without its rules.
pub(super) fn chain(message: &[u8]) -> Result<(String, String, Chain), String> {
    let message = Attributes::<16>::read(message)?;
    let name = message.text(chain::NAME).unwrap_or_default();
    let hook = Attributes::<8>::read(message.get(chain::HOOK).unwrap_or_default())?;
    let kind = [ChainKind::Filter, ChainKind::Nat]
        .into_iter()
        .find(|kind| message.text(chain::TYPE).as_deref() == Some(kind.as_str()));
    let number = hook.number(chain::HOOK_NUMBER);
    let priority = hook.number(chain::HOOK_PRIORITY).map(|priority| priority as i32);
    let accepts = message
        .number(chain::POLICY)
        .is_none_or(|policy| policy == libc::NF_ACCEPT as u32);
    let flags = message.number(chain::FLAGS).unwrap_or(0) & !chain::FLAG_BASE;
    let read = match (kind, number.and_then(Hook::from_number), priority) {
        (Some(kind), Some(hook), Some(priority)) if accepts && flags == 0 => Chain {
            kind,
            hook,
            priority,
            rules: Vec::new(),
        },
        _ if !message.has(chain::HOOK) => foreign_chain("not a base chain".to_owned()),
        _ if !accepts => foreign_chain("its policy is to drop".to_owned()),
        _ => foreign_chain("a base chain of another kind".to_owned()),
    };
    Ok((message.text(chain::TABLE).unwrap_or_default(), name, read))
}

/// A set's table, its name and itself, without its elements; `None` in its place for one that belongs to a rule
/// (anonymous) and so comes and goes with that.
pub(super) fn set(message: &[u8]) -> Result<(String, String, Option<Set>), String> {
    let message = Attributes::<20>::read(message)?;
    let names = (
        message.text(set::TABLE).unwrap_or_default(),
        message.text(set::NAME).unwrap_or_default(),
    );
    let flags = message.number(set::FLAGS).unwrap_or(0);
    if flags & libc::NFT_SET_ANONYMOUS as u32 != 0 {
        return Ok((names.0, names.1, None));
    }
    let (interval, map) = (libc::NFT_SET_INTERVAL as u32, libc::NFT_SET_MAP as u32);
    let description = Attributes::<4>::read(message.get(set::DESCRIPTION).unwrap_or_default())?;
    // A timeout would take elements away; what else than a counter an element has could end its rule.
    let expression = match message.get(set::EXPRESSION) {
        None => None,
        Some(expression) => Attributes::<3>::read(expression)?.text(rule::EXPRESSION_NAME),
    };
    let counts = expression.as_deref() == Some(COUNTER);
    let is_plain = flags & !(interval | map | set::FLAG_CONCATENATION) == 0
        && ![set::TIMEOUT, set::EXPRESSIONS]
            .into_iter()
            .any(|kind| message.has(kind))
        && counts == message.has(set::EXPRESSION);
    let fields = |kind, length| types::fields(message.number(kind)?, message.number(length)?);
    let data = match flags & map {
        0 => Some(Vec::new()),
        _ => fields(set::DATA_TYPE, set::DATA_LENGTH),
    };
    let read = match (fields(set::KEY_TYPE, set::KEY_LENGTH), data) {
        (Some(key), Some(data)) if is_plain => Set {
            size: description.number(set::DESCRIPTION_SIZE).unwrap_or(0),
            counts,
            ..Set::new(&key, &data, flags & interval != 0)
        },
        _ => foreign_set(),
    };
    Ok((names.0, names.1, Some(read)))
}

/// A rule, and where it is.
pub(super) struct PlacedRule {
    pub(super) table: String,
    pub(super) chain: String,
    /// The kernel's number for it, never given twice.
    pub(super) handle: Option<u64>,
    pub(super) rule: Rule,
}

/// A rule of the table with these sets.
pub(super) fn rule(message: &[u8], sets: &BTreeMap<String, Set>) -> Result<PlacedRule, String> {
    let message = Attributes::<12>::read(message)?;
    let mut expressions = Vec::new();
    for entry in attributes(message.get(rule::EXPRESSIONS).unwrap_or_default()) {
        expressions.extend(match Expression::read(entry?.1)? {
            // A rule with a set of its own (`ip saddr { 10.0.0.1, 10.0.0.2 }`) cannot be written again without it.
            Some(ref lookup @ Expression::Lookup { ref set, .. }) if !sets.contains_key(set) => {
                Some(Expression::Other(lookup.to_string()))
            }
            expression => expression,
        });
    }
    let handle = message
        .get(rule::HANDLE)
        .and_then(|handle| handle.try_into().ok());
    Ok(PlacedRule {
        table: message.text(rule::TABLE).unwrap_or_default(),
        chain: message.text(rule::CHAIN).unwrap_or_default(),
        handle: handle.map(u64::from_be_bytes),
        rule: Rule {
            statements: decompile(&expressions),
            comment: message.get(rule::USERDATA).and_then(comment).unwrap_or_default(),
        },
    })
}

/// The comment in a rule's user data: type, length and value, one after another (libnftnl's `struct nftnl_udata`).
fn comment(mut userdata: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = userdata {
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        if *kind == rule::USERDATA_COMMENT {
            let text = value.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        userdata = rest;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_is_found_among_user_data() {
        let cases: [(&[u8], Option<&str>); 6] = [
            (b"\x00\x03hi\x00", Some("hi")),
            (b"\x01\x04abcd\x00\x03hi\x00", Some("hi")),
            (b"\x00\x02hi", Some("hi")),
            (b"\x01\x04abcd", None),
            (b"\x00\x09hi\x00", None),
            (b"", None),
        ];
        for (userdata, expected) in cases {
            assert_eq!(comment(userdata).as_deref(), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = table(&bytes);
            let _ = chain(&bytes);
            let _ = super::super::flowtable::read(&bytes);
            let _ = rule(&bytes, &BTreeMap::new());
            if let Ok((_, _, Some(set))) = set(&bytes) {
                let _ = super::super::elements::Read::default().message(&set, &bytes);
            }
            for answer in super::super::message::answers(&bytes).flatten() {
                let _ = answer.content();
            }
        }
    }
}
