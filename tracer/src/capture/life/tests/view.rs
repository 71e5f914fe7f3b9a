//! Whose point of view a connection is told from.

use crate::capture::segment::Direction;
use crate::core::Prefix;

use super::film::*;

fn local(film: &mut Film) -> (Vec<u16>, Option<u64>) {
    film.handshake().at(10 * MS).s("PA", 1, 1, 1);
    let mut open = film.open();
    open.sort_by_key(|open| open.connection.local.port());
    let ports = open.iter().map(|open| open.connection.local.port()).collect();
    (ports, open[0].connection.synack_rtt)
}

#[test]
fn directions_tell_the_local_end() {
    let mut film = Film::new();
    film.direction = Some(Direction::In);
    // Only the first segment counts: this film has one direction.
    assert_eq!(local(&mut film), (vec![80], Some(2 * MS)));
    let mut film = Film::new();
    film.direction = Some(Direction::Out);
    assert_eq!(local(&mut film), (vec![40000], Some(MS)));
}

#[test]
fn addresses_of_interfaces_tell_it() {
    let mut film = Film::new();
    film.lives.interface_has("10.0.0.1".parse().unwrap());
    assert_eq!(local(&mut film), (vec![40000], Some(MS)));
}

#[test]
fn one_host_talking_to_itself_is_told_from_both_ends() {
    let mut film = Film::new();
    film.client.socket = "10.0.0.2:40000".parse().unwrap();
    assert_eq!(local(&mut film), (vec![80, 40000], Some(2 * MS)));
    let mut film = Film::new();
    film.client.socket = "[::1]:40000".parse().unwrap();
    film.server.socket = "[::1]:80".parse().unwrap();
    assert_eq!(local(&mut film).0, [80, 40000]);
}

#[test]
fn what_the_user_says_goes_first() {
    let told = |config: &mut crate::capture::life::Config| {
        config.local = vec![Prefix::new("10.0.0.0".parse().unwrap(), 31).unwrap()];
    };
    let mut film = Film::with(told);
    film.direction = Some(Direction::In);
    // The handshake as seen from a client; where the capture was taken is another question.
    assert_eq!(local(&mut film), (vec![40000], None));
    // Where neither end is meant, the rest decides.
    let mut film = Film::with(told);
    film.client.socket = "192.0.2.1:40000".parse().unwrap();
    assert_eq!(local(&mut film).0, [80]);
}

#[test]
fn a_known_listener_is_the_server_of_one_met_in_its_middle() {
    let mut film = Film::new();
    film.server.socket.set_port(50000);
    film.handshake().at(4 * MS).s("A", 1, 1, 0).at(5 * MS).c("R", 1, 0, 0);
    film.client.socket.set_port(40001);
    film.at(10 * MS).c("PA", 10, 10, 5).s("A", 10, 15, 0);
    let open = film.open();
    assert_eq!(open[0].connection.local.port(), 50000);
    assert_eq!(open[0].connection.role, None);
}

#[test]
fn a_socket_that_talks_to_itself_is_left_out() {
    let mut film = Film::new();
    film.client = film.server;
    film.c("S", 0, 0, 0).c("SA", 0, 1, 0).c("A", 1, 1, 0);
    assert_eq!((film.connections(), film.open()), (vec![], vec![]));
}
