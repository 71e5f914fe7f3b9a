use std::net::SocketAddr;

use proptest::prelude::*;
use tracer_common::state::TcpState;

use super::*;
use crate::core::event::{ExistingSocket, MonoNs};
use crate::core::record::ObservedFrom;

fn conn(cookie: u64) -> Conn {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let socket = ExistingSocket {
        cookie,
        netns: 0,
        local: nowhere,
        remote: nowhere,
        state: TcpState::Established,
        owner: None,
        cgroup: 0,
    };
    Conn::listed(&socket, MonoNs(0), MonoNs(0), None, ObservedFrom::Middle)
}

/// Cookies from the front of a list to its back.
fn order(table: &Table, list: List) -> Vec<u64> {
    let mut cookies = Vec::new();
    let (mut at, mut before) = (list.front, NOBODY);
    while let Some(place) = table.place(at) {
        assert_eq!(place.before, before);
        cookies.push(place.conn.cookie);
        (before, at) = (at, place.after);
    }
    assert_eq!((list.back, at), (before, NOBODY));
    assert_eq!(list.len, cookies.len());
    cookies
}

#[test]
fn places_are_used_again() {
    let mut table = Table::default();
    for cookie in 0..10 * CHUNK as u64 {
        let id = table.insert(conn(cookie));
        assert_eq!(table.remove(id), Some(cookie));
        assert!(table.remove(id).is_none());
    }
    assert_eq!((table.chunks.len(), table.len()), (1, 0));
}

proptest! {
    #[test]
    fn both_lists_keep_their_order(steps in prop::collection::vec((0..4_u8, 0..40_u64), 1..400)) {
        let mut table = Table::default();
        let (mut live, mut ended) = (Vec::new(), Vec::new());
        for (step, cookie) in steps {
            let known = table.find(cookie);
            match (step, known) {
                (0, None) => {
                    table.insert(conn(cookie));
                    live.push(cookie);
                }
                (1, Some(id)) if live.contains(&cookie) => {
                    table.touch(id);
                    live.retain(|other| *other != cookie);
                    live.push(cookie);
                }
                (2, Some(id)) if live.contains(&cookie) => {
                    table.end(id);
                    live.retain(|other| *other != cookie);
                    ended.push(cookie);
                }
                (3, Some(id)) => {
                    table.remove(id);
                    live.retain(|other| *other != cookie);
                    ended.retain(|other| *other != cookie);
                }
                _ => {}
            }
            prop_assert_eq!(&order(&table, table.live), &live);
            prop_assert_eq!(&order(&table, table.ended), &ended);
            prop_assert_eq!(table.len(), live.len() + ended.len());
            let front = |id: Option<Id>| Some(table.get(id?)?.cookie);
            prop_assert_eq!(front(table.stalest()), live.first().copied());
            prop_assert_eq!(front(table.first_ended()), ended.first().copied());
            let mut listed: Vec<_> = table.iter().map(|conn| conn.cookie).collect();
            let mut selected: Vec<_> = table
                .select(|_| true)
                .into_iter()
                .filter_map(|id| Some(table.get(id)?.cookie))
                .collect();
            listed.sort_unstable();
            selected.sort_unstable();
            let mut expected = live.clone();
            expected.sort_unstable();
            prop_assert_eq!(&listed, &expected);
            prop_assert_eq!(&selected, &expected);
        }
    }
}
