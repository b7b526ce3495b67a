//! What is made of a file's text by small changes, and what its schema says of it, for any configuration.

use std::collections::BTreeSet;

use kylin_vr::config::edit::{Edit, Entry, List, edit};
use kylin_vr::config::{Config, Place, schema::schema};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::{config_with, parse};

/// The same file, written in another way.
fn rewritten(text: &str, way: usize) -> String {
    match way {
        0 => text.to_owned(),
        1 => text.replace('\n', "\r\n") + "...\r\n",
        2 => text.replace("\n  - ", "\n\n  # an entry\n  - ") + "# the end",
        // A line for each key, in mirrors as well.
        3 => lines(&value(text), 0),
        _ => format!("{:#}", value(text)),
    }
}

/// A value with a line for each key and item, behind its own key.
fn lines(value: &Value, column: usize) -> String {
    let indent = " ".repeat(column);
    match value {
        Value::Object(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| match value {
                Value::Object(_) | Value::Array(_) => format!("{indent}{key}:\n{}", lines(value, column + 3)),
                value => format!("{indent}{key}: {value}\n"),
            });
            pairs.collect()
        }
        Value::Array(items) => {
            let item =
                |item| lines(item, column + 2).replacen(&format!("{indent}  "), &format!("{indent}- "), 1);
            items.iter().map(item).collect()
        }
        value => format!("{indent}{value}\n"),
    }
}

fn value(text: &str) -> Value {
    let mut options = serde_yaml::Options::default();
    // As YAML 1.2 has it, and editors: `off` is a word.
    options.strict_booleans = true;
    serde_yaml::from_str_with_options(text, options).unwrap()
}

const LISTS: [List; 4] = [List::Interfaces, List::Eips, List::Forwards, List::Mirrors];

/// The entries of a list, without their places.
fn entries(config: &Config, list: List) -> Vec<Entry> {
    let config = config.without_places();
    match list {
        List::Interfaces => config
            .interfaces()
            .iter()
            .cloned()
            .map(Entry::Interface)
            .collect(),
        List::Eips => config.eips().iter().cloned().map(Entry::Eip).collect(),
        List::Forwards => config.forwards().iter().cloned().map(Entry::Forward).collect(),
        List::Mirrors => config.mirrors().iter().cloned().map(Entry::Mirror).collect(),
    }
}

proptest! {
    #[test]
    fn entries_go_and_come_back_and_nothing_else_changes(
        // Overlays no edit writes.
        text in config_with(Just(Vec::new())),
        way in 0..5_usize,
        list in prop::sample::select(LISTS.to_vec()),
        picked in proptest::collection::vec(any::<Index>(), 0..6),
    ) {
        let text = rewritten(&text, way);
        let whole = parse(&text);
        let all = entries(&whole, list);
        let gone: BTreeSet<usize> = picked.iter().filter(|_| !all.is_empty()).map(|one| one.index(all.len())).collect();
        let (less, config, _) = match edit(&text, &whole, &Edit::Remove(list, gone.clone())) {
            Ok(done) => done,
            // An interface may be the one by which a route's next hop is reached, or a mirror's source.
            Err(error) => {
                let told = format!("{error:?}");
                let is_needed = ["route_list[", "mirror_list["].iter().any(|list| told.contains(list));
                prop_assert!(list == List::Interfaces && is_needed, "{}", told);
                return Ok(());
            }
        };
        let left = |index: &usize| !gone.contains(index);
        let kept: Vec<Entry> = (0..all.len()).filter(left).map(|index| all[index].clone()).collect();
        prop_assert_eq!(&entries(&config, list), &kept);
        let back: Vec<Entry> = gone.iter().map(|index| all[*index].clone()).collect();
        let (again, config, _) = edit(&less, &config, &Edit::Add(list, back.clone())).unwrap();
        prop_assert_eq!(entries(&config, list), [kept, back].concat());
        for other in LISTS.into_iter().filter(|other| *other != list) {
            prop_assert_eq!(entries(&config, other), entries(&whole, other));
        }
        prop_assert_eq!(again.contains("\r\n"), way == 1);
        prop_assert_eq!(again.contains("# the end"), way == 2);
        prop_assert!(config.interfaces().iter().all(|one| one.place != Place::default()));
        prop_assert!(jsonschema::is_valid(&schema(), &value(&again)), "{}", again);
    }
}
