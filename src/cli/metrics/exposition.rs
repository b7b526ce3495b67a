//! The text that Prometheus reads (exposition format 0.0.4), written: names, labels, values. Pure.

use std::fmt::{Display, Write};

/// What a family of metrics is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only ever grows; its name ends with `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A sum and a count of what was measured.
    Summary,
}

/// A text that is being written.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Summary => "summary",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One value.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(
                self.text,
                "{}{label}=\"{}\"",
                if index == 0 { '{' } else { ',' },
                escaped(text)
            );
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// A family of one value without labels.
    pub(super) fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    pub(super) fn text(self) -> String {
        self.text
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_is_escaped() {
        let mut exposition = Exposition::default();
        exposition.family("kylin_vr_odd", Kind::Gauge, "Two\nlines \\");
        exposition.sample("kylin_vr_odd", &[("one", "a\"b\\c\nd{}, e"), ("two", "")], 7);
        // As the format's definition has it; `prometheus_parse` takes no escaped quotes.
        let expected = "# HELP kylin_vr_odd Two\\nlines \\\\\n# TYPE kylin_vr_odd gauge\n\
                        kylin_vr_odd{one=\"a\\\"b\\\\c\\nd{}, e\",two=\"\"} 7\n";
        assert_eq!(exposition.text(), expected);
    }

    #[test]
    fn what_is_written_is_what_prometheus_reads() {
        let mut exposition = Exposition::default();
        exposition.family("kylin_vr_one", Kind::Gauge, "One");
        exposition.sample("kylin_vr_one", &[("a", "10.90.2.254"), ("b", "")], 7);
        exposition.single("kylin_vr_total", Kind::Counter, "All", 3u64);
        let text = exposition.text();
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let parsed = prometheus_parse::Scrape::parse(lines).unwrap();
        let samples: Vec<_> = parsed
            .samples
            .iter()
            .map(|one| (one.metric.as_str(), &one.value))
            .collect();
        let expected = [
            ("kylin_vr_one", &prometheus_parse::Value::Gauge(7.0)),
            ("kylin_vr_total", &prometheus_parse::Value::Counter(3.0)),
        ];
        assert_eq!(samples, expected, "{text}");
        assert_eq!(parsed.samples[0].labels.get("a"), Some("10.90.2.254"));
    }
}
