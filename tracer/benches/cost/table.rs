//! Tables in Markdown.

use crate::paired::Spread;
use crate::plan::Plan;

/// What stands where there is no figure.
const NONE: &str = "?";

/// Rows under a head; the first column is text, the others are figures.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.head.len(), "{cells:?}");
        self.rows.push(cells);
    }

    /// Prints it.
    ///
    /// # Panics
    /// With `--smoke`, if a figure did not come out.
    pub(crate) fn print(&self, plan: &Plan) {
        println!("| {} |", self.head.join(" | "));
        let rule: Vec<&str> =
            (0..self.head.len()).map(|n| if n == 0 { "---" } else { "---:" }).collect();
        println!("| {} |", rule.join(" | "));
        for row in &self.rows {
            println!("| {} |", row.join(" | "));
            let missing = row.iter().any(|cell| cell.contains(NONE));
            assert!(!(plan.smoke && missing), "a figure is missing");
        }
        println!();
    }
}

/// A figure with so many decimals; thousands are set apart.
pub(crate) fn figure(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(w, r)| (w, r));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("−", digits));
    let mut grouped = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 && digits.len() > 4 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{rest}") }
}

/// The median, then least and most in brackets.
pub(crate) fn spread(of: Spread, decimals: usize) -> String {
    let Spread { median, least, most } = of;
    let [median, least, most] = [median, least, most].map(|value| figure(value, decimals));
    format!("{median} ({least}–{most})")
}

/// The median alone.
pub(crate) fn median(values: impl IntoIterator<Item = f64>, decimals: usize) -> String {
    figure(Spread::of(values).median, decimals)
}

/// A count that not everybody tells.
pub(crate) fn count(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| figure(value as f64, 0))
}
