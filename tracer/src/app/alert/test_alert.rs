//! `--test-alert`: does an alert reach who is to be told?

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{AlertRunner, PATIENCE, TIME};
use crate::app::output::Output;
use crate::app::pipeline::now;
use crate::cli::Options;
use crate::core::event::MonoNs;
use crate::core::record::{
    Alert, AlertEvent, Evidence, Network, Queue, Record, Severity, TopSource, Verdict,
};
use crate::report::writer::Closed;

/// Writes a sample to the output, hands it to the program of `--on-alert`, and says on stderr what
/// came of it.
///
/// # Errors
/// The output can't be written, or the program can't be run or failed.
pub(in crate::app) fn test_alert(options: &Options) -> Result<()> {
    let output = Output::open(options)?;
    // Before the writer's thread.
    let runner = AlertRunner::new(options)?;
    let (mut report, writer) = output.start()?;
    let sample = sample(now());
    let mut line = Vec::new();
    report.record(&Record::Alert(Box::new(sample.clone())), &mut line);
    let closed = std::pin::pin!(writer.closed());
    let deadline = Instant::now() + Duration::from_secs(5);
    writer.push_wait(&line, 1, deadline);
    if let Err(unwritten) = writer.finish(deadline) {
        bail!("the sample was not written to the output: {} bytes are left", unwritten.bytes);
    }
    let asked = closed.poll(&mut Context::from_waker(Waker::noop()));
    if let Poll::Ready(Closed::Failed(errno)) = asked {
        let why = errno.map(std::io::Error::from_raw_os_error).map(|why| why.to_string());
        bail!("the output cannot be written: {}", why.as_deref().unwrap_or("unknown error"));
    }
    let place = match &options.output.output {
        Some(path) => path.display().to_string(),
        None => "stdout".to_owned(),
    };
    eprintln!("tracer: a sample flood alert was written to {place}");
    let Some(mut runner) = runner else { return Ok(()) };
    // Said below, as the error it is here.
    runner.logs = false;
    let program = runner.program.display().to_string();
    let who = runner.runs_as();
    runner.alert(&sample, report.clock());
    runner.close(TIME + PATIENCE);
    let outcome = runner.finish();
    if outcome.failed > 0 {
        bail!("--on-alert: {program}, run as {who}, {}", outcome.last_failure);
    }
    if outcome.succeeded == 0 {
        bail!("--on-alert: what became of {program} can't be told");
    }
    eprintln!("tracer: {program}, run as {who}, {}", outcome.last_success);
    Ok(())
}

/// A flood that nobody takes for a real one: addresses of documentation (RFC 5737) and a figure
/// that says so.
fn sample(at: MonoNs) -> Alert {
    let source = |last: u8, len, syn_count, share| TopSource {
        prefix: Network { addr: [203, 0, 113, last].into(), len },
        syn_count,
        share,
    };
    Alert {
        at,
        event: AlertEvent::Start,
        netns: crate::system::netns::own_inode().unwrap_or(0),
        interfaces: vec!["test".to_owned()],
        listener: Some(([192, 0, 2, 1], 443).into()),
        verdict: Verdict::Spoofed,
        severity: Some(Severity::Confirmed),
        syn_count: 15_000,
        syn_rate: 10_000.0,
        completed_ratio: Some(0.002),
        half_open: Some(256),
        sources_estimate: Some(14_800),
        top_sources: vec![source(0, 24, 60, 0.004), source(7, 32, 2, 0.000_13)],
        queue: Some(Queue { length: 256, limit: 256 }),
        cookies_sent_rate: Some(9_700.0),
        evidence: vec![
            Evidence { metric: "test_alert", value: 1.0, threshold: None },
            Evidence { metric: Evidence::UNCOMPLETED, value: 9_980.0, threshold: Some(100.0) },
        ],
        since: MonoNs(at.0.saturating_sub(1_500_000_000)),
        until: at,
    }
}
