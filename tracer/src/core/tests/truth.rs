//! A host whose sockets live as the kernel lets them, and a ring that loses some of their events:
//! what the core says must be true or unknown, never wrong.

use std::collections::HashMap;

use proptest::prelude::*;
use tracer_common::state::TcpState;

use super::world::*;
use crate::core::event::{Event, MonoNs, SocketEvent, SynSeen};
use crate::core::record::{Connection, HandshakeSource, Outcome, Phases, Record, Role};
use crate::core::{Config, Core};

/// Unit of time: long enough for connections to get stuck.
const TICK: u64 = 100 * MS;
const FOLDED: u64 = 6 * US;

/// One socket's life: where it goes, and how many ticks it stays in each state.
#[derive(Clone, Debug)]
struct Life {
    role: Role,
    start: u64,
    /// States after SYN_SENT or SYN_RECV, with the ticks spent in the state before.
    path: Vec<(TcpState, u64)>,
    errno: i32,
    handshake: u64,
    accept: Option<u64>,
    /// Which of its events (the accept last) are lost.
    lost: Vec<bool>,
}

fn life() -> impl Strategy<Value = Life> {
    let ends: Vec<(Vec<TcpState>, i32)> = vec![
        (vec![Established, FinWait1, FinWait2, Close], 0),
        (vec![Established, FinWait1, Closing, Close], 0),
        (vec![Established, CloseWait, LastAck, Close], 0),
        (vec![Established, FinWait1, Close], libc::ETIMEDOUT),
        (vec![Established, CloseWait, Close], libc::EPIPE),
        (vec![Established, Close], libc::ECONNRESET),
        (vec![Close], libc::ECONNREFUSED),
        // Still there when the story ends.
        (vec![Established], 0),
        (vec![Established, CloseWait], 0),
        (vec![Established, FinWait1, FinWait2], 0),
    ];
    (
        prop::sample::select(ends),
        any::<bool>(),
        0..100_u64,
        prop::collection::vec(1..80_u64, 4),
        1..10_u64,
        prop::option::of(0..30_u64),
        prop::collection::vec(prop::bool::weighted(0.25), 6),
    )
        .prop_map(|((states, errno), server, start, stays, handshake, accept, lost)| {
            let server = server && states != [Close];
            Life {
                role: if server { Role::Server } else { Role::Client },
                start,
                path: states.into_iter().zip(stays).collect(),
                errno,
                handshake,
                accept: accept.filter(|_| server),
                lost,
            }
        })
}

/// What is true of a life.
#[derive(Default, Debug)]
struct Truth {
    states: Vec<(u64, TcpState)>,
    phases: HashMap<TcpState, u64>,
    handshake: Option<u64>,
    close_from: Option<u64>,
    end: Option<u64>,
    accept_wait: Option<u64>,
    lost_transition: bool,
    seen: bool,
}

impl Truth {
    fn state_at(&self, at: u64) -> Option<TcpState> {
        self.states.iter().rev().find(|(since, _)| *since <= at).map(|(_, state)| *state)
    }
}

/// The events of a life with their time and whether they are lost, and the truth about it.
fn live(life: &Life, sock: &Sock) -> (Vec<(u64, bool, Event)>, Truth) {
    let mut truth = Truth::default();
    let mut events = Vec::new();
    let mut lost = life.lost.iter().copied();
    // No two events of the story at the same time.
    let mut now = life.start * TICK + sock.cookie * US;
    let event = |at: u64, old, new| {
        let mut event = SocketEvent {
            at: time(at),
            cookie: sock.cookie,
            netns: NETNS,
            local: sock.local,
            remote: sock.remote,
            old,
            new,
            old_since: None,
            syn: None,
            owner: None,
            cgroup: 0,
            tcp: tcp(0, 0, 0, 0),
            sk_err: 0,
            fin_received: true,
            reset_received: false,
            fastopen_connect: false,
            orphaned: false,
            send_shutdown: false,
            v6only: false,
        };
        if new == Close {
            event.sk_err = life.errno;
        }
        event
    };
    let mut push = |at: u64, event: Event, lost: bool, truth: &mut Truth| {
        if matches!(event, Event::Transition(_)) {
            truth.lost_transition |= lost;
        }
        truth.seen |= !lost;
        events.push((at, lost, event));
    };
    let mut state = match life.role {
        Role::Client => {
            let lost = lost.next().unwrap_or(false);
            push(now, Event::Transition(event(now, Close, SynSent)), lost, &mut truth);
            SynSent
        }
        Role::Server => SynRecv,
    };
    truth.states.push((now, state));
    for (n, (next, stay)) in life.path.iter().enumerate() {
        let since = now;
        now += if state == SynRecv { FOLDED } else { stay * TICK };
        let mut event = event(now, state, *next);
        if state == SynRecv {
            event.old_since = Some(time(since));
            event.syn =
                Some(SynSeen { first: MonoNs(time(now).0 - life.handshake * MS), repeats: 0 });
        }
        let is_lost = lost.next().unwrap_or(false);
        push(now, Event::Transition(event), is_lost, &mut truth);
        *truth.phases.entry(state).or_default() += now - since;
        if n == 0 && *next == Established {
            truth.handshake = Some(match life.role {
                Role::Client => now - since,
                Role::Server => life.handshake * MS,
            });
            if let Some(wait) = life.accept {
                truth.accept_wait = Some(wait * TICK + 1);
            }
        }
        if matches!(next, FinWait1 | CloseWait) {
            truth.close_from = Some(now);
        }
        state = *next;
        truth.states.push((now, state));
        if state == Close {
            truth.end = Some(now);
        }
    }
    if let (Some(wait), Some((established, _))) = (life.accept, truth.states.get(1).copied()) {
        let at = established + wait * TICK + 1;
        match truth.state_at(at) {
            Some(state) if state != Close => {
                let is_lost = lost.next().unwrap_or(false);
                let mut accepted = event(at, state, state);
                accepted.owner = process(1, "server");
                push(at, Event::Accepted(accepted), is_lost, &mut truth);
            }
            _ => truth.accept_wait = None,
        }
    }
    (events, truth)
}

/// Whatever is said is true.
fn check(got: &Connection, truth: &Truth, life: &Life) -> Result<(), TestCaseError> {
    let Phases {
        syn_sent,
        syn_recv,
        established,
        fin_wait1,
        fin_wait2,
        close_wait,
        closing,
        last_ack,
    } = got.phases;
    let phases = [
        (SynSent, syn_sent),
        (SynRecv, syn_recv),
        (Established, established),
        (FinWait1, fin_wait1),
        (FinWait2, fin_wait2),
        (CloseWait, close_wait),
        (Closing, closing),
        (LastAck, last_ack),
    ];
    let ended = got.outcome.is_some_and(|outcome| outcome != Outcome::Unknown);
    for (state, phase) in phases {
        let really = truth.phases.get(&state).copied();
        if phase.is_some() {
            prop_assert_eq!(phase, really, "{} of {:?}", state, got);
        } else if !truth.lost_transition && ended {
            prop_assert_eq!(really, None, "{} of {:?}", state, got);
        }
    }
    if let Some(handshake) = got.handshake {
        prop_assert_eq!(Some(handshake), truth.handshake);
        let source = match life.role {
            Role::Client => HandshakeSource::State,
            Role::Server => HandshakeSource::Syn,
        };
        prop_assert_eq!(got.handshake_source, Some(source));
    }
    if let Some(close) = got.close {
        let really = truth.end.zip(truth.close_from).map(|(end, from)| end - from);
        prop_assert_eq!(Some(close), really);
    }
    if let Some(wait) = got.accept_wait {
        prop_assert_eq!(Some(wait), truth.accept_wait);
    }
    if let Some(role) = got.role {
        prop_assert_eq!(role, life.role);
    }
    if ended {
        let outcome = match life.errno {
            0 => Outcome::Closed,
            libc::ETIMEDOUT => Outcome::TimedOut,
            libc::ECONNREFUSED => Outcome::Refused,
            _ => Outcome::ResetByRemote,
        };
        prop_assert_eq!(got.outcome, Some(outcome));
        prop_assert_eq!(Some(got.end), truth.end.map(time));
    }
    prop_assert_eq!(got.events_lost, truth.lost_transition, "{:?}", got);
    Ok(())
}

fn run(lives: &[Life]) -> Result<(), TestCaseError> {
    let mut core = Core::new(Config { started: STARTED, ..Config::default() });
    let mut story = Vec::new();
    let mut truths = HashMap::new();
    let mut socks = HashMap::new();
    for (n, life) in lives.iter().enumerate() {
        let cookie = n as u64 + 1;
        let sock = match life.role {
            Role::Client => Sock::new(cookie, "10.0.0.1:40000", "10.0.0.2:80", Close),
            Role::Server => Sock::new(cookie, "10.0.0.1:8080", "10.0.0.2:50000", Close),
        };
        let (events, truth) = live(life, &sock);
        story.extend(events);
        truths.insert(cookie, (truth, life));
        socks.insert(cookie, sock);
    }
    story.sort_by_key(|(at, ..)| *at);
    let mut out = Vec::new();
    let mut lost = false;
    let mut now = 0;
    for (at, is_lost, event) in &story {
        // Wake up when asked to, and no later than the next event.
        while let Some(due) = core.poll_timeout().filter(|due| *due < time(*at)) {
            core.handle_timeout(due, &mut out);
        }
        if *is_lost {
            lost = true;
            core.events_were_lost(time(*at));
        } else {
            core.handle(event, &mut out);
        }
        now = *at;
    }
    let list: Vec<_> = truths
        .iter()
        .filter_map(|(cookie, (truth, _))| {
            let mut sock = socks.get(cookie)?.clone();
            sock.state = truth.state_at(now).filter(|state| *state != Close)?;
            Some(sock.listed())
        })
        .collect();
    if lost {
        core.reconcile(time(now + MS), &[NETNS], &list, &mut out);
    }
    let open = core.open(time(now + MS));
    core.finish(&mut out);

    // What is open is what is open in truth, each in its state.
    prop_assert_eq!(open.len(), list.len());
    for open in &open {
        let (truth, life) = &truths[&open.connection.cookie];
        prop_assert_eq!(Some(open.state), truth.state_at(now));
        if truth.seen && !truth.lost_transition {
            let since = truth.states.last().map(|(since, _)| now + MS - since);
            prop_assert_eq!(Some(open.in_state), since);
        }
        let mut so_far = open.connection.clone();
        // The running phase is longer than it was at the end of the story.
        so_far.phases = Phases::default();
        check(&so_far, truth, life)?;
    }
    let mut told = HashMap::new();
    for record in &out {
        match record {
            Record::Connection(got) => {
                let (truth, life) = &truths[&got.cookie];
                *told.entry(got.cookie).or_insert(0) += 1;
                check(got, truth, life)?;
                prop_assert!(truth.end.is_some(), "{:?} is open", got);
            }
            Record::Stuck(stuck) => {
                let (truth, _) = &truths[&stuck.connection.cookie];
                let at = stuck.connection.end.since(STARTED);
                prop_assert_eq!(Some(stuck.state), truth.state_at(at), "{:?}", stuck);
            }
            Record::State(_) | Record::Alert(_) | Record::Segment(_) => {}
        }
    }
    for (cookie, (truth, _)) in &truths {
        let expected = i32::from(truth.end.is_some() && truth.seen);
        prop_assert_eq!(told.get(cookie).copied().unwrap_or(0), expected);
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_said_is_true_whatever_is_lost(lives in prop::collection::vec(life(), 1..12)) {
        run(&lives)?;
    }

    #[test]
    fn without_loss_everything_is_known(lives in prop::collection::vec(life(), 1..12)) {
        let mut lives = lives;
        for life in &mut lives {
            life.lost.clear();
        }
        run(&lives)?;
    }
}
