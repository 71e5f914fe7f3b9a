//! Every family there is, in the order in which they are shown. `docs/metrics.md` describes them.

use super::family::{Descriptor, Kind, Unit};

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const S: u64 = 1_000 * MS;

/// Bounds of handshakes and accept waits, nanoseconds: from a loopback's to those that gave up. One
/// lost SYN makes at least 1 s, two make 3, three 7 (`TCP_TIMEOUT_INIT`, doubled each time), so a
/// bound just below each tells them apart.
pub const HANDSHAKE_BOUNDS: &[u64] = &[
    50 * US,
    100 * US,
    250 * US,
    500 * US,
    MS,
    2_500 * US,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    900 * MS,
    2_900 * MS,
    6_900 * MS,
    15 * S,
    30 * S,
    60 * S,
];

/// Bounds of closes and their phases, nanoseconds: a CLOSE_WAIT may last for hours.
pub const CLOSE_BOUNDS: &[u64] = &[
    100 * US,
    MS,
    10 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    S,
    5 * S,
    10 * S,
    30 * S,
    60 * S,
    120 * S,
    600 * S,
    3600 * S,
];

macro_rules! families {
    ($($id:ident $name:literal $kind:ident $unit:expr, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $id: Descriptor = Descriptor {
                name: $name,
                help: $help,
                unit: $unit,
                kind: Kind::$kind,
                labels: &[$($label),*],
            };
        )*

        /// All of them.
        pub static ALL: &[&Descriptor] = &[$(&$id),*];
    };
}

const NONE: Option<Unit> = None;
const SECONDS: Option<Unit> = Some(Unit::Seconds);
const BYTES: Option<Unit> = Some(Unit::Bytes);

families! {
    CONNECTIONS "tracer_connections" Counter NONE, ["role", "outcome"],
        "Connections that ended, by this host's role and how they ended";
    CONNECTIONS_OPEN "tracer_connections_open" Gauge NONE, [],
        "Connections that are open now";
    CONNECTIONS_EVICTED "tracer_connections_evicted" Counter NONE, [],
        "Connections forgotten because --max-connections was reached";
    HANDSHAKE "tracer_handshake_seconds" Histogram SECONDS, ["role", "local_port"],
        "Handshakes of ended connections, the server's from the arrival of the first SYN";
    ACCEPT_WAIT "tracer_accept_wait_seconds" Histogram SECONDS, ["local_port"],
        "Time that ended connections waited for accept()";
    CLOSE "tracer_close_seconds" Histogram SECONDS, ["initiator"],
        "Closes of ended connections, from the first FIN to the end, by who closed first";
    CLOSE_PHASE "tracer_close_phase_seconds" Histogram SECONDS, ["phase"],
        "Time that ended connections spent in each state of the close";
    HANDSHAKES_FAILED "tracer_handshakes_failed" Counter NONE, [],
        "Requests that were answered and never became a connection";
    HANDSHAKE_RETRANSMITS "tracer_handshake_retransmits" Counter NONE, ["role", "kind"],
        "SYNs and SYN-ACKs that were sent again for connections that ended";
    TRANSFERRED "tracer_bytes" Counter BYTES, ["direction"],
        "Payload of connections that ended: acknowledged by the peer, and received";
    RETRANSMITS "tracer_retransmits" Counter NONE, [],
        "Segments that ended connections sent again after the handshake";
    STUCK "tracer_stuck_connections" Gauge NONE, ["state"],
        "Connections that have been in a state for longer than --stuck-after says";
    HALF_OPEN "tracer_half_open" Gauge NONE, [],
        "SYNs that have not completed and still may, answered with a cookie or not, where SYNs are seen";
    SYN "tracer_syn" Counter NONE, [],
        "SYNs that came in and matched, repeated ones too, where SYNs are seen";
    SYN_REPEATED "tracer_syn_repeated" Counter NONE, [],
        "SYNs that came in again with the same sequence number";
    SYN_UNPARSED "tracer_syn_unparsed" Counter NONE, [],
        "TCP packets that the SYN hook could not parse";
    FLOOD_ACTIVE "tracer_flood_active" Gauge NONE, ["listener", "verdict"],
        "1 while a SYN flood on the listener goes on; 0 for some minutes after it";
    FLOOD_SEVERITY "tracer_flood_severity" Gauge NONE, ["listener", "verdict"],
        "Of a SYN flood that goes on: 1 suspected, 2 confirmed by the kernel, 3 honest clients suffer";
    FLOODS "tracer_floods" Counter NONE, ["verdict"],
        "SYN floods that began, by what they were held for at the beginning";
    NOTICE_ACTIVE "tracer_notice_active" Gauge NONE, ["listener", "verdict"],
        "1 while something goes on that looks like a SYN flood and is none; 0 for some minutes after";
    NOTICES "tracer_notices" Counter NONE, ["verdict"],
        "Notices that began";
    EVENTS "tracer_events" Counter NONE, [],
        "Events read from the ring buffer";
    EVENTS_LOST "tracer_events_lost" Counter NONE, [],
        "Events that were lost because the ring buffer was full";
    OUTPUT_DROPPED "tracer_output_dropped" Counter NONE, [],
        "Records that a slow reader of the output missed";
    HOOK_ATTACHED "tracer_hook_attached" Gauge NONE, ["hook", "mode", "interface"],
        "Whether a hook is in place";
    HOOK_RUNS "tracer_hook_runs" Counter NONE, ["program"],
        "Runs of each kernel program, with --hook-stats";
    HOOK_RUN_TIME "tracer_hook_run_seconds" Counter SECONDS, ["program"],
        "Time spent in each kernel program, with --hook-stats";
    STANDING "tracer_standing_timestamp_seconds" Gauge SECONDS, [],
        "When these figures were taken, seconds since 1970";
    BUILD "tracer_build" Info NONE, ["version", "kernel"],
        "Versions of tracer and of the running kernel";
    CPU "process_cpu_seconds" Counter SECONDS, [],
        "CPU time that tracer has used, user and system, without its kernel programs";
    RESIDENT "process_resident_memory_bytes" Gauge BYTES, [],
        "Resident memory of tracer";
    STARTED "process_start_time_seconds" Gauge SECONDS, [],
        "When tracer was started, seconds since 1970";
}
