//! A Mermaid flowchart (<https://mermaid.js.org/syntax/flowchart.html>).

use std::fmt::Write;

use super::group::{Picture, Source};

pub(super) fn draw(picture: &Picture) -> String {
    let mut text = "flowchart LR\n".to_owned();
    let mut line = |indent: usize, line: String| {
        let _ = writeln!(text, "{:indent$}{line}", "");
    };
    let mut targets: Vec<String> = Vec::new();
    if let Some(outside) = &picture.outside {
        line(2, format!("outside([{}])", label("outside", outside)));
        line(2, "outside --- router".to_owned());
    }
    line(2, format!("router[{}]", label("kylin-vr", &picture.router)));
    for (number, network) in picture.networks.iter().enumerate() {
        let id = format!("net{number}");
        line(2, format!("subgraph {id} [{}]", label(&network.name, &[])));
        line(4, "direction TB".to_owned());
        for (index, vm) in network.vms.iter().enumerate() {
            line(4, format!("{id}vm{index}[{}]", label(&vm.address, &vm.lines)));
        }
        if let Some(more) = &network.more {
            line(4, format!("{id}more[{}]", label(more, &[])));
        }
        if network.vms.is_empty() {
            line(4, format!("{id}none[{}]", label("no VM has an entry", &[])));
        }
        line(2, "end".to_owned());
        match &network.nic {
            Some(nic) => line(2, format!("router ---|{}| {id}", label(nic, &[]))),
            None => line(2, format!("router -.- {id}")),
        }
    }
    for (number, mirror) in picture.mirrors.iter().enumerate() {
        let from = match mirror.from {
            Source::Router => "router".to_owned(),
            Source::Outside => "outside".to_owned(),
            Source::Network(network) => format!("net{network}"),
        };
        let id = format!("mirror{number}");
        line(
            2,
            format!(
                "{id}{{{{{}}}}}",
                label(&format!("mirror {}", mirror.name), &mirror.what)
            ),
        );
        line(2, format!("{from} -.-> {id}"));
        for to in &mirror.to {
            // What several mirrors copy to is one box.
            let target = targets.iter().position(|target| target == to).unwrap_or_else(|| {
                targets.push(to.clone());
                line(2, format!("analyser{}[/{}/]", targets.len() - 1, label(to, &[])));
                targets.len() - 1
            });
            line(2, format!("{id} -.-> analyser{target}"));
        }
    }
    if let Some(more) = &picture.more_mirrors {
        line(2, format!("mirrors{{{{{}}}}}", label(more, &[])));
        line(2, "router -.-> mirrors".to_owned());
    }
    text
}

/// A label in quotes. Within them only a quote and what begins an entity (`#`, `&`) mean something, and `<` a tag.
fn label(title: &str, lines: &[String]) -> String {
    let escaped = |text: &str| {
        text.chars().fold(String::new(), |mut escaped, one| {
            if matches!(one, '"' | '#' | '&' | '<' | '>' | '`') {
                let _ = write!(escaped, "#{};", u32::from(one));
            } else {
                escaped.push(one);
            }
            escaped
        })
    };
    let lines = std::iter::once(escaped(title)).chain(lines.iter().map(|line| escaped(line)));
    format!("\"{}\"", lines.collect::<Vec<_>>().join("<br>"))
}
