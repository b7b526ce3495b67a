//! Entries as words: of the command line, or of standard input, a line each.

use std::io::Read;

use super::Refusal;
use crate::config::MAX_BYTES;
use crate::words::plain;

/// The words of each entry: `-` reads them from standard input, where `#` begins a comment.
pub(super) fn read(words: &[String]) -> Result<Vec<Vec<String>>, Refusal> {
    if words != ["-"] {
        return Ok(vec![words.to_vec()]);
    }
    let mut text = String::new();
    let most = MAX_BYTES as u64;
    let read = std::io::stdin().lock().take(most).read_to_string(&mut text);
    read.map_err(|error| Refusal::usage(format!("read standard input: {}", plain(&error))))?;
    Ok(lines(&text))
}

fn lines(text: &str) -> Vec<Vec<String>> {
    let words = |line: &str| -> Vec<String> {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().map(ToOwned::to_owned).collect()
    };
    text.lines()
        .map(words)
        .filter(|words| !words.is_empty())
        .collect()
}

/// Words in groups of a fixed size.
pub(super) fn groups<const N: usize>(
    words: &[Vec<String>],
    expected: &str,
) -> Result<Vec<[String; N]>, Refusal> {
    let mut groups = Vec::new();
    for line in words {
        for group in line.chunks(N) {
            let group = group.to_vec().try_into().map_err(|left: Vec<String>| {
                Refusal::usage(format!("`{}`: expected {expected}", left.join(" ")))
            })?;
            groups.push(group);
        }
    }
    Ok(groups)
}

/// A word as a value.
pub(super) fn value<T: std::str::FromStr>(word: &str, expected: &str) -> Result<T, Refusal> {
    word.parse()
        .map_err(|_| Refusal::usage(format!("`{word}`: expected {expected}")))
}

/// An IPv4 address.
pub(super) fn address(word: &str) -> Result<std::net::Ipv4Addr, Refusal> {
    value(word, "an IPv4 address, as in 10.90.2.250")
}

/// A port or a range of ports: `80`, `80-82`.
pub(super) fn ports(word: &str) -> Result<(u16, u16), Refusal> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let ports = port(first).zip(port(last)).filter(|(first, last)| first <= last);
    ports.ok_or_else(|| {
        Refusal::usage(format!(
            "`{word}`: expected a port or a range of ports, as in 80 or 80-82"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_entry_and_comments_are_none() {
        let text = "# all\n10.0.0.1 10.0.0.2 # one\r\n\n10.0.0.3=10.0.0.4\n";
        let words: [&[&str]; 2] = [&["10.0.0.1", "10.0.0.2"], &["10.0.0.3=10.0.0.4"]];
        assert_eq!(lines(text), words);
    }

    #[test]
    fn ports_are_one_or_a_range_that_does_not_go_backwards() {
        for (word, expected) in [
            ("80", Some((80, 80))),
            ("80-82", Some((80, 82))),
            ("82-80", None),
            ("0", None),
            ("1-65536", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(ports(word).ok(), expected, "{word}");
        }
    }
}
