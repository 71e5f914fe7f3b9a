//! From the bytes of a ring record to an event.

use tracer_common::addr::Addr;
use tracer_common::record::{
    RecordKind, RequestRecord, SocketRecord, SynSummary as SummaryRecord, flags,
};
use tracer_common::state::TcpState;
use zerocopy::FromBytes as _;

use crate::core::event::{
    Comm, Event, MonoNs, Owner, RequestEvent, SocketEvent, SynSeen, SynSummary, TcpFields,
};

/// A record that makes no sense: the two sides were not built together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Undecodable;

/// Decodes one record, which lies in memory as the ring has it: aligned to 8 bytes.
///
/// # Errors
/// [`Undecodable`] for a kind, state, length or alignment the kernel side never sends.
pub fn decode(bytes: &[u8]) -> Result<Event, Undecodable> {
    let kind = bytes.first().copied().ok_or(Undecodable)?;
    match RecordKind::try_from(kind).map_err(|_| Undecodable)? {
        RecordKind::Transition => socket(bytes, Event::Transition),
        RecordKind::Accepted => socket(bytes, Event::Accepted),
        RecordKind::ResetSent => socket(bytes, Event::ResetSent),
        RecordKind::SynAckRetransmit => request(bytes).map(Event::SynAckRetransmit),
        RecordKind::RequestReset => request(bytes).map(Event::RequestReset),
        RecordKind::SynSummary => summary(bytes).map(Event::SynSummary),
    }
}

fn summary(bytes: &[u8]) -> Result<SynSummary, Undecodable> {
    let (record, _) = SummaryRecord::read_from_prefix(bytes).map_err(|_| Undecodable)?;
    let SummaryRecord {
        kind: _,
        burst,
        cpu,
        epoch,
        ts_ns,
        syns,
        syns_repeated,
        resets,
        syn_acks,
        unparsed,
    } = record;
    Ok(SynSummary {
        at: MonoNs(ts_ns),
        cpu,
        epoch,
        burst: burst != 0,
        syns,
        syns_repeated,
        resets,
        syn_acks,
        unparsed,
    })
}

/// `event` is generic and not a pointer, so that the event is made where it is to be: it is large.
fn socket(bytes: &[u8], event: impl FnOnce(SocketEvent) -> Event) -> Result<Event, Undecodable> {
    // In the ring every record is aligned.
    let (record, _) = SocketRecord::ref_from_prefix(bytes).map_err(|_| Undecodable)?;
    let has = |flag| record.flags & flag != 0;
    Ok(event(SocketEvent {
        at: MonoNs(record.ts_ns),
        cookie: record.cookie,
        netns: record.netns,
        local: record.local_addr.at(record.local_port),
        remote: record.remote_addr.at(record.remote_port),
        old: TcpState::try_from(record.old_state).map_err(|_| Undecodable)?,
        new: TcpState::try_from(record.new_state).map_err(|_| Undecodable)?,
        old_since: known(record.prev_ts_ns),
        syn: has(flags::SYN_SEEN)
            .then_some(SynSeen { first: MonoNs(record.syn_ts_ns), repeats: record.syn_repeats }),
        owner: has(flags::OWNER)
            .then_some(Owner { pid: record.pid, comm: Comm::new(Addr(record.comm).to_bytes()) }),
        cgroup: record.cgroup_id,
        tcp: has(flags::TCP_FIELDS).then_some(TcpFields {
            srtt_us: (record.srtt_us != 0).then_some(record.srtt_us),
            total_retrans: record.total_retrans,
            bytes_acked: record.bytes_acked,
            bytes_received: record.bytes_received,
        }),
        sk_err: i32::try_from(record.sk_err).unwrap_or(i32::MAX),
        fin_received: has(flags::FIN_RECEIVED),
        reset_received: has(flags::RESET_RECEIVED),
        fastopen_connect: has(flags::FASTOPEN_CONNECT),
        orphaned: has(flags::ORPHANED),
        send_shutdown: has(flags::SEND_SHUTDOWN),
        v6only: has(flags::V6ONLY),
    }))
}

fn request(bytes: &[u8]) -> Result<RequestEvent, Undecodable> {
    let (record, _) = RequestRecord::read_from_prefix(bytes).map_err(|_| Undecodable)?;
    Ok(RequestEvent {
        at: MonoNs(record.ts_ns),
        netns: record.netns,
        local: record.local_addr.at(record.local_port),
        remote: record.remote_addr.at(record.remote_port),
        retransmits: record.retransmits,
        isn: record.isn,
        syn_at: known(record.syn_ts_ns),
    })
}

fn known(ts_ns: u64) -> Option<MonoNs> {
    (ts_ns != 0).then_some(MonoNs(ts_ns))
}

#[cfg(test)]
mod tests {
    use tracer_common::addr::Addr;
    use zerocopy::IntoBytes as _;

    use super::*;

    fn record() -> SocketRecord {
        SocketRecord {
            kind: RecordKind::Transition as u8,
            old_state: TcpState::SynRecv as u8,
            new_state: TcpState::Established as u8,
            family: 2,
            flags: flags::SYN_SEEN | flags::TCP_FIELDS | flags::OWNER,
            ts_ns: 5_000,
            cookie: 77,
            prev_ts_ns: 4_000,
            syn_ts_ns: 3_000,
            cgroup_id: 9,
            bytes_acked: 1,
            bytes_received: 2,
            local_addr: Addr::v4(u32::from_ne_bytes([10, 0, 0, 1])),
            remote_addr: Addr::v4(u32::from_ne_bytes([10, 0, 0, 2])),
            local_port: 80,
            remote_port: 40000,
            netns: 4_026_531_840,
            srtt_us: 0,
            total_retrans: 3,
            sk_err: 104,
            syn_repeats: 1,
            pid: 42,
            reserved: 0,
            comm: Addr::from_bytes(*b"nginx\0garbage\0\0\0").0,
        }
    }

    #[test]
    fn a_socket_record_becomes_an_event() {
        let Ok(Event::Transition(event)) = decode(record().as_bytes()) else { panic!() };
        assert_eq!(event.local, "10.0.0.1:80".parse().unwrap());
        assert_eq!(event.remote, "10.0.0.2:40000".parse().unwrap());
        assert_eq!((event.old, event.new), (TcpState::SynRecv, TcpState::Established));
        assert_eq!(event.syn, Some(SynSeen { first: MonoNs(3_000), repeats: 1 }));
        assert_eq!(event.old_since, Some(MonoNs(4_000)));
        let owner = event.owner.unwrap();
        assert_eq!((owner.pid, owner.comm.as_bytes()), (42, &b"nginx"[..]));
        let tcp = event.tcp.unwrap();
        assert_eq!((tcp.srtt_us, tcp.total_retrans), (None, 3));
        assert_eq!(event.sk_err, 104);
    }

    #[test]
    fn what_was_not_measured_is_none() {
        let mut record = record();
        record.flags = 0;
        record.prev_ts_ns = 0;
        let Ok(Event::Transition(event)) = decode(record.as_bytes()) else { panic!() };
        assert_eq!((event.syn, event.owner, event.tcp), (None, None, None));
        assert_eq!(event.old_since, None);
    }

    #[test]
    fn nonsense_is_refused() {
        let mut bad = record();
        bad.new_state = 12;
        assert_eq!(decode(bad.as_bytes()), Err(Undecodable));
        bad = record();
        bad.kind = 99;
        assert_eq!(decode(bad.as_bytes()), Err(Undecodable));
        assert_eq!(decode(&record().as_bytes()[..100]), Err(Undecodable));
        assert_eq!(decode(&[]), Err(Undecodable));
    }
}
