//! What was drawn against what was told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::plan::{Class, Draw};
use super::right;

/// The confusion matrix and the times to detect.
pub(super) struct Matrix {
    seed: u64,
    draws: u32,
    /// Draws per class and what was told.
    cells: BTreeMap<(&'static str, String), u32>,
    /// Seconds to the alert, of floods that were told.
    times: Vec<f64>,
    wrong: Vec<String>,
    unplayed: Vec<String>,
}

impl Matrix {
    pub(super) fn new(seed: u64, draws: u32) -> Self {
        let (cells, times) = (BTreeMap::new(), Vec::new());
        Self { seed, draws, cells, times, wrong: Vec::new(), unplayed: Vec::new() }
    }

    /// Takes a draw in; what became of it in a line.
    pub(super) fn add(&mut self, draw: &Draw, told: Result<Value, String>) -> String {
        let told = match told {
            Ok(told) => told,
            Err(output) => {
                self.unplayed.push(format!("{draw}\n{output}"));
                return format!("{draw} -> could not be played");
            }
        };
        let word = summary(&told);
        *self.cells.entry((draw.class.name(), word.clone())).or_default() += 1;
        let after = told["after_s"].as_f64();
        if draw.class.is_flood() {
            self.times.extend(after);
        }
        let verdict = if right(draw, &told) { "" } else { "  WRONG" };
        let after = after.map_or_else(String::new, |s| format!(" after {s:.2} s"));
        let line = format!("{draw} -> {word}{after}{verdict}");
        if !right(draw, &told) {
            self.wrong.push(format!("{line}\n{}", told["alerts"].as_str().unwrap_or_default()));
        }
        line
    }

    pub(super) fn wrong(&self) -> usize {
        self.wrong.len()
    }

    pub(super) fn unplayed(&self) -> usize {
        self.unplayed.len()
    }
}

/// The verdicts in a word: a flood's before a notice's.
fn summary(told: &Value) -> String {
    let words = |name: &str| -> Vec<&str> {
        told[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let (floods, notices) = (words("flood"), words("notices"));
    let words = if floods.is_empty() { notices } else { floods };
    if words.is_empty() { "nothing".to_owned() } else { words.join("+") }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} draws, seed {}", self.draws, self.seed)?;
        let told: BTreeSet<&String> = self.cells.keys().map(|(_, told)| told).collect();
        let width = |word: &str| word.len().max(5);
        write!(f, "{:<16}", "drawn \\ told")?;
        for word in &told {
            write!(f, "  {word:>0$}", width(word))?;
        }
        writeln!(f)?;
        for class in Class::ALL {
            write!(f, "{:<16}", class.name())?;
            for word in &told {
                let cell = self.cells.get(&(class.name(), (*word).clone()));
                let cell = cell.map_or_else(|| ".".to_owned(), u32::to_string);
                write!(f, "  {cell:>0$}", width(word))?;
            }
            writeln!(f)?;
        }
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = (part * times.len() as f64).ceil() as usize;
            times.get(place.saturating_sub(1)).map_or_else(|| "-".to_owned(), |s| format!("{s:.2}"))
        };
        writeln!(
            f,
            "{} floods told; seconds to the alert: median {}, p90 {}, max {}",
            times.len(),
            at(0.5),
            at(0.9),
            at(1.0)
        )?;
        writeln!(f, "{} wrong, {} not played", self.wrong.len(), self.unplayed.len())?;
        for text in self.wrong.iter().chain(&self.unplayed) {
            writeln!(f, "\n{text}")?;
        }
        Ok(())
    }
}
