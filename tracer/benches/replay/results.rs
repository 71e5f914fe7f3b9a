//! What Criterion has measured, out of its files.

use std::path::Path;

use crate::paired::Spread;
use crate::support::Value;

/// Events a second, in millions, of each of Criterion's samples.
pub(crate) fn millions(directory: &Path, group: &str, name: &str, events: usize) -> Spread {
    let path = directory.join(group).join(name).join("new/sample.json");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let sample: Value = serde_json::from_slice(&text).expect("Criterion's JSON");
    let column = |name: &str| -> Vec<f64> {
        sample[name].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
    };
    let (iterations, times) = (column("iters"), column("times"));
    // Times are nanoseconds.
    Spread::of(iterations.iter().zip(times).map(|(n, ns)| n * events as f64 / ns * 1e3))
}
