//! Times, as the arguments give them.

use std::time::Duration;

/// Seconds, with a fraction if need be.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected seconds, as in 60 or 0.5".to_owned())
}

/// The longest window to confirm in.
const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// A time to confirm in: seconds, or a number with `s`, `m` or `h`.
pub(super) fn window_to_confirm(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let unit = match unit {
        "h" => 3600,
        "m" => 60,
        _ => 1,
    };
    let whole: Option<u64> = number.parse().ok();
    whole
        .and_then(|number| number.checked_mul(unit))
        .map(Duration::from_secs)
        .filter(|window| !window.is_zero() && *window <= LONGEST_WINDOW)
        .ok_or_else(|| "expected a time from 1s to 24h, as in 60s, 5m or 90".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_time_with_or_without_a_unit() {
        for (text, seconds) in [("60s", 60), ("5m", 300), ("90", 90), ("24h", 86_400)] {
            assert_eq!(
                window_to_confirm(text),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for bad in [
            "",
            "s",
            "0",
            "0s",
            "-1",
            "1.5m",
            "5 m",
            "25h",
            "60S",
            "1d",
            "99999999999999999999",
            "1ms",
        ] {
            assert!(window_to_confirm(bad).is_err(), "{bad}");
        }
    }
}
