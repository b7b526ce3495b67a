//! A configuration as lists of entries, from which entries can be taken away.

use std::fmt;

use kylin_vr::config::{Config, Severity};

/// A configuration's text in parts: the entries of each list as flow mappings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    pub interfaces: Vec<String>,
    pub eips: Vec<String>,
    pub forwards: Vec<String>,
    /// Addresses and ranges.
    pub pool: Vec<String>,
    pub routes: Vec<String>,
    pub mirrors: Vec<String>,
    pub ipv6: bool,
    /// Nothing is counted, so that few long ranges are rules.
    pub uncounted: bool,
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ipv6 {
            writeln!(f, "ipv6: true")?;
        }
        if self.uncounted {
            writeln!(f, "counters: false")?;
        }
        for (list, entries) in [
            ("if_list", &self.interfaces),
            ("eip_list", &self.eips),
            ("port_forward_list", &self.forwards),
        ] {
            if entries.is_empty() {
                // Explicitly nothing: a file without a word is taken for a push that was cut off.
                writeln!(f, "{list}: []")?;
                continue;
            }
            writeln!(f, "{list}:")?;
            for entry in entries {
                writeln!(f, "  - {{{entry}}}")?;
            }
        }
        for (list, entries) in [("route_list", &self.routes), ("mirror_list", &self.mirrors)] {
            if !entries.is_empty() {
                writeln!(f, "{list}:")?;
            }
            for entry in entries {
                writeln!(f, "  - {{{entry}}}")?;
            }
        }
        if !self.pool.is_empty() {
            writeln!(f, "snat_pool:")?;
            for entry in &self.pool {
                writeln!(f, "  - {entry}")?;
            }
        }
        Ok(())
    }
}

impl File {
    /// Without the entries that make it invalid.
    pub fn repaired(mut self) -> Self {
        loop {
            let problems = Config::parse(self.to_string().as_bytes()).problems;
            let wrong: Vec<&str> = (problems.iter())
                .filter(|problem| problem.severity == Severity::Error)
                .map(|problem| problem.path.as_str())
                .collect();
            if wrong.is_empty() {
                return self;
            }
            let keep = |list: &str, entries: &mut Vec<String>| {
                let mut index = 0;
                entries.retain(|_| {
                    let path = format!("{list}[{index}]");
                    index += 1;
                    !wrong.iter().any(|wrong| wrong.starts_with(&path))
                });
            };
            let before = self.clone();
            keep("if_list", &mut self.interfaces);
            keep("eip_list", &mut self.eips);
            keep("port_forward_list", &mut self.forwards);
            keep("snat_pool", &mut self.pool);
            keep("route_list", &mut self.routes);
            keep("mirror_list", &mut self.mirrors);
            assert_ne!(before, self, "no entry is wrong, but the file is: {problems:?}");
        }
    }

    /// It as what the command reads.
    pub fn config(&self) -> Config {
        let parsed = Config::parse(self.to_string().as_bytes());
        parsed
            .config
            .unwrap_or_else(|| panic!("{self}\n{:?}", parsed.problems))
    }
}
