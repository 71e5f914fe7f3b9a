//! What tshark says of the same file.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use super::{both_ends, read, recorded};
use crate::close::pair;
use crate::support::capture::Kept;
use crate::support::sock::{Talk as _, accept};
use crate::support::{Lab, Value, pause, scenario, wait_until};

/// A conversation as tshark sees it.
#[derive(Default, Debug)]
struct Stream {
    /// `tcp.analysis.initial_rtt`, seconds.
    initial_rtt: Option<f64>,
    /// `tcp.completeness`: 1 SYN, 2 SYN-ACK, 4 ACK, 8 data, 16 FIN, 32 RST.
    completeness: u64,
    /// Segments that it calls sent again.
    again: u64,
}

/// Every conversation by the client's port.
#[track_caller]
fn tshark(file: &Kept) -> BTreeMap<u64, Stream> {
    let fields = [
        "tcp.srcport",
        "tcp.dstport",
        "tcp.analysis.initial_rtt",
        "tcp.completeness",
        "tcp.analysis.retransmission",
    ];
    let output = Command::new("tshark")
        .args(["-2", "-n", "-r", file.name(), "-Y", "tcp", "-T", "fields", "-E", "separator=,"])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .expect("tshark (package tshark) is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut streams = BTreeMap::<u64, Stream>::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut values = line.split(',');
        let mut next = || values.next().unwrap_or_default().to_owned();
        let ports = [next(), next()].map(|port| port.parse::<u64>().expect("a port"));
        let [rtt, completeness, again] = [next(), next(), next()];
        // The scenarios' servers have lower ports than the clients, which the kernel chooses.
        let stream = streams.entry(ports[0].max(ports[1])).or_default();
        stream.initial_rtt = rtt.parse().ok().or(stream.initial_rtt);
        stream.completeness = completeness.parse().unwrap_or(stream.completeness);
        stream.again += u64::from(!again.is_empty());
    }
    assert!(!streams.is_empty(), "tshark saw nothing");
    streams
}

/// Reads the file and holds every connection against tshark's.
#[track_caller]
fn second(lab: &Lab, file: &Kept) {
    let run = read(lab, file, &["--local", &both_ends(lab)]);
    let of_tshark = tshark(file);
    let clients: Vec<&Value> =
        run.fine().connections().into_iter().filter(|c| c["role"] == "client").collect();
    assert_eq!(clients.len(), of_tshark.len(), "{of_tshark:?}\n{}", run.dump());
    for client in clients {
        let stream = &of_tshark[&client["local_port"].as_u64().expect("a port")];
        let server = run
            .connections()
            .into_iter()
            .find(|c| c["role"] == "server" && c["remote_port"] == client["local_port"]);
        let dump = format!("{stream:?}\n{client}\n{server:?}");
        let bit = |bit: u64| stream.completeness & bit != 0;
        let outcome = client["outcome"].as_str().expect("an outcome");
        match outcome {
            "closed" => assert!(bit(1) && bit(2) && bit(4) && bit(16) && !bit(32), "{dump}"),
            "refused" => assert!(bit(1) && !bit(2) && bit(32), "{dump}"),
            _ => assert!(bit(32), "{dump}"),
        }
        let half = |name: &str| client["path_rtt_us"][name].as_f64();
        if let (Some(first), Some(second)) = (half("syn_to_synack"), half("synack_to_ack")) {
            let rtt = stream.initial_rtt.expect("it saw the handshake") * 1e6;
            // Each half is rounded to a microsecond.
            assert!((first + second - rtt).abs() <= 2.0, "{dump}");
        }
        let again = |of: &Value, name: &str| of[name].as_u64().unwrap_or(0);
        let mut all = again(client, "syn_retransmits") + again(client, "retransmits");
        if let Some(server) = server {
            all += again(server, "synack_retransmits") + again(server, "retransmits");
        }
        assert_eq!(all, stream.again, "{dump}");
    }
}

#[test]
fn ends_of_every_kind() {
    scenario(|lab| {
        let (_, file) = recorded(lab, ("vb", &[]), &[], 7, || {
            let (client, mut server) = pair(lab);
            drop(client);
            server.hear_end();
            pause(300);
            drop(server);
            let (client, server) = pair(lab);
            client.close_with_reset();
            pause(50);
            drop(server);
            let (mut client, server) = pair(lab);
            drop(server);
            client.hear_end();
            drop(client);
            lab.a.try_connect(lab.b4_port(9), |_| ()).expect_err("nobody listens");
        });
        second(lab, &file);
    });
}

#[test]
fn what_was_sent_again() {
    scenario(|lab| {
        let (live, file) = recorded(lab, ("vb", &[]), &[], 2, || {
            let listener = lab.b.listen(lab.b4_port(8080));
            lab.b.drop_input("tcp dport 8080");
            std::thread::scope(|scope| {
                let client = scope.spawn(|| lab.a.connect(lab.b4_port(8080)));
                wait_until("SYNs are lost", Duration::from_secs(10), || lab.b.dropped() >= 1);
                lab.b.undrop();
                let mut client = client.join().expect("connected");
                let mut server = accept(&listener);
                client.say(b"ping");
                server.hear(4);
                server.say(b"pong");
                client.hear(4);
                lab.b.drop_input("tcp dport 8080");
                client.say(&[7; 500]);
                wait_until("data is lost", Duration::from_secs(10), || lab.b.dropped() >= 2);
                lab.b.undrop();
                server.hear(500);
                pause(600);
                drop(client);
                server.hear_end();
                pause(300);
            });
        });
        let client = live.client();
        assert!(client["syn_retransmits"].as_u64() >= Some(1), "{client}");
        assert!(client["retransmits"].as_u64() >= Some(1), "{client}");
        second(lab, &file);
    });
}
