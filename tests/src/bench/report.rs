//! Collecting samples, and printing them as a table or as JSON.

use serde_json::{Value, json};

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

/// All samples, by metric and column, in the order of the runs.
pub(crate) struct Report {
    columns: Vec<Column>,
    ratios: Vec<Ratio>,
    rows: Vec<Row>,
}

/// One of the things that are compared.
pub(crate) struct Column {
    /// In JSON.
    pub(crate) key: &'static str,
    /// In the table.
    pub(crate) title: String,
}

/// One column by another, taken inside each run.
pub(crate) struct Ratio {
    /// In JSON.
    pub(crate) key: &'static str,
    /// In the table.
    pub(crate) title: &'static str,
    /// The number of the column that is divided.
    pub(crate) of: usize,
    /// The number of the column that it is divided by.
    pub(crate) by: usize,
}

struct Row {
    metric: &'static Metric,
    /// By column.
    samples: Vec<Vec<f64>>,
}

impl Report {
    pub(crate) fn new(columns: Vec<Column>, ratios: Vec<Ratio>) -> Self {
        Self { columns, ratios, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, column: usize, samples: Vec<Sample>) {
        for (metric, value) in samples {
            self.row(metric).samples[column].push(value);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Each cell is min / median / max.
    pub(crate) fn table(&self) -> String {
        let titles: Vec<&str> = self.columns.iter().map(|column| column.title.as_str()).collect();
        let ratios: Vec<&str> = self.ratios.iter().map(|ratio| ratio.title).collect();
        let mut lines = vec![table_line("", "", &titles, &ratios, "")];
        for row in &self.rows {
            let cells: Vec<String> = row.samples.iter().map(|values| cell(values)).collect();
            let ratio = |ratio: &Ratio| {
                Spread::of(&row.ratios(ratio)).map_or_else(String::new, |spread| spread.cell(2))
            };
            let ratios: Vec<String> = self.ratios.iter().map(ratio).collect();
            let (name, unit) = (row.metric.name, row.metric.unit);
            lines.push(table_line(name, unit, &cells, &ratios, row.metric.better.name()));
        }
        lines.join("\n")
    }

    /// The settings as they are given, and the metrics.
    pub(crate) fn json(&self, settings: Value) -> Value {
        let metrics: Vec<Value> = self.rows.iter().map(|row| self.row_json(row)).collect();
        json!({ "settings": settings, "metrics": metrics })
    }

    fn row_json(&self, row: &Row) -> Value {
        let mut object = json!({
            "name": row.metric.name,
            "unit": row.metric.unit,
            "better": row.metric.better.name(),
        });
        for (column, values) in self.columns.iter().zip(&row.samples) {
            object[column.key] = spread_json(values);
        }
        for ratio in &self.ratios {
            object[ratio.key] = spread_json(&row.ratios(ratio));
        }
        object
    }

    fn row(&mut self, metric: &'static Metric) -> &mut Row {
        let index = self.rows.iter().position(|row| row.metric.name == metric.name).unwrap_or_else(|| {
            self.rows.push(Row { metric, samples: vec![Vec::new(); self.columns.len()] });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }
}

impl Better {
    fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        }
    }
}

impl Row {
    /// The ratio within each run; a run without a meaningful quotient is left out.
    fn ratios(&self, ratio: &Ratio) -> Vec<f64> {
        let pairs = self.samples[ratio.of].iter().zip(&self.samples[ratio.by]);
        pairs.filter(|(_, by)| **by > 0.0).map(|(of, by)| of / by).collect()
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

fn table_line<T: AsRef<str>, U: AsRef<str>>(
    name: &str,
    unit: &str,
    cells: &[T],
    ratios: &[U],
    better: &str,
) -> String {
    let mut line = format!("{name:<22} {unit:<6}");
    for cell in cells {
        line.push_str(&format!(" {:>24}", cell.as_ref()));
    }
    for ratio in ratios {
        line.push_str(&format!(" {:>20}", ratio.as_ref()));
    }
    line.push_str(&format!("  {better}"));
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
    fn ratios_stay_inside_their_runs() {
        let column = |key: &'static str| Column { key, title: key.into() };
        let ratio = Ratio { key: "ratio", title: "A/B", of: 0, by: 1 };
        let mut report = Report::new(vec![column("a"), column("b")], vec![ratio]);
        for (a, b) in [(2.0, 1.0), (30.0, 10.0), (1.0, 0.0)] {
            report.add(1, vec![(&SPEED, b)]);
            report.add(0, vec![(&SPEED, a)]);
        }
        assert_eq!(report.rows.len(), 1);
        assert!(report.table().contains("2.00 / 2.50 / 3.00"));
        let json = report.json(Value::Null);
        assert_eq!(json["metrics"][0]["ratio"]["runs"], json!([2.0, 3.0]));
        assert_eq!(json["metrics"][0]["b"]["max"], json!(10.0));
    }
}
