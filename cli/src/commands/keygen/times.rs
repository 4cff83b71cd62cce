//! Dates and how long: what `--valid` takes, and how the dates of a certificate are shown.

use std::fmt;
use std::str::FromStr;

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    from: Moment,
    to: Moment,
}

/// A moment, as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Seconds since 1970.
    At(u64),
    /// Seconds from now.
    In(i64),
}

impl Validity {
    /// First and one-past-last second since 1970, or `None` if that is no time at all.
    pub(super) fn at(self, now: u64) -> Option<(u64, u64)> {
        let (from, to) = (self.from.at(now), self.to.at(now));
        (from < to).then_some((from, to))
    }
}

impl Default for Validity {
    fn default() -> Self {
        Self { from: Moment::At(0), to: Moment::At(u64::MAX) }
    }
}

impl Moment {
    fn at(self, now: u64) -> u64 {
        match self {
            Self::At(seconds) => seconds,
            Self::In(seconds) => now.saturating_add_signed(seconds),
        }
    }
}

impl FromStr for Validity {
    type Err = String;

    /// `1h30m`, or `START:END`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((from, to)) => Ok(Self { from: moment(from)?, to: moment(to)? }),
            None => {
                let length = duration(text.strip_prefix('+').unwrap_or(text)).ok_or_else(|| {
                    format!("{text:?} is no time; write how long, such as 1h, 2w or 1h30m, or START:END")
                })?;
                Ok(Self { from: Moment::In(-CLOCK_SKEW), to: Moment::In(length) })
            }
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    let relative = |text: &str, sign: i64| Some(Moment::In(duration(text)?.checked_mul(sign)?));
    let found = match text {
        "always" => Some(Moment::At(0)),
        "forever" => Some(Moment::At(u64::MAX)),
        "now" => Some(Moment::In(0)),
        _ => match (text.strip_prefix('+'), text.strip_prefix('-'), text.strip_suffix('Z')) {
            (Some(text), ..) => relative(text, 1),
            (_, Some(text), _) => relative(text, -1),
            (.., Some(date)) => seconds_of(date).map(Moment::At),
            _ => None,
        },
    };
    found.ok_or_else(|| {
        format!(
            "{text:?} is no moment; write YYYYMMDDZ, YYYYMMDDHHMMZ or YYYYMMDDHHMMSSZ (UTC), +1h, -5m, now, always or forever"
        )
    })
}

/// `1w2d3h4m5s` in seconds; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let mut seconds: i64 = 0;
    let mut number: Option<i64> = None;
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(i64::from(digit))?);
            continue;
        }
        let unit = match c.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => DAY,
            'w' => 7 * DAY,
            _ => return None,
        };
        seconds = seconds.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    let seconds = seconds.checked_add(number.unwrap_or(0))?;
    (seconds > 0).then_some(seconds)
}

/// `YYYYMMDD[HHMM[SS]]` in UTC as seconds since 1970.
fn seconds_of(date: &str) -> Option<u64> {
    if !matches!(date.len(), 8 | 12 | 14) || !date.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, len: usize| -> Option<i64> {
        match date.get(from..from.checked_add(len)?) {
            Some(digits) => digits.parse().ok(),
            None => Some(0),
        }
    };
    let (year, month, day) = (part(0, 4)?, part(4, 2)?, part(6, 2)?);
    let (hour, minute, second) = (part(8, 2)?, part(10, 2)?, part(12, 2)?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_of(year, month, day);
    // A day that there is not comes out as another one.
    if date_of(days) != (year, month, day) {
        return None;
    }
    let seconds = days.checked_mul(DAY)?.checked_add(hour * 3600 + minute * 60 + second)?;
    seconds.try_into().ok()
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March here, so that the day that comes and goes
/// is the last of the year.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - TO_1970
}

/// The other way round.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + TO_1970;
    let (cycle, day_of_cycle) = (days.div_euclid(DAYS_IN_400_YEARS), days.rem_euclid(DAYS_IN_400_YEARS));
    // Off by the days that leap years have more.
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = 400 * cycle + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

/// Seconds since 1970 as a date and a time in UTC.
pub(super) struct Utc(pub(super) u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Past the year 9999 nobody reads it as a date.
        let Some(seconds) = i64::try_from(self.0).ok().filter(|seconds| *seconds < YEAR_10000) else {
            return write!(f, "{} s after 1970", self.0);
        };
        let (year, month, day) = date_of(seconds / DAY);
        let of_day = seconds % DAY;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Clocks differ: what is made now must be valid for who is a minute behind, in seconds.
const CLOCK_SKEW: i64 = 60;
const DAY: i64 = 86_400;
const DAYS_IN_400_YEARS: i64 = 146_097;
/// Days from the first of March of the year 0 to 1970.
const TO_1970: i64 = 719_468;
const YEAR_10000: i64 = 253_402_300_800;

#[cfg(test)]
mod tests {
    use super::*;

    // `date -u -d @N`
    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, shown, written) in [
            (0, "1970-01-01T00:00:00Z", "19700101"),
            (951_782_400, "2000-02-29T00:00:00Z", "20000229"),
            (1_709_251_199, "2024-02-29T23:59:59Z", "20240229235959"),
            (4_107_542_400, "2100-03-01T00:00:00Z", "210003010000"),
            (1_798_675_199, "2026-12-30T23:59:59Z", "20261230235959"),
            (253_402_300_799, "9999-12-31T23:59:59Z", "99991231235959"),
        ] {
            assert_eq!(Utc(seconds).to_string(), shown);
            assert_eq!(seconds_of(written), Some(seconds), "{written}");
        }
        assert_eq!(Utc(u64::MAX).to_string(), "18446744073709551615 s after 1970");
        for bad in
            ["2026", "20261301", "20260230", "21000229", "20260101240000", "2026010100", "2026-1-1", ""]
        {
            assert_eq!(seconds_of(bad), None, "{bad}");
        }
        for days in (-800_000..3_000_000).step_by(13) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
    }

    #[test]
    fn validities() {
        for (text, expected) in [
            ("1h", Some((940, 4600))),
            ("+1h", Some((940, 4600))),
            ("1w2d3h4m5s", Some((940, 1000 + 788_645))),
            ("90", Some((940, 1090))),
            ("always:forever", Some((0, u64::MAX))),
            ("-10m:+1m", Some((400, 1060))),
            ("now:20000229Z", Some((1000, 951_782_400))),
            ("20000229Z:20000229Z", None),
            ("+2h:+1h", None),
        ] {
            assert_eq!(text.parse::<Validity>().unwrap().at(1000), expected, "{text}");
        }
        for bad in [
            "",
            "h",
            "1x",
            "0",
            "-1h",
            "1h:",
            ":1h",
            "20260101:20270101",
            "99999999999999999999w",
            "1h:2h:3h",
        ] {
            assert!(bad.parse::<Validity>().is_err(), "{bad}");
        }
    }
}
