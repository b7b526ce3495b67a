//! kylin-vr.yaml(5), out of the file's schema: what the reader knows, and no other key.

use roff::{Inline, Roff, bold, italic, roman};
use serde_json::Value;

/// What the schema does not say.
const DESCRIPTION: &str = "What the router does: its interfaces, elastic IPs, forwarded ports and settings. YAML, UTF-8, at most 8 MiB. \
                           The file is read and checked whole: with any error in it nothing is touched. An empty file is a router with nothing to do. \
                           A file that ends with the line \"...\" is whole; after one that did, one that does not is refused as cut off.";
const EXAMPLE: &str = include_str!("../../../examples/vpc.yaml");

/// The page.
pub(super) fn page(version: &str) -> String {
    let schema = kylin_vr::config::schema::schema();
    let mut page = Roff::new();
    page.control("TH", ["kylin-vr.yaml", "5", "", version, ""]);
    page.control("SH", ["NAME"]);
    page.text([roman("kylin-vr.yaml - the configuration of kylin-vr(8)")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([italic("/etc/kylin-vr/kylin-vr.yaml")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(DESCRIPTION)]);
    let properties: Vec<(&String, &Value)> = schema["properties"].as_object().into_iter().flatten().collect();
    let (lists, settings): (Vec<_>, Vec<_>) = properties
        .into_iter()
        .partition(|(_, about)| entry(about).is_some());
    page.control("SH", ["SETTINGS"]);
    for (key, about) in settings {
        term(&mut page, key, about, false);
    }
    for (key, about) in lists {
        page.control("SH", [key.to_uppercase().as_str()]);
        page.text([
            bold(key.as_str()),
            roman(": "),
            roman(description(about)),
            roman(". Of each entry:"),
        ]);
        let entry = entry(about).unwrap_or(&Value::Null);
        let required: Vec<&str> = entry["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (key, about) in entry["properties"].as_object().into_iter().flatten() {
            term(&mut page, key, about, required.contains(&key.as_str()));
        }
    }
    page.control("SH", ["EXAMPLE"]);
    page.control("nf", []);
    for line in EXAMPLE.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("kylin-vr"),
        roman("(8), "),
        bold("kylin-vr-check"),
        roman("(8), "),
        bold("kylin-vr-schema"),
        roman("(8)"),
    ]);
    page.render()
}

/// A key, what it means and what it takes.
fn term(page: &mut Roff, key: &str, about: &Value, required: bool) {
    page.control("TP", []);
    page.text([bold(key)]);
    let mut line: Vec<Inline> = vec![roman(description(about))];
    line.push(roman(if required { ". Must be there." } else { "." }));
    let words: Vec<&str> = kinds(about)
        .filter_map(|kind| kind["enum"].as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let number = kinds(about).find(|kind| kind["type"] == "integer");
    let is_boolean = kinds(about).any(|kind| kind["type"] == "boolean");
    if !words.is_empty() && !is_boolean {
        line.push(roman(format!(" Words: {}.", words.join(", "))));
    }
    if let Some(number) = number {
        line.push(roman(format!(
            " Numbers: {} to {}.",
            number["minimum"], number["maximum"]
        )));
    }
    page.text(line);
}

fn description(about: &Value) -> &str {
    about["description"].as_str().unwrap_or_default()
}

fn kinds(about: &Value) -> impl Iterator<Item = &Value> {
    about["anyOf"].as_array().into_iter().flatten()
}

/// What a list's entries are, if they are mappings.
fn entry(about: &Value) -> Option<&Value> {
    kinds(about)
        .map(|kind| &kind["items"])
        .find(|items| items["type"] == "object")
}
