//! A Graphviz graph (<https://graphviz.org/doc/info/lang.html>).

use std::fmt::Write;

use super::group::{Picture, Source};

pub(super) fn draw(picture: &Picture) -> String {
    let mut text = "graph vpc {\n  rankdir=LR;\n  ranksep=1.2;\n  compound=true;\n  node [shape=box, style=\"rounded,filled\", fillcolor=white, \
                    fontname=\"Helvetica\", fontsize=11];\n  edge [fontname=\"Helvetica\", fontsize=10];\n"
        .to_owned();
    let mut line = |indent: usize, line: String| {
        let _ = writeln!(text, "{:indent$}{line}", "");
    };
    line(
        2,
        format!(
            "router [label={}, fillcolor=\"#dbeafe\"];",
            label("kylin-vr", &picture.router)
        ),
    );
    if let Some(outside) = &picture.outside {
        line(
            2,
            format!("outside [label={}, shape=ellipse];", label("outside", outside)),
        );
        line(2, "outside -- router;".to_owned());
    }
    for (number, network) in picture.networks.iter().enumerate() {
        let id = format!("net{number}");
        line(2, format!("subgraph cluster_{id} {{"));
        line(
            4,
            format!(
                "label={}; fontname=\"Helvetica\"; style=\"rounded,filled\"; fillcolor=\"#f1f5f9\";",
                label(&network.name, &[])
            ),
        );
        // An edge ends at a node: the cluster's gateway.
        let nic = network.nic.as_deref().unwrap_or("no NIC");
        line(
            4,
            format!("{id} [label={}, shape=plaintext, style=\"\"];", label(nic, &[])),
        );
        let vms = network.vms.iter().map(|vm| label(&vm.address, &vm.lines));
        let more = network.more.iter().map(|more| label(more, &[]));
        let labels: Vec<String> = vms.chain(more).collect();
        // Graphviz puts the first one of a cluster last.
        for (index, label) in labels.iter().enumerate().rev() {
            line(4, format!("{id}_{index} [label={label}];"));
            line(4, format!("{id} -- {id}_{index};"));
        }
        line(2, "}".to_owned());
        let style = if network.nic.is_some() { "solid" } else { "dashed" };
        line(2, format!("router -- {id} [lhead=cluster_{id}, style={style}];"));
    }
    let mut targets: Vec<&str> = Vec::new();
    for (number, mirror) in picture.mirrors.iter().enumerate() {
        let (from, tail) = match mirror.from {
            Source::Router => ("router".to_owned(), String::new()),
            Source::Outside => ("outside".to_owned(), String::new()),
            Source::Network(network) => (format!("net{network}"), format!("ltail=cluster_net{network}, ")),
        };
        let id = format!("mirror{number}");
        let title = format!("mirror {}", mirror.name);
        line(
            2,
            format!("{id} [label={}, shape=hexagon];", label(&title, &mirror.what)),
        );
        line(2, format!("{from} -- {id} [{tail}dir=forward, style=dashed];"));
        for to in &mirror.to {
            // What several mirrors copy to is one box.
            let target = targets.iter().position(|target| target == to).unwrap_or_else(|| {
                targets.push(to);
                let target = targets.len() - 1;
                line(
                    2,
                    format!("analyser{target} [label={}, shape=note];", label(to, &[])),
                );
                target
            });
            line(
                2,
                format!("{id} -- analyser{target} [dir=forward, style=dashed];"),
            );
        }
    }
    if let Some(more) = &picture.more_mirrors {
        line(2, format!("mirrors [label={}, shape=hexagon];", label(more, &[])));
        line(2, "router -- mirrors [dir=forward, style=dashed];".to_owned());
    }
    text.push_str("}\n");
    text
}

/// A quoted string: only `"` and `\` mean something in it. `\l` ends a line that begins at the left.
fn label(title: &str, lines: &[String]) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let lines = std::iter::once(escaped(title)).chain(lines.iter().map(|line| escaped(line)));
    format!("\"{}\\l\"", lines.collect::<Vec<_>>().join("\\l"))
}
