//! One socket that connects twice: what the first try left behind is not the second one's.

use crate::support::sock::{Talk as _, accept, tcp};
use crate::support::{Check, Lab, Run, Tracer, pause, scenario};

/// Tries a closed port, waits, and connects the same socket to port 8080. Returns what tracer,
/// started with `args`, said.
fn refused_then_connected(lab: &Lab, args: &[&str]) -> Run {
    let tracer = Tracer::start(lab, args);
    let server = lab.b4_port(8080);
    let listener = lab.b.listen(server);
    let socket = lab.a.run(|| tcp(&server));
    let error = socket.connect(&lab.b4_port(9).into()).expect_err("nobody listens");
    assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
    pause(500);
    socket.connect(&server.into()).expect("connect()");
    let mut accepted = accept(&listener);
    drop(socket);
    accepted.hear_end();
    drop(accepted);
    pause(200);
    tracer.stop()
}

#[test]
fn both_tries_have_their_own_record() {
    scenario(|lab| {
        let run = refused_then_connected(lab, &["--role", "client"]);
        let mut outcomes: Vec<_> =
            run.fine().connections().iter().map(|c| c["outcome"].to_string()).collect();
        outcomes.sort();
        assert_eq!(outcomes, ["\"closed\"", "\"refused\""], "{}", run.dump());
        for record in run.connections() {
            assert_eq!(record["events_lost"], false, "{record}");
        }
    });
}

#[test]
fn the_second_handshake_does_not_begin_with_the_first_try() {
    scenario(|lab| {
        // The first try does not match, which only shows when its local port is chosen.
        let run = refused_then_connected(lab, &["--port", "8080", "--role", "client"]);
        let _ = Check::any_conn(run.fine().client())
            .eq("outcome", "closed")
            .eq("handshake_source", "state")
            .within("handshake_us", 1.0..=250_000.0)
            .eq("events_lost", false);
    });
}
