//! Whatever a capture loses, repeats or reorders: nothing is made up, and memory is bounded.

use proptest::prelude::*;

use super::film::*;
use crate::core::event::MonoNs;

/// How a conversation ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Finale {
    /// By so many segments; whose FIN is first.
    Close {
        client_first: bool,
        segments: u8,
    },
    Crossing,
    Reset {
        by_client: bool,
    },
    Open,
}

#[derive(Clone, Debug)]
struct Conversation {
    /// By the client, and how much.
    data: Vec<(bool, u32)>,
    finale: Finale,
}

/// What happens to a segment on its way into the capture.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Seen,
    Missed,
    /// Seen at a second interface, so many microseconds later.
    Twice(u16),
    /// Seen late, behind what follows within so many microseconds.
    Late(u16),
}

fn finale() -> impl Strategy<Value = Finale> {
    prop_oneof![
        (any::<bool>(), 3u8..=4)
            .prop_map(|(client_first, segments)| Finale::Close { client_first, segments }),
        Just(Finale::Crossing),
        any::<bool>().prop_map(|by_client| Finale::Reset { by_client }),
        Just(Finale::Open),
    ]
}

fn conversation() -> impl Strategy<Value = Conversation> {
    let data = prop::collection::vec((any::<bool>(), 1u32..3000), 0..6);
    (data, finale()).prop_map(|(data, finale)| Conversation { data, finale })
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Seen),
        2 => Just(Fate::Missed),
        1 => (1u16..400).prop_map(Fate::Twice),
        1 => (1u16..900).prop_map(Fate::Late),
    ]
}

/// The segments of a conversation, half a millisecond apart.
fn segments(of: &Conversation) -> Vec<(bool, Seg)> {
    let mut all =
        vec![(true, seg("S", 0, 0, 0)), (false, seg("SA", 0, 1, 0)), (true, seg("A", 1, 1, 0))];
    let (mut c, mut s) = (1, 1);
    for (by_client, len) in &of.data {
        if *by_client {
            all.push((true, seg("PA", c, s, *len)));
            c += len;
            all.push((false, seg("A", s, c, 0)));
        } else {
            all.push((false, seg("PA", s, c, *len)));
            s += len;
            all.push((true, seg("A", c, s, 0)));
        }
    }
    match of.finale {
        Finale::Close { client_first, segments } => {
            let (mine, peers) = if client_first { (c, s) } else { (s, c) };
            all.push((client_first, seg("FA", mine, peers, 0)));
            if segments == 4 {
                all.push((!client_first, seg("A", peers, mine + 1, 0)));
            }
            all.push((!client_first, seg("FA", peers, mine + 1, 0)));
            all.push((client_first, seg("A", mine + 1, peers + 1, 0)));
        }
        Finale::Crossing => {
            all.push((true, seg("FA", c, s, 0)));
            all.push((false, seg("FA", s, c, 0)));
            all.push((true, seg("A", c + 1, s + 1, 0)));
            all.push((false, seg("A", s + 1, c + 1, 0)));
        }
        Finale::Reset { by_client: true } => all.push((true, seg("RA", c, s, 0))),
        Finale::Reset { by_client: false } => all.push((false, seg("RA", s, c, 0))),
        Finale::Open => {}
    }
    all
}

/// What the capture has of it: when, at which interface, and what.
fn capture(of: &Conversation, fates: &[Fate]) -> Vec<(u64, u32, bool, Seg)> {
    let mut seen = Vec::new();
    for (number, (by_client, segment)) in segments(of).into_iter().enumerate() {
        let at = number as u64 * MS / 2;
        match fates.get(number).copied().unwrap_or(Fate::Seen) {
            Fate::Seen => seen.push((at, 0, by_client, segment)),
            Fate::Missed => {}
            Fate::Twice(later) => {
                seen.push((at, 0, by_client, segment));
                seen.push((at + u64::from(later) * US, 1, by_client, segment));
            }
            Fate::Late(later) => seen.push((at + u64::from(later) * US, 0, by_client, segment)),
        }
    }
    seen.sort_by_key(|(at, ..)| *at);
    seen
}

/// What is true, seen from the client or the server.
fn truth(finale: Finale, client: bool) -> (Option<Outcome>, Option<CloseInitiator>) {
    let whose = |mine: bool| if mine { CloseInitiator::Local } else { CloseInitiator::Remote };
    match finale {
        Finale::Close { client_first, .. } => {
            (Some(Outcome::Closed), Some(whose(client_first == client)))
        }
        Finale::Crossing => (Some(Outcome::Closed), Some(CloseInitiator::Both)),
        Finale::Reset { by_client } if by_client == client => (Some(Outcome::ResetByLocal), None),
        Finale::Reset { .. } => (Some(Outcome::ResetByRemote), None),
        Finale::Open => (None, None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// A capture with holes, copies and segments out of order says less, and nothing wrong.
    #[test]
    fn nothing_is_made_up(
        conversation in conversation(),
        fates in prop::collection::vec(fate(), 0..24),
        cut in 0usize..8,
        client in any::<bool>(),
    ) {
        let mut film = if client { Film::at_client() } else { Film::at_server() };
        let cut = if cut > 4 { 0 } else { cut };
        let captured = capture(&conversation, &fates);
        for (at, interface, by_client, segment) in captured.into_iter().skip(cut) {
            film.interface = interface;
            film.at(at).send(by_client, segment);
        }
        let (outcome, initiator) = truth(conversation.finale, client);
        let open = film.open();
        let ended = film.connections();
        prop_assert!(open.len() + ended.len() <= 1, "{:#?} {:#?}", open, ended);
        for c in ended.iter().chain(open.iter().map(|open| &open.connection)) {
            if !matches!(c.outcome, None | Some(Outcome::Unknown | Outcome::Cancelled)) {
                prop_assert_eq!(c.outcome, outcome, "{:#?}", c);
            }
            // While it is open, the other FIN may still be on its way.
            let crossing = initiator == Some(CloseInitiator::Both) && c.outcome.is_none();
            if c.close_initiator.is_some() && !crossing {
                prop_assert_eq!(c.close_initiator, initiator, "{:#?}", c);
            }
            if c.role.is_some() {
                prop_assert_eq!(c.role == Some(Role::Client), client);
            }
            let sum = |by: bool| -> u64 {
                conversation.data.iter().filter(|(who, _)| *who == by).map(|(_, len)| u64::from(*len)).sum()
            };
            if c.outcome == Some(Outcome::Closed) {
                let bytes = (c.bytes_sent, c.bytes_received);
                prop_assert!(bytes.0.is_none_or(|sent| sent == sum(client)), "{:#?}", c);
                prop_assert!(bytes.1.is_none_or(|received| received == sum(!client)), "{:#?}", c);
            }
            prop_assert!(c.retransmits.is_none_or(|again| again == 0), "{:#?}", c);
            prop_assert!(c.syn_retransmits.is_none_or(|again| again == 0));
            prop_assert!(c.synack_retransmits.is_none_or(|again| again == 0));
        }
    }

    /// A whole capture tells everything, whatever copies it holds.
    #[test]
    fn a_whole_capture_tells_all(
        conversation in conversation(),
        copies in prop::collection::vec(prop::option::of(1u16..400), 0..24),
        client in any::<bool>(),
    ) {
        let fates: Vec<_> =
            copies.iter().map(|later| later.map_or(Fate::Seen, Fate::Twice)).collect();
        let mut film = if client { Film::at_client() } else { Film::at_server() };
        for (at, interface, by_client, segment) in capture(&conversation, &fates) {
            film.interface = interface;
            film.at(at).send(by_client, segment);
        }
        let (outcome, initiator) = truth(conversation.finale, client);
        let open = film.open();
        let ended = film.connections();
        prop_assert_eq!(open.len() + ended.len(), 1);
        for c in ended.iter().chain(open.iter().map(|open| &open.connection)) {
            prop_assert_eq!((c.outcome, c.close_initiator), (outcome, initiator), "{:#?}", c);
            prop_assert!(!c.events_lost && c.handshake.is_some());
        }
    }

    /// Anything at all, from few addresses: no panic, and never more than was allowed.
    #[test]
    fn chaos_is_survived_in_bounded_memory(
        chaos in prop::collection::vec(
            (any::<bool>(), 0u16..40, any::<u8>(), 0u32..40, 0u32..40, 0u32..4, any::<u16>(), 0u64..900),
            0..400,
        ),
        wild in prop::collection::vec((0usize..400, any::<u32>(), any::<u32>(), any::<u32>()), 0..40),
        most in 1usize..12,
    ) {
        let mut film = Film::with(|config| config.max_connections = most);
        let mut now = 0;
        for (number, (by_client, port, flags, seq, ack, len, window, after)) in chaos.iter().enumerate() {
            film.client.socket.set_port(40_000 + port);
            let mut segment = seg("", *seq, *ack, *len);
            (segment.flags, segment.window) = (*flags, *window);
            for (_, seq, ack, len) in wild.iter().filter(|(at, ..)| *at == number) {
                (segment.seq, segment.ack, segment.len) = (*seq, *ack, *len);
            }
            now += after * MS;
            film.at(now).send(*by_client, segment);
            prop_assert!(film.lives.followed() <= most);
            prop_assert!(film.lives.waiting() <= 2 * super::super::MOST_ENDED + 2);
        }
        film.finish();
        let open = film.core.open(MonoNs(BEGIN.0 + now));
        prop_assert!(open.len() <= most * 2);
        let mut cookies: Vec<_> = film
            .records
            .iter()
            .filter_map(Record::connection)
            .map(|connection| connection.cookie)
            .chain(open.iter().map(|open| open.connection.cookie))
            .collect();
        let told = cookies.len();
        cookies.sort_unstable();
        cookies.dedup();
        prop_assert_eq!(cookies.len(), told, "told twice");
    }
}

#[test]
fn a_flood_of_syns_does_not_push_out_connections() {
    let mut film = Film::with(|config| {
        config.max_connections = 64;
        config.rows = false;
    });
    for port in 0..16 {
        film.client.socket.set_port(1000 + port);
        let now = film.handshake().now;
        film.at(now + MS).s("PA", 1, 1, 10);
    }
    for flood in 0..5000 {
        film.client.socket.set_port(2000 + flood);
        film.at(SECOND + u64::from(flood) * US).c("S", 0, 0, 0).s("SA", 0, 1, 0);
    }
    assert_eq!(film.lives.followed(), 64);
    assert!(film.lives.evicted() >= 4900);
    for port in 0..16 {
        film.client.socket.set_port(1000 + port);
        film.at(3 * SECOND).c("FA", 1, 11, 0).s("FA", 11, 2, 0).c("A", 2, 12, 0);
    }
    let closed = film.connections();
    assert_eq!(closed.len(), 16);
    assert!(closed.iter().all(|c| c.outcome == Some(Outcome::Closed)));
    assert_eq!(film.core.totals().evicted, 0);
}
