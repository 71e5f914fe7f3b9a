//! tracer's times against those of packets that tcpdump saw at both ends of the same cable.

mod truth;

use std::time::Duration;

use crate::load::{Clients, PORT, server};
use crate::paired::{Spread, quantile, sorted};
use crate::plan::Plan;
use crate::support::{Capture, Lab, Tracer, Value, pause};
use crate::table::{Table, figure};
use truth::{Side, Truth};

/// The port of the connections that make the load.
const LOAD_PORT: u16 = 8081;
/// So that no two segments of a close are one.
const CLOSES_AFTER: Duration = Duration::from_millis(1);

/// A duration: a side, the field's name, and where the capture has it.
struct Quantity {
    side: Side,
    name: &'static str,
    seen: fn(&Truth) -> Option<f64>,
}

impl Quantity {
    /// What a record says.
    fn said(&self, record: &Value) -> Option<f64> {
        self.name.split('.').fold(record, |value, field| &value[field]).as_f64()
    }
}

static QUANTITIES: [Quantity; 11] = [
    Quantity { side: Side::Server, name: "handshake_us", seen: |truth| truth.handshake },
    Quantity { side: Side::Server, name: "synack_rtt_us", seen: |truth| truth.synack_rtt },
    Quantity { side: Side::Server, name: "phases_us.established", seen: |truth| truth.established },
    Quantity { side: Side::Server, name: "phases_us.close_wait", seen: |truth| truth.answer },
    Quantity { side: Side::Server, name: "phases_us.last_ack", seen: |truth| truth.acknowledged },
    Quantity { side: Side::Server, name: "close_us", seen: |truth| truth.close },
    Quantity { side: Side::Client, name: "handshake_us", seen: |truth| truth.handshake },
    Quantity { side: Side::Client, name: "phases_us.established", seen: |truth| truth.established },
    Quantity { side: Side::Client, name: "phases_us.fin_wait1", seen: |truth| truth.acknowledged },
    Quantity { side: Side::Client, name: "phases_us.fin_wait2", seen: |truth| truth.answer },
    Quantity { side: Side::Client, name: "close_us", seen: |truth| truth.close },
];

/// What one run yielded for one quantity: (tracer's, the capture's), µs.
type Pairs = Vec<(f64, f64)>;

fn measure(plan: &Plan, loaded: bool) -> Vec<Pairs> {
    let total = plan.either(1_000, 20);
    let lab = Lab::new();
    let servers = [(PORT, CLOSES_AFTER), (LOAD_PORT, Duration::ZERO)]
        .map(|(port, after)| server(&lab.b, port, after));
    let tracer = Tracer::start(&lab, &[]);
    let filter = format!("tcp port {PORT}");
    let captures = [(&lab.a, "va"), (&lab.b, "vb")].map(|(ns, dev)| Capture::of(ns, dev, &filter));
    let time = Duration::from_secs_f64(total as f64 / 250.0);
    std::thread::scope(|scope| {
        if loaded {
            scope.spawn(|| Clients::new(&lab.a, vec![lab.b4_port(LOAD_PORT)]).closed_for(time));
            pause(200);
        }
        let clients = Clients::new(&lab.a, vec![lab.b4_port(PORT)]);
        assert_eq!(clients.open(total, 250.0).failed, 0, "connections that failed");
    });
    pause(500);
    let [at_client, at_server] = captures.map(Capture::stop);
    let run = tracer.stop();
    drop(servers);
    let truths = [(Side::Client, at_client), (Side::Server, at_server)]
        .map(|(side, seen)| truth::read(side, &seen));
    let mut pairs: Vec<Pairs> = QUANTITIES.iter().map(|_| Vec::new()).collect();
    for record in run.connections() {
        let (side, service, client) = match record["role"].as_str() {
            Some("client") => (Side::Client, &record["remote_port"], &record["local_port"]),
            Some("server") => (Side::Server, &record["local_port"], &record["remote_port"]),
            _ => continue,
        };
        let client = client.as_u64().and_then(|port| u16::try_from(port).ok());
        if service != PORT {
            continue;
        }
        let truth = client.and_then(|client| truths[side as usize].get(&client));
        let Some(truth) = truth else { continue };
        for (quantity, pairs) in QUANTITIES.iter().zip(&mut pairs) {
            let said = quantity.said(record);
            if let (true, Some(said), Some(seen)) =
                (quantity.side == side, said, (quantity.seen)(truth))
            {
                pairs.push((said, seen));
            }
        }
    }
    pairs
}

pub(crate) fn run(plan: &Plan) {
    let [idle, loaded] = [false, true].map(|loaded| measure(plan, loaded));
    println!(
        "{} connections at 250 a second over veth, alone and beside eight clients that connect as \
         fast as they can. What the packets say is what passed `tcpdump` at that side's end of the \
         cable. µs; errors are tracer's time less the packets', p50 and p99 without their signs:\n",
        figure(plan.either(1_000.0, 20.0), 0)
    );
    let mut table = Table::new(&[
        "side",
        "duration",
        "compared",
        "packets say, p50",
        "error, median",
        "error, p50",
        "error, p99",
        "loaded: compared",
        "packets say, p50",
        "error, median",
        "error, p50",
        "error, p99",
    ]);
    for (n, quantity) in QUANTITIES.iter().enumerate() {
        let mut row = vec![quantity.side.name().to_owned(), format!("`{}`", quantity.name)];
        for pairs in [&idle[n], &loaded[n]] {
            let errors = sorted(pairs.iter().map(|(said, seen)| (said - seen).abs()));
            row.extend([
                figure(pairs.len() as f64, 0),
                figure(Spread::of(pairs.iter().map(|(_, seen)| *seen)).median, 1),
                figure(Spread::of(pairs.iter().map(|(said, seen)| said - seen)).median, 1),
                figure(quantile(&errors, 0.5), 1),
                figure(quantile(&errors, 0.99), 1),
            ]);
        }
        table.row(row);
    }
    table.print(plan);
}
