//! Records of real connections, and as many like them as are needed.

use std::collections::{BTreeSet, HashMap};
use std::io::Read as _;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::Duration;

use tracer::kernel::{Kernel, LoadConfig};
use tracer_common::addr::Addr;
use tracer_common::record::{RecordKind, SocketRecord};
use tracer_common::settings::Settings;
use tracer_common::state::TcpState;
use zerocopy::FromBytes as _;

use crate::support::Netns;
use crate::support::sock::{accept, connect_here, listen_here};

const PORT: u16 = 8080;

/// What the ring held while connections were made over loopback, in its order.
pub(crate) struct Recording {
    records: Vec<SocketRecord>,
    /// Of each record, which connection it belongs to, counted from 0.
    connection: Vec<u32>,
    /// How many of those there are; a socket at each end makes two.
    pub(crate) connections: usize,
    /// From the first record to the last, nanoseconds.
    span: u64,
}

impl Recording {
    /// Makes so many connections and records them.
    pub(crate) fn make(connections: usize) -> Self {
        let ns = Netns::new();
        ns.sysctl("ipv4/ip_local_port_range", "1024 65535");
        let config = LoadConfig {
            ring_size: 64 << 20,
            settings: Settings::default(),
            ports: Vec::new(),
            hosts: Vec::new(),
            log_level: 0,
            syn_hooks: Vec::new(),
            keeps_packets: false,
        };
        let mut kernel = Kernel::load(&config).expect("the kernel side loads");
        let mut sent = kernel.take_records().expect("the records");
        ns.run(|| {
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
            let listener = listen_here(at, 16, |_| ());
            for _ in 0..connections {
                let mut client = connect_here(at, |_| ()).expect("connect()");
                let mut served = accept(&listener);
                client.shutdown(Shutdown::Write).expect("shutdown()");
                let _ = served.read(&mut [0; 64]);
                drop(served);
                let _ = client.read(&mut [0; 1]);
            }
        });
        kernel.detach();
        let mut records = Vec::new();
        sent.look(u64::MAX);
        while let Some(bytes) = sent.next() {
            if let Ok((record, _)) = SocketRecord::read_from_prefix(bytes)
                && u64::from(record.netns) == ns.inode()
                && record.new_state != TcpState::Listen as u8
                && record.remote_port != 0
            {
                records.push(record);
            }
        }
        let (counters, _) = kernel.totals().expect("the counters");
        assert_eq!(counters.records_lost, 0, "records lost while recording");
        Self::of(records)
    }

    fn of(records: Vec<SocketRecord>) -> Self {
        let mut numbers = HashMap::new();
        let connection: Vec<u32> = records
            .iter()
            .map(|record| {
                let next = u32::try_from(numbers.len()).expect("few connections");
                *numbers.entry(record.cookie).or_insert(next)
            })
            .collect();
        let (first, last) = (records.first().expect("records"), records.last().expect("records"));
        let span = last.ts_ns - first.ts_ns + 1_000;
        Self { connections: numbers.len(), span, connection, records }
    }

    /// Events of all connections.
    pub(crate) fn events(&self) -> usize {
        self.records.len()
    }

    /// The cgroups of its sockets.
    pub(crate) fn cgroups(&self) -> impl Iterator<Item = u64> {
        let ids: BTreeSet<_> = self.records.iter().map(|record| record.cgroup_id).collect();
        ids.into_iter()
    }

    /// The same again as other connections: the `n`th time, with `hosts` remote hosts in turn.
    pub(crate) fn again(&self, n: u32, hosts: u32, into: &mut Vec<SocketRecord>) {
        into.clear();
        let first = u64::from(n) * self.connections as u64;
        let later = u64::from(n) * self.span;
        into.extend(self.records.iter().zip(&self.connection).map(|(record, connection)| {
            let number = first + u64::from(*connection);
            let host = (number % u64::from(hosts)) as u32;
            let moved = |ts: u64| if ts == 0 { 0 } else { ts + later };
            SocketRecord {
                cookie: number + 1,
                remote_addr: Addr::v4(u32::to_be(0x0a00_0000 | host)),
                ts_ns: moved(record.ts_ns),
                prev_ts_ns: moved(record.prev_ts_ns),
                syn_ts_ns: moved(record.syn_ts_ns),
                ..*record
            }
        }));
    }

    /// Only the beginnings of so many servers' connections, which stay open.
    pub(crate) fn openings(&self, count: usize) -> Vec<SocketRecord> {
        let (mut all, mut part, mut n) = (Vec::with_capacity(count), Vec::new(), 0);
        while all.len() < count {
            self.again(n, 1_000, &mut part);
            n += 1;
            let opens = |record: &&SocketRecord| {
                record.kind == RecordKind::Transition as u8
                    && record.old_state == TcpState::SynRecv as u8
                    && record.new_state == TcpState::Established as u8
            };
            // Other sockets than those that come and go.
            let others = part.iter().filter(opens);
            all.extend(
                others.map(|record| SocketRecord { cookie: record.cookie | 1 << 40, ..*record }),
            );
        }
        all.truncate(count);
        all
    }
}
