use std::time::UNIX_EPOCH;

use super::*;
use crate::core::record::Record;
use crate::metrics::{Config, Metrics};
use crate::report::samples;
use crate::sinks::otlp::metrics::Figures;
use crate::sinks::otlp::queue::{BATCH, Counts};
use crate::sinks::otlp::receiver::{Receiver, Request, answer};
use crate::sinks::otlp::settings::Settings;

const OK: &str = "200 OK";

fn start(endpoint: String) -> Arc<Queue> {
    let queue = Arc::new(Queue::default());
    let settings = Settings {
        endpoint,
        headers: Vec::new(),
        gzip: false,
        timeout: Duration::from_secs(5),
        roots: None,
        resource: Vec::new(),
        interval: Duration::from_secs(1),
    };
    let exporter = Exporter::new(Arc::clone(&queue), Client::new(settings), Resource::default());
    std::thread::spawn(move || exporter.run());
    queue
}

fn push(queue: &Queue, n: usize) {
    for _ in 0..n {
        let record = Record::Connection(Box::new(samples::full()));
        queue.push(Item::new(&record, &samples::clock(), UNIX_EPOCH));
    }
}

fn figures() -> Figures {
    let families = Metrics::new(&Config::default()).families();
    Figures::new(families, samples::at(0), samples::at(1), &samples::clock())
}

fn finish(queue: &Queue) -> (usize, Counts) {
    let left = queue.finish(Instant::now() + Duration::from_secs(10));
    (left, queue.lock().counts)
}

fn wait_until(done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(20), "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn records(request: &Request) -> usize {
    let request = ExportLogsServiceRequest::decode(&*request.body).unwrap();
    let [logs] = &request.resource_logs[..] else { panic!("{request:?}") };
    let [scope] = &logs.scope_logs[..] else { panic!("{logs:?}") };
    assert_eq!(scope.scope.as_ref().unwrap().name, "tracer");
    assert!(logs.resource.is_some());
    scope.log_records.len()
}

#[test]
fn everything_is_sent_at_the_end() {
    let receiver = Receiver::start(|_, _| answer(OK, &[], b""));
    let queue = start(receiver.endpoint());
    push(&queue, 3 * BATCH + 5);
    queue.put(figures());
    let (left, counts) = finish(&queue);
    assert_eq!(left, 0);
    assert_eq!(counts, Counts { sent: 3 * BATCH as u64 + 5, ..Counts::default() });
    let seen = receiver.seen();
    let logs: Vec<_> = seen.iter().filter(|request| request.path == "/v1/logs").collect();
    assert_eq!(logs.iter().map(|request| records(request)).sum::<usize>(), 3 * BATCH + 5);
    assert!(logs.iter().all(|request| records(request) <= BATCH));
    let metrics: Vec<_> = seen.iter().filter(|request| request.path == "/v1/metrics").collect();
    assert_eq!(metrics.len(), 1);
    let request = ExportMetricsServiceRequest::decode(&*metrics[0].body).unwrap();
    assert!(!request.resource_metrics[0].scope_metrics[0].metrics.is_empty());
}

#[test]
fn a_record_goes_out_after_a_second() {
    let receiver = Receiver::start(|_, _| answer(OK, &[], b""));
    let queue = start(receiver.endpoint());
    push(&queue, 1);
    std::thread::sleep(Duration::from_millis(300));
    assert!(receiver.seen().is_empty());
    push(&queue, 1);
    wait_until(|| queue.lock().counts.sent == 2);
    assert_eq!(receiver.seen().len(), 1);
}

#[test]
fn what_failed_is_sent_again_as_it_was() {
    let receiver = Receiver::start(|number, _| match number {
        0 => answer("503 Service Unavailable", &["Retry-After: 1"], b""),
        1 => answer("429 Too Many Requests", &["Retry-After: 0"], b""),
        _ => answer(OK, &[], b""),
    });
    let queue = start(receiver.endpoint());
    push(&queue, 5);
    wait_until(|| receiver.seen().len() == 1);
    let refused = Instant::now();
    wait_until(|| queue.lock().counts.sent == 5);
    // As long as the receiver asked for.
    assert!(refused.elapsed() > Duration::from_millis(800), "{:?}", refused.elapsed());
    let seen = receiver.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|request| request.body == seen[0].body));
    assert_eq!(finish(&queue), (0, Counts { sent: 5, failures: 2, ..Counts::default() }));
}

#[test]
fn what_is_refused_is_counted_and_not_sent_again() {
    let receiver = Receiver::start(|number, _| match number {
        0 => answer("400 Bad Request", &[], b""),
        _ => answer(OK, &[], b""),
    });
    let queue = start(receiver.endpoint());
    push(&queue, 5);
    wait_until(|| queue.lock().counts.rejected == 5);
    push(&queue, 2);
    let (left, counts) = finish(&queue);
    assert_eq!(left, 0);
    assert_eq!(counts, Counts { sent: 2, rejected: 5, failures: 1, ..Counts::default() });
    assert_eq!(receiver.seen().len(), 2);
}

#[test]
fn metrics_go_on_where_logs_are_not_wanted() {
    let receiver = Receiver::start(|_, path| match path {
        "/v1/logs" => answer("503 Busy", &["Retry-After: 600"], b""),
        _ => answer(OK, &[], b""),
    });
    let queue = start(receiver.endpoint());
    let metrics = || receiver.seen().iter().filter(|one| one.path == "/v1/metrics").count();
    push(&queue, 5);
    wait_until(|| receiver.seen().len() == 1);
    for n in 1..4 {
        queue.put(figures());
        wait_until(|| metrics() == n);
    }
    // Nobody waits ten minutes at the end, nor asks before.
    let begin = Instant::now();
    assert_eq!(finish(&queue).0, 5);
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(receiver.seen().len(), 4);
}

#[test]
fn at_the_end_a_receiver_that_has_just_failed_is_asked_again() {
    let receiver = Receiver::start(|number, _| match number {
        0 | 1 => answer("502 Bad Gateway", &[], b""),
        _ => answer(OK, &[], b""),
    });
    let queue = start(receiver.endpoint());
    push(&queue, 5);
    let begin = Instant::now();
    assert_eq!(finish(&queue), (0, Counts { sent: 5, failures: 2, ..Counts::default() }));
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn at_the_end_one_that_is_gone_is_asked_once_more() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let queue = start(format!("http://{gone}"));
    push(&queue, 5);
    wait_until(|| queue.lock().counts.failures == 1);
    push(&queue, 3);
    let begin = Instant::now();
    assert_eq!(finish(&queue), (8, Counts { failures: 2, ..Counts::default() }));
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn pauses_double_up_to_a_limit() {
    for (failures, seconds) in [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (u32::MAX, 30)] {
        let whole = Duration::from_secs(seconds);
        for _ in 0..20 {
            let pause = backoff(failures, BACKOFF);
            assert!(pause <= whole && pause >= whole * 3 / 4, "{failures}: {pause:?}");
        }
    }
}
