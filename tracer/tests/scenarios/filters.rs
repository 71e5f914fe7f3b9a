//! Filters: what matches is never lost, what does not match never shows.

use std::net::{IpAddr, SocketAddr};

use crate::support::sock::{Talk as _, accept, set_option};
use crate::support::{Check, Child, Lab, Run, Tracer, pause, scenario, wait_until};

/// A connection from a to b's `port`, closed by the client. Returns the client's port.
fn connection(lab: &Lab, server: SocketAddr) -> u16 {
    connection_from(lab, server, None)
}

/// The same, from a chosen address.
fn connection_from(lab: &Lab, server: SocketAddr, from: Option<SocketAddr>) -> u16 {
    let listener = lab.b.listen(server);
    let client = lab
        .a
        .try_connect(server, |socket| {
            if let Some(from) = from {
                socket.bind(&from.into()).expect("bind()");
            }
        })
        .expect("connect()");
    let port = client.local_addr().expect("an address").port();
    let mut accepted = accept(&listener);
    drop(client);
    accepted.hear_end();
    port
}

/// What of a record tells which connection it is.
fn ends(run: &Run) -> Vec<(String, u64)> {
    let mut ends: Vec<(String, u64)> = run
        .fine()
        .connections()
        .into_iter()
        .map(|c| {
            let port = if c["role"] == "server" { &c["local_port"] } else { &c["remote_port"] };
            let role = c["role"].as_str().unwrap_or("null").to_owned();
            (role, port.as_u64().unwrap_or(0))
        })
        .collect();
    ends.sort();
    ends
}

fn both(ports: &[u64]) -> Vec<(String, u64)> {
    let of = |role: &str| ports.iter().map(|port| (role.to_owned(), *port)).collect::<Vec<_>>();
    [of("client"), of("server")].concat()
}

/// Connections to four ports of host b, one after another.
fn four_ports(lab: &Lab) {
    for port in [8080, 8081, 8090, 9000] {
        connection(lab, lab.b4_port(port));
    }
}

#[test]
fn port_of_either_end() {
    scenario(|lab| {
        // At SYN_SENT the client's own port is not known yet; the remote one matches.
        let tracer = Tracer::start(lab, &["--port", "8081"]);
        four_ports(lab);
        assert_eq!(ends(&tracer.stop_after(2)), both(&[8081]));
    });
}

#[test]
fn ports_as_lists_and_ranges() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["-p", "9000", "-p", "1,8080-8081"]);
        four_ports(lab);
        assert_eq!(ends(&tracer.stop_after(6)), both(&[8080, 8081, 9000]));
    });
}

#[test]
fn remote_port_is_the_clients_record_only() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--remote-port", "8080-8081"]);
        four_ports(lab);
        let run = tracer.stop_after(2);
        assert_eq!(ends(&run), [("client".to_owned(), 8080), ("client".to_owned(), 8081)]);
    });
}

#[test]
fn local_port_is_the_servers_record_only() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--local-port", "8080"]);
        four_ports(lab);
        assert_eq!(ends(&tracer.stop_after(1)), [("server".to_owned(), 8080)]);
    });
}

#[test]
fn local_port_that_the_kernel_chooses_at_connect() {
    scenario(|lab| {
        // Every port connect() may choose here, and none of the listeners'.
        lab.a.sysctl("ipv4/ip_local_port_range", "41000 41063");
        let tracer = Tracer::start(lab, &["--local-port", "41000-41063"]);
        let port = connection(lab, lab.b4_port(8080));
        assert!((41_000..=41_063).contains(&port));
        let run = tracer.stop_after(1);
        let _ = Check::conn(run.fine().client())
            .eq("local_port", port)
            .eq("handshake_source", "state")
            .brief("phases_us/syn_sent")
            .phases(&["syn_sent", "established", "fin_wait1", "fin_wait2"])
            .owned_here();
        assert_eq!(run.connections().len(), 1);
    });
}

#[test]
fn local_address_bound_without_a_port() {
    const IP_BIND_ADDRESS_NO_PORT: i32 = 24;
    scenario(|lab| {
        lab.a.sysctl("ipv4/ip_local_port_range", "41000 41063");
        let tracer = Tracer::start(lab, &["--local-port", "41000-41063", "--states"]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let a4 = SocketAddr::new(lab.a4(), 0);
        let client = lab
            .a
            .try_connect(lab.b4_port(8080), |socket| {
                set_option(socket, libc::IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
                socket.bind(&a4.into()).expect("bind()");
            })
            .expect("connect()");
        let mut accepted = accept(&listener);
        drop(client);
        accepted.hear_end();
        drop(accepted);
        let run = tracer.stop_after(1);
        let _ = Check::conn(run.fine().client())
            .phases(&["syn_sent", "established", "fin_wait1", "fin_wait2"])
            .owned_here();
        let first = run.all("state").first().copied().cloned().unwrap_or_default();
        assert_eq!(first["new_state"], "SYN_SENT", "{}", run.dump());
    });
}

#[test]
fn local_port_that_does_not_match_shows_nothing() {
    scenario(|lab| {
        lab.a.sysctl("ipv4/ip_local_port_range", "41000 41063");
        let tracer = Tracer::start(lab, &["--local-port", "41064-41070", "--states"]);
        four_ports(lab);
        pause(300);
        let run = tracer.stop();
        assert_eq!(run.fine().connections().len(), 0, "{}", run.dump());
        assert_eq!(run.all("state").len(), 0, "{}", run.dump());
    });
}

#[test]
fn host_prefixes() {
    scenario(|lab| {
        let near = lab.other4(66);
        lab.a.sh(&format!("ip addr add {near}/24 dev va"));
        let prefix = format!("{}/26", lab.other4(64));
        let tracer = Tracer::start_in(&lab.b, &["--host", &prefix]);
        let from = |ip: IpAddr| Some(SocketAddr::new(ip, 0));
        connection_from(lab, lab.b4_port(8080), from(lab.a4()));
        connection_from(lab, lab.b4_port(8081), from(near.into()));
        assert_eq!(ends(&tracer.stop_after(2)), both(&[8081]));
    });
}

#[test]
fn one_ipv6_host() {
    scenario(|lab| {
        let tracer = Tracer::start_in(&lab.b, &["--host", &lab.a6().to_string()]);
        connection(lab, lab.b4_port(8080));
        connection(lab, SocketAddr::new(lab.b6(), 8081));
        assert_eq!(ends(&tracer.stop_after(2)), both(&[8081]));
    });
}

#[test]
fn families() {
    scenario(|lab| {
        for (flag, port) in [("-4", 8080), ("-6", 8082)] {
            let tracer = Tracer::start(lab, &[flag]);
            connection(lab, lab.b4_port(8080));
            connection(lab, SocketAddr::new(lab.b6(), 8082));
            assert_eq!(ends(&tracer.stop_after(2)), both(&[port]));
        }
    });
}

#[test]
fn ipv4_mapped_counts_as_ipv4() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["-4", "--local-port", "8080"]);
        let any: SocketAddr = "[::]:8080".parse().expect("an address");
        let listener = lab.b.listen_with(any, 16, |s| s.set_only_v6(false).expect("IPV6_V6ONLY"));
        let client = lab.a.connect(lab.b4_port(8080));
        let mut accepted = accept(&listener);
        drop(client);
        accepted.hear_end();
        drop(accepted);
        assert_eq!(ends(&tracer.stop_after(1)), [("server".to_owned(), 8080)]);
    });
}

#[test]
fn netns_by_inode() {
    scenario(|lab| {
        let tracer = Tracer::start_in(&lab.b, &["--netns", &lab.a.inode().to_string()]);
        connection(lab, lab.b4_port(8080));
        let run = tracer.stop_after(1);
        assert_eq!(ends(&run), [("client".to_owned(), 8080)]);
        let _ = Check::conn(run.client()).eq("netns", lab.a.inode());
    });
}

#[test]
fn netns_self() {
    scenario(|lab| {
        let tracer = Tracer::start_in(&lab.b, &["--netns", "self"]);
        connection(lab, lab.b4_port(8080));
        let run = tracer.stop_after(1);
        assert_eq!(ends(&run), [("server".to_owned(), 8080)]);
        let _ = Check::conn(run.server()).eq("netns", lab.b.inode()).eq("handshake_source", "syn");
    });
}

#[test]
fn role() {
    scenario(|lab| {
        for role in ["client", "server"] {
            let tracer = Tracer::start(lab, &["--role", role]);
            connection(lab, lab.b4_port(8080));
            connection(lab, lab.b4_port(8081));
            let run = tracer.stop_after(2);
            assert_eq!(ends(&run), [(role.to_owned(), 8080), (role.to_owned(), 8081)]);
        }
    });
}

/// Two processes connect, and the filter (made from the first one's pid) lets the first through.
fn owner_filter(lab: &Lab, filter: impl FnOnce(u32) -> [String; 2]) {
    let addr = lab.b4_port(8080);
    let listener = lab.b.listen(addr);
    let client = |name| {
        Child::start(&lab.a, name, move |control| {
            control.wait();
            drop(crate::support::sock::connect_here(addr, |_| ()).expect("connect()"));
        })
    };
    let mut clients = [client("wanted"), client("unwanted")];
    let filter = filter(clients[0].pid());
    let tracer = Tracer::start(lab, &filter.each_ref().map(String::as_str));
    for client in &mut clients {
        client.step();
        accept(&listener).hear_end();
    }
    tracer.wait_connections(1);
    pause(300);
    let run = tracer.stop();
    assert_eq!(run.fine().connections().len(), 1, "{}", run.dump());
    let _ = Check::conn(run.client()).owner(clients[0].pid(), "wanted");
}

#[test]
fn pid_that_nobody_has_is_said() {
    scenario(|lab| {
        let run = Tracer::start(lab, &["--pid", "1,4194305", "--duration", "0.2"]).finish();
        let said: Vec<_> = run.stderr.lines().filter(|line| line.contains("--pid")).collect();
        let expected = "tracer: warn: --pid: there is no process 4194305 now";
        assert_eq!(said, [expected], "{}", run.stderr);
    });
}

#[test]
fn pid() {
    scenario(|lab| owner_filter(lab, |pid| ["--pid".to_owned(), pid.to_string()]));
}

#[test]
fn comm() {
    scenario(|lab| owner_filter(lab, |_| ["--comm".to_owned(), "wanted".to_owned()]));
}

/// One connection that is closed, one that is refused, one whose close is slow.
fn good_refused_slow(lab: &Lab) {
    connection(lab, lab.b4_port(8080));
    lab.a.try_connect(lab.b4_port(8081), |_| ()).expect_err("nobody listens");
    let listener = lab.b.listen(lab.b4_port(8082));
    let client = lab.a.connect(lab.b4_port(8082));
    let mut accepted = accept(&listener);
    client.finish();
    accepted.hear_end();
    pause(250);
    drop(accepted);
    wait_until("the client sees the end", std::time::Duration::from_secs(3), || {
        client.take_error().is_ok()
    });
}

#[test]
fn only_failed_ones_are_shown_and_all_are_counted() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--failed"]);
        good_refused_slow(lab);
        pause(300);
        let run = tracer.stop_after(1);
        assert_eq!(ends(&run), [("client".to_owned(), 8081)]);
        let _ = Check::of(run.end()).eq("connections", 5);
    });
}

#[test]
fn only_a_chosen_outcome_is_shown() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--outcome", "refused"]);
        good_refused_slow(lab);
        pause(300);
        let run = tracer.stop_after(1);
        assert_eq!(ends(&run), [("client".to_owned(), 8081)]);
        assert_eq!(run.client()["outcome"], "refused");
    });
}

#[test]
fn only_slow_ones_are_shown() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--slower-than", "200"]);
        good_refused_slow(lab);
        pause(300);
        let run = tracer.stop_after(2);
        assert_eq!(ends(&run), both(&[8082]));
        let _ = Check::of(run.end()).eq("connections", 5);
    });
}

#[test]
fn excluded_ports_and_hosts_are_counted_and_not_shown() {
    scenario(|lab| {
        let near = lab.other4(66);
        lab.a.sh(&format!("ip addr add {near}/24 dev va"));
        let args = ["--exclude-port", "8081", "--exclude-host", &near.to_string()];
        let tracer = Tracer::start(lab, &args);
        connection(lab, lab.b4_port(8080));
        connection(lab, lab.b4_port(8081));
        connection_from(lab, lab.b4_port(8090), Some(SocketAddr::new(near.into(), 0)));
        pause(300);
        let run = tracer.stop_after(2);
        assert_eq!(ends(&run), both(&[8080]));
        let _ = Check::of(run.end()).eq("connections", 6);
    });
}
