//! Collecting samples, and printing them as a table or as JSON.

use serde_json::{Value, json};

use super::options::Options;
use super::tunnel::Side;

/// What a number means.
#[derive(Debug)]
pub(crate) struct Metric {
    name: &'static str,
    unit: &'static str,
    better: Better,
}

impl Metric {
    pub(crate) const fn new(name: &'static str, unit: &'static str, better: Better) -> Self {
        Self { name, unit, better }
    }
}

/// Which way a metric wants to go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// One number from one run.
pub(crate) type Sample = (&'static Metric, f64);

/// All samples, by metric and side, in the order of the pairs.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

struct Row {
    metric: &'static Metric,
    direct: Vec<f64>,
    adit: Vec<f64>,
    openssh: Vec<f64>,
}

impl Report {
    pub(crate) fn add(&mut self, side: Side, samples: Vec<Sample>) {
        for (metric, value) in samples {
            let row = self.row(metric);
            match side {
                Side::Direct => row.direct.push(value),
                Side::Adit => row.adit.push(value),
                Side::OpenSsh | Side::AditWithout => row.openssh.push(value),
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Each cell is min / median / max.
    pub(crate) fn table(&self, reconnect_cost: bool) -> String {
        let other = if reconnect_cost { "--no-reconnect (B)" } else { "openssh (B)" };
        let mut lines = vec![table_line("", "", "direct", "adit (A)", other, "A/B", "")];
        for row in &self.rows {
            let ratio = Spread::of(&row.ratios()).map_or_else(String::new, |ratio| ratio.cell(2));
            let better = match row.metric.better {
                Better::Higher => "higher",
                Better::Lower => "lower",
            };
            let (direct, adit, openssh) = (cell(&row.direct), cell(&row.adit), cell(&row.openssh));
            lines.push(table_line(
                row.metric.name,
                row.metric.unit,
                &direct,
                &adit,
                &openssh,
                &ratio,
                better,
            ));
        }
        lines.join("\n")
    }

    pub(crate) fn json(&self, options: &Options, openssh_version: &str) -> Value {
        let metrics: Vec<Value> = self.rows.iter().map(Row::json).collect();
        json!({
            "settings": {
                "runs": options.runs,
                "mib": options.mib,
                "cipher": options.cipher,
                "round_trips": options.round_trips,
                "connections": options.connections,
                "openssh": openssh_version,
                "reconnect_cost": options.reconnect_cost,
            },
            "metrics": metrics,
        })
    }

    fn row(&mut self, metric: &'static Metric) -> &mut Row {
        let index = self.rows.iter().position(|row| row.metric.name == metric.name).unwrap_or_else(|| {
            self.rows.push(Row { metric, direct: Vec::new(), adit: Vec::new(), openssh: Vec::new() });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }
}

impl Row {
    /// A/B within each pair; a pair without a meaningful quotient is left out.
    fn ratios(&self) -> Vec<f64> {
        let pairs = self.adit.iter().zip(&self.openssh);
        pairs.filter(|(_, b)| **b > 0.0).map(|(a, b)| a / b).collect()
    }

    fn json(&self) -> Value {
        json!({
            "name": self.metric.name,
            "unit": self.metric.unit,
            "better": match self.metric.better { Better::Higher => "higher", Better::Lower => "lower" },
            "direct": spread_json(&self.direct),
            "adit": spread_json(&self.adit),
            "openssh": spread_json(&self.openssh),
            "ratio": spread_json(&self.ratios()),
        })
    }
}

#[derive(Debug, PartialEq)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let lower = if sorted.len().is_multiple_of(2) { sorted[middle - 1] } else { upper };
        Some(Self { min: *sorted.first()?, median: f64::midpoint(lower, upper), max: *sorted.last()? })
    }

    fn cell(&self, digits: usize) -> String {
        format!("{:.digits$} / {:.digits$} / {:.digits$}", self.min, self.median, self.max)
    }
}

fn cell(values: &[f64]) -> String {
    // About three digits that mean something.
    let digits = |median: f64| if median.abs() < 20.0 { 2 } else { usize::from(median.abs() < 200.0) };
    Spread::of(values).map_or_else(|| "-".to_owned(), |spread| spread.cell(digits(spread.median)))
}

fn spread_json(values: &[f64]) -> Value {
    match Spread::of(values) {
        Some(Spread { min, median, max }) => {
            json!({"min": min, "median": median, "max": max, "runs": values})
        }
        None => Value::Null,
    }
}

fn table_line(
    name: &str,
    unit: &str,
    direct: &str,
    adit: &str,
    openssh: &str,
    ratio: &str,
    better: &str,
) -> String {
    let line = format!("{name:<22} {unit:<6} {direct:>24} {adit:>24} {openssh:>24} {ratio:>20}  {better}");
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    static SPEED: Metric = Metric::new("speed", "GiB/s", Better::Higher);

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
    }

    #[test]
    fn ratios_stay_inside_their_pairs() {
        let mut report = Report::default();
        for (a, b) in [(2.0, 1.0), (30.0, 10.0), (1.0, 0.0)] {
            report.add(Side::OpenSsh, vec![(&SPEED, b)]);
            report.add(Side::Adit, vec![(&SPEED, a)]);
        }
        assert_eq!(report.rows.len(), 1);
        assert_eq!(report.rows[0].ratios(), [2.0, 3.0]);
        assert!(report.table(false).contains("2.00 / 2.50 / 3.00"));
    }
}
