//! What is asked over HTTP, as far as it was sent: enough of RFC 9112 for who reads metrics. Pure.

/// A request may have so many bytes; whoever sends more wants something else.
pub(super) const LONGEST: usize = 8192;

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// It has not said all yet.
    Unfinished,
    /// The metrics; `head`: only that they are there.
    Metrics { head: bool },
    /// Something that there is not.
    Unknown,
    /// Something that is not understood.
    Bad,
}

/// Reads what was sent so far.
pub(super) fn read(bytes: &[u8]) -> Request {
    let is_whole = [&b"\r\n\r\n"[..], b"\n\n"]
        .iter()
        .any(|end| bytes.windows(end.len()).any(|part| part == *end));
    if !is_whole {
        return if bytes.len() >= LONGEST {
            Request::Bad
        } else {
            Request::Unfinished
        };
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else {
        return Request::Bad;
    };
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [method @ ("GET" | "HEAD"), target, version] = words[..] else {
        return Request::Bad;
    };
    if !version.starts_with("HTTP/1.") {
        return Request::Bad;
    }
    match target.split('?').next() {
        Some("/" | "/metrics") => Request::Metrics {
            head: method == "HEAD",
        },
        _ => Request::Unknown,
    }
}

/// An answer, after which the connection ends.
pub(super) fn answer(status: &str, kind: &str, body: &str, head: bool) -> Vec<u8> {
    let length = body.len();
    let mut answer = format!(
        "HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    if !head {
        answer.push_str(body);
    }
    answer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scrapers_send_is_understood() {
        let get = Request::Metrics { head: false };
        let cases: [(&[u8], Request); 12] = [
            (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", get),
            (b"GET / HTTP/1.0\n\n", get),
            (b"GET /metrics?name=x HTTP/1.1\r\n\r\n", get),
            (b"HEAD /metrics HTTP/1.1\r\n\r\n", Request::Metrics { head: true }),
            (b"GET /etc/passwd HTTP/1.1\r\n\r\n", Request::Unknown),
            (b"POST /metrics HTTP/1.1\r\n\r\n", Request::Bad),
            (b"GET /metrics\r\n\r\n", Request::Bad),
            (b"GET /metrics SPDY/3\r\n\r\n", Request::Bad),
            (b"\xff\xfe\r\n\r\n", Request::Bad),
            (b"\r\n\r\n", Request::Bad),
            (b"", Request::Unfinished),
            (b"GET /metrics HTTP/1.1\r\nHost:", Request::Unfinished),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(read(&[b'a'; LONGEST]), Request::Bad);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            read(&bytes);
        }

        #[test]
        fn what_was_understood_stays_so_whatever_follows(rest in proptest::collection::vec(proptest::num::u8::ANY, 0..99)) {
            let request = b"GET /metrics HTTP/1.1\r\n\r\n";
            proptest::prop_assert_eq!(read(&[request, &rest[..]].concat()), Request::Metrics { head: false });
        }
    }
}
