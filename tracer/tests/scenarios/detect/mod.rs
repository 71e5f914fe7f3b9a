//! Floods and what is none, drawn at random: rates, backlogs, round-trip times and mixes that
//! nothing here was tuned to. `cargo xtask detect` plays many, a short run is a test.
//!
//! There is no netem here: round trips are raw clients that answer a SYN-ACK after the time drawn
//! for them, which is all that a server can see of a long way.

mod matrix;
mod plan;
mod play;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::support::Lab;
use crate::support::isolate::apart;
use matrix::Matrix;
use plan::{Draw, draw};

/// What `cargo xtask detect` sets: `DRAWS SEED JOBS`.
const ORDER: &str = "TRACER_DETECT";
/// What a process that plays one draw finds: `SEED NUMBER`.
const ONE: &str = "TRACER_DETECT_DRAW";
/// Before what it told.
const MARK: &str = "drawn: ";

fn numbers(variable: &str) -> Option<Vec<u64>> {
    let text = std::env::var(variable).ok()?;
    Some(text.split(' ').map(|n| n.parse().expect("a number")).collect())
}

#[test]
fn draws() {
    if let Some(one) = numbers(ONE) {
        let draw = draw(one[0], u32::try_from(one[1]).expect("a number"));
        // On a line of its own: the harness has begun one.
        println!("\n{MARK}{}", play::play(&Lab::new(), &draw));
        return;
    }
    match numbers(ORDER) {
        Some(order) => {
            let draws = u32::try_from(order[0]).expect("a number");
            let matrix = play_all(draws, order[1], order[2]);
            println!("\n{matrix}");
            assert_eq!(matrix.unplayed(), 0, "draws could not be played");
        }
        None => {
            let matrix = play_all(6, SHORT_RUN, 1);
            assert_eq!(matrix.unplayed(), 0, "draws could not be played\n{matrix}");
            assert_eq!(matrix.wrong(), 0, "\n{matrix}");
        }
    }
}

/// The seed of the short run: two floods of different kinds among its six.
const SHORT_RUN: u64 = 3;

#[test]
fn the_short_run_has_floods_and_others() {
    let classes: Vec<plan::Class> = (0..6).map(|n| draw(SHORT_RUN, n).class).collect();
    let floods = classes.iter().filter(|class| class.is_flood()).count();
    assert!((2..=4).contains(&floods), "{classes:?}");
}

#[test]
fn a_seed_says_it_all() {
    for n in 0..50 {
        assert_eq!(format!("{:?}", draw(7, n)), format!("{:?}", draw(7, n)));
        assert_ne!(format!("{:?}", draw(7, n)), format!("{:?}", draw(8, n)));
    }
}

fn play_all(draws: u32, seed: u64, jobs: u64) -> Matrix {
    let (next, matrix) = (AtomicU32::new(0), Mutex::new(Matrix::new(seed, draws)));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= draws {
                        return;
                    }
                    let draw = draw(seed, n);
                    let told = one(seed, n);
                    let line = matrix.lock().expect("the matrix").add(&draw, told);
                    println!("{n:>4} {line}");
                }
            });
        }
    });
    matrix.into_inner().expect("the matrix")
}

/// Plays one in a process of its own.
fn one(seed: u64, n: u32) -> Result<Value, String> {
    let output = apart("detect::draws", (ONE, &format!("{seed} {n}")))?;
    let line = output.lines().find_map(|line| line.strip_prefix(MARK));
    line.and_then(|line| serde_json::from_str(line).ok()).ok_or(output)
}

/// Whether what was told is right: of a flood its verdict and no other, of anything else no flood.
fn right(draw: &Draw, told: &Value) -> bool {
    let floods: Vec<&str> =
        told["flood"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if draw.class.is_flood() { floods == [draw.class.name()] } else { floods.is_empty() }
}
