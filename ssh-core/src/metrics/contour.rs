use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes and latencies of a session over its whole life, in a bounded number of intervals of equal length: when they run
/// out, each two become one of twice the length.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionContour {
    max_intervals: usize,
    interval_ms: u64,
    intervals: Vec<Interval>,
}

/// What happened at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ContourUpdate {
    /// Milliseconds since the session began.
    pub time_ms: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// A round trip that was measured, in milliseconds. 0 is none.
    pub latency_ms: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Interval {
    bytes_sent: u64,
    bytes_received: u64,
    latency_min: f64,
    latency_max: f64,
    latency_sum: f64,
    latency_count: u32,
}

/// A text that is no contour, or a number of intervals that is no power of two of at least 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session contour is malformed")]
pub struct BadContour;

/// The format of an export.
const VERSION: u8 = 1;
/// The numbers of what an export holds, in its order: least, greatest and mean latency, bytes sent and received.
const IDS: [u8; 5] = [1, 2, 3, 11, 12];
/// The first length of an interval.
const FIRST_INTERVAL_MS: u64 = 1000;
const DEFAULT_INTERVALS: usize = 256;

impl Default for SessionContour {
    fn default() -> Self {
        Self { max_intervals: DEFAULT_INTERVALS, interval_ms: FIRST_INTERVAL_MS, intervals: Vec::new() }
    }
}

impl SessionContour {
    /// At most this many intervals: a power of two, at least 2. [`default`](Self::default) has 256.
    ///
    /// # Errors
    /// [`BadContour`] for another number.
    pub fn new(max_intervals: usize) -> Result<Self, BadContour> {
        if max_intervals < 2 || !max_intervals.is_power_of_two() {
            return Err(BadContour);
        }
        Ok(Self { max_intervals, ..Self::default() })
    }

    /// Adds what happened. Updates need not come in order.
    pub fn add(&mut self, update: ContourUpdate) {
        let mut at = self.index_of(update.time_ms);
        while at >= self.max_intervals {
            self.merge();
            at = self.index_of(update.time_ms);
        }
        if self.intervals.len() <= at {
            self.intervals.resize(at.saturating_add(1), Interval::default());
        }
        if let Some(interval) = self.intervals.get_mut(at) {
            interval.add(&update);
        }
    }

    fn index_of(&self, time_ms: u64) -> usize {
        usize::try_from(time_ms.checked_div(self.interval_ms).unwrap_or_default()).unwrap_or(usize::MAX)
    }

    /// Makes one interval of each two.
    fn merge(&mut self) {
        let merged = self.intervals.chunks(2).map(|pair| match pair {
            [first, second] => first.with(second),
            rest => rest.first().copied().unwrap_or_default(),
        });
        self.intervals = merged.collect();
        self.interval_ms = self.interval_ms.saturating_mul(2);
    }

    /// Intervals at most.
    #[must_use]
    pub fn max_intervals(&self) -> usize {
        self.max_intervals
    }

    /// The length of each interval, in milliseconds.
    #[must_use]
    pub fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// Intervals up to the last one in which something happened.
    #[must_use]
    pub fn interval_count(&self) -> usize {
        self.intervals.len()
    }

    /// Bytes sent in each interval.
    #[must_use]
    pub fn bytes_sent(&self) -> Vec<u64> {
        self.intervals.iter().map(|interval| interval.bytes_sent).collect()
    }

    /// Bytes received in each interval.
    #[must_use]
    pub fn bytes_received(&self) -> Vec<u64> {
        self.intervals.iter().map(|interval| interval.bytes_received).collect()
    }

    /// The least latency of each interval in milliseconds, 0 where none was measured.
    #[must_use]
    pub fn latency_min_ms(&self) -> Vec<f64> {
        self.intervals.iter().map(|interval| interval.latency_min).collect()
    }

    /// The greatest latency of each interval in milliseconds, 0 where none was measured.
    #[must_use]
    pub fn latency_max_ms(&self) -> Vec<f64> {
        self.intervals.iter().map(|interval| interval.latency_max).collect()
    }

    /// The mean latency of each interval in milliseconds, 0 where none was measured.
    #[must_use]
    pub fn latency_average_ms(&self) -> Vec<f64> {
        self.intervals.iter().map(Interval::latency_average).collect()
    }

    /// A short text with one byte for each value, as the Dev Tunnels SSH libraries write it. Values lose precision.
    #[must_use]
    pub fn export(&self) -> String {
        let exponent = self.interval_ms.checked_div(FIRST_INTERVAL_MS).unwrap_or(1).max(1).ilog2();
        let columns =
            IDS.map(|id| self.intervals.iter().map(|interval| interval.value(id)).collect::<Vec<_>>());
        let scales = columns.each_ref().map(|column| scale_of(column));
        let values = u8::try_from(IDS.len()).unwrap_or_default();
        let mut out = vec![VERSION, values, u8::try_from(exponent).unwrap_or(u8::MAX)];
        out.extend(scales);
        out.extend(IDS);
        for at in 0..self.intervals.len() {
            for (column, scale) in columns.iter().zip(scales) {
                let value = column.get(at).copied().unwrap_or_default() / 2_f64.powi(scale.into());
                // Halves go up; the scale has made it fit.
                out.push((value + 0.5).floor().clamp(0.0, 255.0) as u8);
            }
        }
        STANDARD.encode(out)
    }

    /// Reads an export. What it names and we do not know is left out.
    ///
    /// # Errors
    /// [`BadContour`] if it is none, or holds no interval.
    pub fn import(text: &str) -> Result<Self, BadContour> {
        let bytes = STANDARD.decode(text).map_err(|_| BadContour)?;
        let [VERSION, values, exponent, rest @ ..] = bytes.as_slice() else { return Err(BadContour) };
        let values = usize::from(*values);
        let (scales, rest) = rest.split_at_checked(values).ok_or(BadContour)?;
        let (ids, rest) = rest.split_at_checked(values).ok_or(BadContour)?;
        if values == 0 || rest.is_empty() || !rest.len().is_multiple_of(values) {
            return Err(BadContour);
        }
        let factor = 1_u64.checked_shl((*exponent).into()).ok_or(BadContour)?;
        let interval_ms = FIRST_INTERVAL_MS.checked_mul(factor).ok_or(BadContour)?;
        let intervals = rest.chunks(values).map(|row| {
            let mut interval = Interval::default();
            for ((value, scale), id) in row.iter().zip(scales).zip(ids) {
                interval.set_value(*id, f64::from(*value) * 2_f64.powi((*scale).into()));
            }
            interval
        });
        let intervals: Vec<_> = intervals.collect();
        let max_intervals = intervals.len().next_power_of_two().max(2);
        Ok(Self { max_intervals, interval_ms, intervals })
    }
}

/// The power of two that the values of a column are divided by to fit a byte.
fn scale_of(column: &[f64]) -> u8 {
    let most = column.iter().copied().fold(0.0, f64::max);
    if most <= 255.0 { 0 } else { (most / 255.0).log2().ceil() as u8 }
}

impl Interval {
    fn add(&mut self, update: &ContourUpdate) {
        self.bytes_sent = self.bytes_sent.saturating_add(update.bytes_sent);
        self.bytes_received = self.bytes_received.saturating_add(update.bytes_received);
        let latency = update.latency_ms;
        if latency > 0.0 && latency.is_finite() {
            let one = Self { latency_min: latency, latency_max: latency, ..Self::default() };
            *self = self.with(&one);
            self.latency_sum += latency;
            self.latency_count = self.latency_count.saturating_add(1);
        }
    }

    fn with(&self, other: &Self) -> Self {
        let least = match (self.latency_min, other.latency_min) {
            (0.0, other) => other,
            (this, 0.0) => this,
            (this, other) => this.min(other),
        };
        Self {
            bytes_sent: self.bytes_sent.saturating_add(other.bytes_sent),
            bytes_received: self.bytes_received.saturating_add(other.bytes_received),
            latency_min: least,
            latency_max: self.latency_max.max(other.latency_max),
            latency_sum: self.latency_sum + other.latency_sum,
            latency_count: self.latency_count.saturating_add(other.latency_count),
        }
    }

    fn latency_average(&self) -> f64 {
        if self.latency_count == 0 { 0.0 } else { self.latency_sum / f64::from(self.latency_count) }
    }

    fn value(&self, id: u8) -> f64 {
        match id {
            1 => self.latency_min,
            2 => self.latency_max,
            3 => self.latency_average(),
            11 => self.bytes_sent as f64,
            12 => self.bytes_received as f64,
            _ => 0.0,
        }
    }

    fn set_value(&mut self, id: u8, value: f64) {
        match id {
            1 => self.latency_min = value,
            2 => self.latency_max = value,
            3 if value > 0.0 => (self.latency_sum, self.latency_count) = (value, 1),
            11 => self.bytes_sent = value as u64,
            12 => self.bytes_received = value as u64,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_texts_are_refused() {
        assert_eq!(SessionContour::new(0), Err(BadContour));
        assert_eq!(SessionContour::new(3), Err(BadContour));
        let empty = SessionContour::default().export();
        for text in ["", "!", "AQ==", empty.as_str(), "AgUAAAIBCQIBAgMLDA0DBgCW"] {
            assert_eq!(SessionContour::import(text), Err(BadContour), "{text}");
        }
        // An interval of 2^64 seconds.
        let mut bytes = STANDARD.decode("AQUAAAIBCQIBAgMLDA0DBgCW").unwrap();
        bytes.truncate(18);
        bytes[2] = 64;
        assert_eq!(SessionContour::import(&STANDARD.encode(bytes)), Err(BadContour));
    }

    #[test]
    fn any_time_fits() {
        let mut contour = SessionContour::new(2).unwrap();
        for time_ms in [0, 5, u64::from(u32::MAX), u64::MAX] {
            contour.add(ContourUpdate { time_ms, bytes_sent: 1, ..ContourUpdate::default() });
            assert!(contour.interval_count() <= 2);
        }
        assert_eq!(contour.bytes_sent().iter().sum::<u64>(), 4);
    }
}
