//! Whether two outputs of tracer say the same: words and their order must agree, times need not.

use std::fmt::Write as _;

use serde_json::Value;

/// What may differ besides times, ports and pids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Counts {
    /// Counts are the same.
    Exact,
    /// Counts are of the same size: of a flood, or of what was lost.
    Vary,
}

/// Ports from here on are the kernel's choice, or the raw peer's.
const EPHEMERAL: u32 = 20_000;
/// Durations up to this, microseconds, are short: how short is for the machine to say.
const SHORT: f64 = 450e3;

/// Where the run departs from the page, line by line as `diff -u` shows it; `None`: nowhere.
pub(crate) fn difference(page: &str, run: &str, counts: Counts) -> Option<String> {
    let (page, run) = (paragraphs(page), paragraphs(run));
    // Longest common subsequence, from the end.
    let mut common = vec![vec![0_usize; run.len() + 1]; page.len() + 1];
    for p in (0..page.len()).rev() {
        for r in (0..run.len()).rev() {
            common[p][r] = if same_paragraph(&page[p], &run[r], counts) {
                common[p + 1][r + 1] + 1
            } else {
                common[p + 1][r].max(common[p][r + 1])
            };
        }
    }
    if common[0][0] == page.len() && common[0][0] == run.len() {
        return None;
    }
    let (mut p, mut r, mut diff) = (0, 0, String::new());
    let put = |diff: &mut String, sign: char, paragraph: &str| {
        for line in paragraph.lines().chain(paragraph.is_empty().then_some("")) {
            let _ = writeln!(diff, "{sign} {line}");
        }
    };
    while p < page.len() || r < run.len() {
        let both = p < page.len() && r < run.len();
        if both && same_paragraph(&page[p], &run[r], counts) {
            put(&mut diff, ' ', &run[r]);
            (p, r) = (p + 1, r + 1);
        } else if r == run.len() || (both && common[p + 1][r] >= common[p][r + 1]) {
            put(&mut diff, '-', &page[p]);
            p += 1;
        } else {
            put(&mut diff, '+', &run[r]);
            r += 1;
        }
    }
    Some(diff)
}

/// Lines, each with those that are indented below it: where a sentence is wrapped depends on the
/// numbers in it. How often an alert was updated depends on the time it took, and whether the
/// kernel's queue had been asked for by then, too: updates and that line of an alert are left out.
fn paragraphs(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let kernels =
        |line: &&str| !["    SYN queue", "    SYN cookies"].iter().any(|s| line.starts_with(s));
    for line in text.trim_end().lines().map(str::trim_end).filter(kernels) {
        match all.last_mut() {
            Some(last) if line.starts_with(' ') => {
                last.push('\n');
                last.push_str(line);
            }
            _ => all.push(line.to_owned()),
        }
    }
    let update = |text: &str| {
        let mut words = text.split_whitespace().skip(1);
        matches!(words.next(), Some("FLOOD" | "NOTICE")) && words.next() == Some("update")
    };
    all.retain(|paragraph| !update(paragraph));
    all
}

fn same_paragraph(page: &str, run: &str, counts: Counts) -> bool {
    if let (Ok(page), Ok(run)) = (serde_json::from_str(page), serde_json::from_str(run)) {
        return same_json("", &page, &run, counts);
    }
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (page, run) = (words(page), words(run));
    // What the kernel had counted when it was asked may be nothing or much.
    let evidence = page.iter().position(|word| word == "evidence:").unwrap_or(page.len());
    let number = |word: &str| word.trim_matches(['(', ')', ',']).parse::<f64>().is_ok();
    page.len() == run.len()
        && page.iter().zip(&run).enumerate().all(|(n, (page, run))| {
            same_word(page, run, counts) || n > evidence && number(page) && number(run)
        })
}

fn same_json(name: &str, page: &Value, run: &Value, counts: Counts) -> bool {
    match (page, run) {
        (Value::Object(p), Value::Object(r)) => {
            p.len() == r.len()
                && p.iter()
                    .zip(r)
                    .all(|((name, p), (other, r))| name == other && same_json(name, p, r, counts))
        }
        (Value::Array(p), Value::Array(r)) => {
            p.len() == r.len() && p.iter().zip(r).all(|(p, r)| same_json(name, p, r, counts))
        }
        (Value::Number(p), Value::Number(r)) => {
            let (Some(p), Some(r)) = (p.as_f64(), r.as_f64()) else { return false };
            p == r
                || name == "pid"
                || name.ends_with("_port") && p.min(r) >= EPHEMERAL.into()
                || name.ends_with("retransmits") && p.min(r) >= 1.0 && (p - r).abs() <= 2.0
                || is_phase(name) && same_duration(p, r)
                || counts == Counts::Vary && same_size(p, r)
        }
        // Container ids are hexadecimal, and every run's own.
        (Value::String(p), Value::String(r)) if name == "container" => {
            let hex = |id: &str| id.len() >= 12 && id.chars().all(|c| c.is_ascii_hexdigit());
            hex(p) && hex(r) && p.len() == r.len()
        }
        (page, run) => page == run,
    }
}

/// Whether a field is a duration in microseconds.
fn is_phase(name: &str) -> bool {
    name.ends_with("_us") || crate::support::expect::PHASES.contains(&name)
}

fn same_word(page: &str, run: &str, counts: Counts) -> bool {
    let bare = |word: &str| {
        let word = word.trim_matches(['(', ')', ',', ';', '.', '/']);
        word.strip_suffix(':').unwrap_or(word).to_owned()
    };
    let (page, run) = (bare(page), bare(run));
    if page == run || is_time(&page) && is_time(&run) {
        return true;
    }
    if let (Some(page), Some(run)) = (micros(&page), micros(&run)) {
        return same_duration(page, run);
    }
    // `name/1234`: the pid is every run's own.
    if let (Some((p, pid)), Some((r, other))) = (page.rsplit_once('/'), run.rsplit_once('/')) {
        let pids = pid.parse::<u32>().is_ok() && other.parse::<u32>().is_ok();
        return p == r && pids || counts == Counts::Vary && p == "SYN" && r == "SYN";
    }
    // `192.0.2.1:41308`, `:41308`.
    if let (Some((p, port)), Some((r, other))) = (page.rsplit_once(':'), run.rsplit_once(':')) {
        let chosen = |port: &str| port.parse().is_ok_and(|port: u32| port >= EPHEMERAL);
        return p == r && chosen(port) && chosen(other);
    }
    if counts == Counts::Exact {
        return false;
    }
    let number = |word: &str| {
        let word = word.trim_end_matches("/s").trim_start_matches(['≤', '≥', '~']);
        (word.ends_with('%'), word.trim_end_matches('%').parse::<f64>().ok())
    };
    match (number(&page), number(&run)) {
        ((true, Some(p)), (true, Some(r))) => (p - r).abs() <= 25.0,
        ((false, Some(p)), (false, Some(r))) => same_size(p, r),
        _ => false,
    }
}

/// `03:12:44`.
fn is_time(word: &str) -> bool {
    word.len() == 8
        && word
            .bytes()
            .enumerate()
            .all(|(n, byte)| if n % 3 == 2 { byte == b':' } else { byte.is_ascii_digit() })
}

/// `<1µs`, `83µs`, `1.2ms`, `3.4s`, `2m05s` in microseconds.
fn micros(word: &str) -> Option<f64> {
    let word = word.trim_start_matches(['<', '>', '~']);
    for (unit, factor) in [("µs", 1.0), ("ms", 1e3)] {
        if let Some(number) = word.strip_suffix(unit) {
            return Some(number.parse::<f64>().ok()? * factor);
        }
    }
    let seconds = word.strip_suffix('s')?;
    let (minutes, seconds) = seconds.split_once('m').unwrap_or(("0", seconds));
    Some((minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?) * 1e6)
}

/// Both short, or as long as each other as far as a busy machine keeps time.
fn same_duration(page: f64, run: f64) -> bool {
    page.max(run) <= SHORT || (page - run).abs() <= (page.max(run) * 0.4).max(700e3)
}

/// Within a factor of three, or both small.
fn same_size(page: f64, run: f64) -> bool {
    page.max(run) <= 3.0 * page.min(run) || (page - run).abs() <= 30.0
}

#[test]
fn what_varies_is_the_same_and_what_does_not_is_not() {
    let row = "10:42:10 app/21128 :41308 → 192.0.2.1:8080 23µs 1.0s 370µs → closed";
    let same = |page: &str, run: &str, counts| difference(page, run, counts).is_none();
    for (run, wanted) in [
        ("11:00:00 app/7 :50001   → 192.0.2.1:8080  1.3ms  1.2s 20ms → closed", true),
        ("11:00:00 app/7 :50001 → 192.0.2.1:8080 1.3ms 2.9s 20ms → closed", false),
        ("11:00:00 app/7 :50001 → 192.0.2.1:8081 1.3ms 1.2s 20ms → closed", false),
        ("11:00:00 web/7 :50001 → 192.0.2.1:8080 1.3ms 1.2s 20ms → closed", false),
        ("11:00:00 app/7 :50001 → 192.0.2.1:8080 1.3ms 1.2s 20ms ← closed", false),
        ("11:00:00 app/7 :50001 → 192.0.2.1:8080 - 1.2s 20ms → closed", false),
        ("11:00:00 - :50001 → 192.0.2.1:8080 1.3ms 1.2s 20ms → closed", false),
        ("", false),
    ] {
        assert_eq!(same(row, run, Counts::Exact), wanted, "{run}");
        assert_eq!(same(row, run, Counts::Vary), wanted, "{run}");
    }
    let totals = "7 connections ended in 5.6s, 0 still open, 300 SYNs\n  seen";
    let others = "7 connections ended in 5.0s, 0 still open,\n  400 SYNs seen";
    assert!(same(totals, others, Counts::Vary) && !same(totals, others, Counts::Exact));
    let json = r#"{"outcome":"closed","close_us":1000123,"syn_retransmits":1,"pid":5}"#;
    for (other, wanted) in [
        (r#"{"outcome":"closed","close_us":1100000,"syn_retransmits":2,"pid":6}"#, true),
        (r#"{"outcome":"closed","close_us":3100000,"syn_retransmits":1,"pid":6}"#, false),
        (r#"{"outcome":"closed","close_us":1100000,"syn_retransmits":0,"pid":6}"#, false),
        (r#"{"outcome":"closed","close_us":null,"syn_retransmits":1,"pid":6}"#, false),
        (r#"{"outcome":"refused","close_us":1000123,"syn_retransmits":1,"pid":5}"#, false),
    ] {
        assert_eq!(same(json, other, Counts::Exact), wanted, "{other}");
    }
    let flood =
        |word: &str| format!("{row}\n10:42:11 FLOOD {word} on x: spoofed\n    9 SYN/s\n{row}");
    assert!(same(&flood("update"), &format!("{row}\n{row}"), Counts::Exact));
    assert!(!same(&flood("start"), &format!("{row}\n{row}"), Counts::Exact));
}

#[test]
fn a_difference_is_shown_in_its_place() {
    let diff = difference("a\nb\nc\n", "a\nx\nc\n", Counts::Exact);
    assert_eq!(diff.as_deref(), Some("  a\n- b\n+ x\n  c\n"));
}
