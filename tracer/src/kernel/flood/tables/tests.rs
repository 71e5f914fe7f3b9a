use super::*;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn tables(listeners: &[(u64, &str, bool)]) -> FloodTables {
    let mut tables = FloodTables::for_tests();
    for (cookie, local, v6only) in listeners {
        tables.listening(*cookie, at(local), *v6only);
    }
    tables.commit().unwrap();
    tables
}

/// Whose a SYN to this address or, failing that, to the unspecified one of its family would be.
fn found(tables: &FloodTables, to: &str) -> Target {
    let to = at(to);
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { [0u16; 8].into() };
    let slot = [to.ip(), any].into_iter().find_map(|ip| tables.written.get(&key(ip, to.port())));
    tables.target(slot.copied().unwrap_or(slot::CLOSED))
}

#[test]
fn the_exact_address_comes_before_the_unspecified_one() {
    let tables = tables(&[(1, "0.0.0.0:80", false), (2, "10.0.0.1:80", false)]);
    assert_eq!(found(&tables, "10.0.0.1:80"), Target::Listener(at("10.0.0.1:80")));
    assert_eq!(found(&tables, "10.0.0.2:80"), Target::Listener(at("0.0.0.0:80")));
    assert_eq!(found(&tables, "10.0.0.1:81"), Target::Closed);
}

#[test]
fn a_dual_stack_listener_takes_ipv4_where_nobody_else_does() {
    let mut tables =
        tables(&[(1, "[::]:80", false), (2, "[::]:443", true), (3, "[fd00::1]:22", false)]);
    assert_eq!(found(&tables, "10.0.0.1:80"), Target::Listener(at("[::]:80")));
    assert_eq!(found(&tables, "[fd00::2]:80"), Target::Listener(at("[::]:80")));
    assert_eq!(found(&tables, "10.0.0.1:443"), Target::Closed, "IPV6_V6ONLY");
    assert_eq!(found(&tables, "10.0.0.1:22"), Target::Closed, "an IPv6 address");
    tables.listening(4, at("0.0.0.0:80"), false);
    tables.commit().unwrap();
    assert_eq!(found(&tables, "10.0.0.1:80"), Target::Listener(at("0.0.0.0:80")));
    tables.closed(4);
    tables.commit().unwrap();
    assert_eq!(found(&tables, "10.0.0.1:80"), Target::Listener(at("[::]:80")));
}

#[test]
fn sockets_on_one_address_share_a_slot() {
    let mut tables = tables(&[(1, "0.0.0.0:80", false), (2, "0.0.0.0:80", false)]);
    assert_eq!(tables.written.len(), 1);
    tables.closed(1);
    tables.commit().unwrap();
    assert_eq!(found(&tables, "10.0.0.1:80"), Target::Listener(at("0.0.0.0:80")));
    tables.closed(2);
    tables.closed(2);
    tables.commit().unwrap();
    assert_eq!(found(&tables, "10.0.0.1:80"), Target::Closed);
}

#[test]
fn a_closed_listeners_slot_is_its_own_until_the_tick_after() {
    let mut tables = tables(&[(1, "0.0.0.0:80", false)]);
    let slot = slot::FIRST_LISTENER;
    tables.closed(1);
    assert_eq!(tables.target(slot), Target::Listener(at("0.0.0.0:80")));
    tables.ticked();
    assert_eq!(tables.target(slot), Target::Listener(at("0.0.0.0:80")));
    tables.ticked();
    assert_eq!(tables.target(slot), Target::Closed);
}

#[test]
fn a_listener_that_comes_back_gets_its_slot_back() {
    let mut tables = tables(&[(1, "0.0.0.0:80", false), (2, "0.0.0.0:81", false)]);
    let slot = tables.listeners.by_addr[&at("0.0.0.0:80")].slot;
    tables.closed(1);
    tables.listening(3, at("0.0.0.0:80"), false);
    assert_eq!(tables.listeners.by_addr[&at("0.0.0.0:80")].slot, slot);
    assert_eq!(tables.listeners.slots.len(), 2);
}

#[test]
fn listeners_without_a_slot_overflow_and_slots_are_used_again() {
    let slots = u64::from(SLOTS - slot::FIRST_LISTENER);
    let mut tables = FloodTables::for_tests();
    for cookie in 0..=slots {
        tables.listening(
            cookie,
            SocketAddr::new([10, 0, 0, 1].into(), 1000 + cookie as u16),
            false,
        );
    }
    tables.commit().unwrap();
    let last = format!("10.0.0.1:{}", 1000 + slots);
    assert_eq!(found(&tables, &last), Target::Overflow);
    assert_eq!(found(&tables, "10.0.0.1:1000"), Target::Listener(at("10.0.0.1:1000")));
    tables.closed(0);
    tables.listening(5_000, at("10.0.0.2:80"), false);
    tables.commit().unwrap();
    assert_eq!(found(&tables, "10.0.0.2:80"), Target::Overflow, "not in the same tick");
    tables.closed(5_000);
    tables.ticked();
    tables.ticked();
    tables.listening(5_001, at("10.0.0.2:80"), false);
    tables.commit().unwrap();
    assert_eq!(found(&tables, "10.0.0.2:80"), Target::Listener(at("10.0.0.2:80")));
}

#[test]
fn a_new_list_closes_what_is_not_on_it() {
    let mut tables = tables(&[(1, "0.0.0.0:80", false), (2, "0.0.0.0:81", false)]);
    tables.replace_listeners([(2, at("0.0.0.0:81"), false), (3, at("[::]:82"), false)].into_iter());
    tables.commit().unwrap();
    assert_eq!(found(&tables, "10.0.0.1:80"), Target::Closed);
    assert_eq!(found(&tables, "10.0.0.1:81"), Target::Listener(at("0.0.0.0:81")));
    assert_eq!(found(&tables, "10.0.0.1:82"), Target::Listener(at("[::]:82")));
}

#[test]
fn prefixes_are_in_the_mapped_space() {
    let key = lpm_key(([10, 1, 0, 0].into(), 16));
    assert_eq!(key.prefix_len(), 112);
    let key = lpm_key(("fd00::".parse().unwrap(), 64));
    assert_eq!(key.prefix_len(), 64);
}

#[test]
fn a_port_is_in_the_set_while_anybody_listens_on_it() {
    let on = |keys: &[(&str, u16)]| {
        let keys: Vec<_> = keys.iter().map(|(ip, port)| key(ip.parse().unwrap(), *port)).collect();
        Ports::of(keys.iter()).0
    };
    assert_eq!(on(&[]).iter().copied().max(), Some(0));
    let ports = on(&[("10.0.0.1", 80), ("0.0.0.0", 80), ("fd00::1", 65535)]);
    assert_eq!((ports[1], ports[1023]), (1 << 16, 1 << 63));
    assert_eq!(ports.iter().map(|word| word.count_ones()).sum::<u32>(), 2);
}
