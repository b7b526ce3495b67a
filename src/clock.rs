//! The clocks that a deadline is kept by, and UTC for people.
//!
//! The wall clock may jump (NTP, an administrator, a dead RTC battery); CLOCK_BOOTTIME does not, but starts anew with
//! every boot. So a moment is told by both, with the name of the boot.

use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A random name of the running boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A moment on all clocks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Moment {
    /// The name of the boot.
    pub boot: String,
    /// Since that boot, the time of a suspension included.
    pub since_boot: Duration,
    /// Since 1970, by the wall clock.
    pub wall: Duration,
}

impl Moment {
    /// Now.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn now() -> io::Result<Self> {
        Ok(Self {
            boot: boot()?,
            since_boot: clock_gettime(ClockId::CLOCK_BOOTTIME)?.into(),
            wall: wall(),
        })
    }
}

/// The name of the running boot.
///
/// # Errors
/// If the kernel does not tell.
pub fn boot() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT_ID)?.trim().to_owned())
}

/// The wall clock's time since 1970; a clock before that is at 1970.
#[must_use]
pub fn wall() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// The time since 1970 that [`utc`] wrote; `None`: it did not. Pure.
#[must_use]
pub fn from_utc(text: &str) -> Option<Duration> {
    let (date, of_day) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, mark| -> Option<[u64; 3]> {
        let parts: Option<Vec<u64>> = text.split(mark).map(|part| part.parse().ok()).collect();
        parts?.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(of_day, ':')?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The way back of `utc`.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    (hour < 24 && minute < 60 && second < 60).then(|| {
        let of_day = (hour * 60 + minute) * 60 + second;
        Duration::from_secs(days * 86_400 + of_day)
    })
}

/// A time since 1970 as RFC 3339 writes it, in UTC: `2026-11-21T09:36:00Z`. Pure.
#[must_use]
pub fn utc(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March, so that the leap day is the last one; an era is 400 years of 146,097 days (Howard Hinnant,
    // chrono-compatible low-level date algorithms, civil_from_days).
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        // As date(1) says: `date -u -d @N +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(Duration::from_secs(seconds)), text);
            assert_eq!(from_utc(text), Some(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn what_utc_did_not_write_is_no_time() {
        for text in [
            "",
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T00:00:00",
            "1-1-1T0:0:0Z",
            "x-y-zT0:0:0Z",
        ] {
            assert_eq!(from_utc(text), None, "{text}");
        }
    }

    #[test]
    fn the_running_boot_has_a_name_and_a_clock_that_goes_on() {
        let (one, other) = (Moment::now().unwrap(), Moment::now().unwrap());
        assert_eq!(one.boot, other.boot);
        assert!(one.boot.len() > 30 && one.since_boot <= other.since_boot);
    }
}
