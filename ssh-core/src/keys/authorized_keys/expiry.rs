use std::time::{Duration, SystemTime};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// When a key stops being of use: `YYYYMMDD[HHMM[SS]]`, in this machine's time zone or with `Z` behind in UTC (sshd(8),
/// `expiry-time`). `None` if it is no such time.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    parse_in(digits, zone)
}

fn parse_in(digits: &str, zone: TimeZone) -> Option<SystemTime> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || !matches!(digits.len(), 8 | 12 | 14) {
        return None;
    }
    let field = |from: usize, to: usize| digits.get(from..to).map_or(Some(0), |text| text.parse::<i8>().ok());
    let year = digits.get(..4)?.parse().ok()?;
    let civil =
        DateTime::new(year, field(4, 6)?, field(6, 8)?, field(8, 10)?, field(10, 12)?, field(12, 14)?, 0);
    // An hour that a clock change skips or repeats is read as POSIX's mktime does.
    let seconds = civil.ok()?.to_zoned(zone).ok()?.timestamp().as_second();
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(time: Option<SystemTime>) -> Option<u64> {
        time.map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
    }

    // By `date -u -d '...' +%s`, and for the zone `TZ=Europe/Berlin date -d '...' +%s`.
    #[test]
    fn times_are_read_as_date_1_reads_them() {
        for (text, expected) in [
            ("20260101Z", 1_767_225_600),
            ("202601011230z", 1_767_270_600),
            ("20260101123059Z", 1_767_270_659),
            ("20240229Z", 1_709_164_800),
            ("19700101Z", 0),
            ("99991230Z", 253_402_128_000),
        ] {
            assert_eq!(seconds(parse(text)), Some(expected), "{text}");
        }
        let Ok(berlin) = TimeZone::get("Europe/Berlin") else { return };
        assert_eq!(seconds(parse_in("202607011200", berlin.clone())), Some(1_782_900_000));
        assert_eq!(seconds(parse_in("202601011200", berlin)), Some(1_767_265_200));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "Z",
            "2026",
            "2026010",
            "202601011",
            "2026010112",
            "20260101123",
            "2026010112300",
            "20261301Z",
            "20260230Z",
            "202601012460Z",
            "202601012400Z",
            "+2260101Z",
            "2026-1-1",
            "19690101Z",
            "20260101ZZ",
            "20260101UTC",
            "é2345678",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
