//! Options of the reading of a capture.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use super::Options;
use super::values;
use crate::filter::Prefix;

/// What is read instead of traced, and how.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Reading a capture")]
pub struct ReadOptions {
    /// Report what this capture holds instead of tracing: pcap or pcapng, also compressed with gzip
    /// or zstd, `-` for stdin; needs no root
    #[arg(long, value_name = "FILE")]
    pub read: Option<PathBuf>,
    /// The control segments of each connection as well, one a line: handshake, close and what is odd
    /// about them
    #[arg(long)]
    pub segments: bool,
    /// Look inside tunnels (VXLAN, Geneve, GRE, IP in IP) instead of at the outer packets
    #[arg(long)]
    pub decap: bool,
    /// Read at X times the speed of the capture [default: as fast as possible; with --top 1]
    #[arg(long, value_name = "X", value_parser = values::speed)]
    pub speed: Option<f64>,
    /// These addresses are the local ends: whose point of view the connections are told from; may be
    /// repeated [default: by what the capture says of directions]
    #[arg(long, value_name = "ADDR[/LEN]", value_delimiter = ',')]
    pub local: Vec<Prefix>,
}

/// Options that a capture has no use for: as the parser knows them, as the user does, and why.
const LIVE_ONLY: [(&str, &str, &str); 12] = [
    ("ifaces", "--iface", NO_HOOK),
    ("syn_hook", "--syn-hook", NO_HOOK),
    ("xdp_mode", "--xdp-mode", NO_HOOK),
    ("ring_size", "--ring-size", "there is no ring buffer between a file and tracer"),
    ("hook_stats", "--hook-stats", "no program runs in the kernel"),
    ("pids", "--pid", NO_OWNER),
    ("comms", "--comm", NO_OWNER),
    ("cgroups", "--cgroup", NO_OWNER),
    ("netns", "--netns", "a capture does not say of which network namespace a connection is"),
    ("listen", "--metrics", NO_METRICS),
    ("metrics_ports", "--metrics-ports", NO_METRICS),
    ("write", "--write", "the packets are in a file already"),
];

const NO_HOOK: &str = "nothing is attached, the SYNs are in the capture";
const NO_OWNER: &str = "a capture does not say whose process a connection is";
const NO_METRICS: &str =
    "Prometheus takes what it is given for the present, and a capture is of the past";

impl ReadOptions {
    /// Whether the capture comes through stdin.
    #[must_use]
    pub fn from_stdin(&self) -> bool {
        self.read.as_deref() == Some(Path::new("-"))
    }

    /// Why these do not go with the others; `matches` tells what was given in so many words.
    pub(super) fn contradiction(&self, options: &Options, matches: &ArgMatches) -> Option<String> {
        let Self { read, segments, decap, speed, local } = self;
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        if read.is_none() {
            let alone = [
                ("--segments", *segments, "tracing sees states, not segments"),
                ("--decap", *decap, "tracing sees the sockets' own addresses"),
                ("--speed", speed.is_some(), "what happens now happens at its own speed"),
                ("--local", !local.is_empty(), "the local end of a traced socket is known"),
            ];
            let (name, _, why) = alone.into_iter().find(|(_, given, _)| *given)?;
            return Some(format!("{name} needs --read FILE: {why}"));
        }
        if let Some((_, name, why)) = LIVE_ONLY.into_iter().find(|(id, ..)| given(id)) {
            return Some(format!("{name} can't be combined with --read: {why}"));
        }
        let output = &options.output;
        if output.top && self.from_stdin() {
            return Some(
                "--top takes its keys from stdin, where `--read -` expects the capture: put it \
                 into a file first"
                    .to_owned(),
            );
        }
        if *segments && output.top && output.output.is_none() {
            return Some(
                "--segments needs --output FILE beside --top, which does not show segments"
                    .to_owned(),
            );
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::tests::{error, of, shown};

    #[test]
    fn a_capture_is_read_with_its_own_options() {
        let options = of(&[
            "--read",
            "a b.pcap",
            "--segments",
            "--decap",
            "--speed",
            "2.5",
            "--local",
            "10.0.0.0/8,::1",
            "--local=192.0.2.7",
        ]);
        let read = &options.read;
        assert_eq!(read.read.as_deref(), Some(std::path::Path::new("a b.pcap")));
        assert!(read.segments && read.decap && !read.from_stdin());
        assert_eq!(read.speed, Some(2.5));
        assert_eq!(shown(&read.local), ["10.0.0.0/8", "::1", "192.0.2.7"]);
        assert!(of(&["--read", "-"]).read.from_stdin());
        let _ = of(&[
            "--read",
            "x",
            "--port=80",
            "--host=::1",
            "-6",
            "--role=client",
            "--failed",
            "--outcome=refused",
            "--slower-than=1",
            "--exclude-port=1",
            "--exclude-host=::2",
            "--states",
            "--interval=1",
            "--duration=2",
            "--count=3",
            "--format=json",
            "--output=o",
            "--report=r.html",
            "--on-alert=/bin/true",
            "--stuck-after=off",
            "--max-connections=7",
            "--max-hosts=7",
            "--flood-min-rate=7",
            "--flood-clear=7",
        ]);
        let _ = of(&["--read", "x", "--top", "--speed", "10"]);
        let _ = of(&["--read", "x", "--top", "--segments", "--output", "o"]);
    }

    #[test]
    fn what_does_not_go_with_a_capture_is_said_in_a_sentence() {
        for (args, sentence) in [
            (
                &["--segments"][..],
                "--segments needs --read FILE: tracing sees states, not segments",
            ),
            (&["--decap"], "--decap needs --read FILE: tracing sees the sockets' own addresses"),
            (
                &["--speed", "2"],
                "--speed needs --read FILE: what happens now happens at its own speed",
            ),
            (
                &["--local", "::1"],
                "--local needs --read FILE: the local end of a traced socket is known",
            ),
            (
                &["--read", "-", "--top"],
                "--top takes its keys from stdin, where `--read -` expects the capture: put it into a \
                 file first",
            ),
            (
                &["--read", "x", "--top", "--segments"],
                "--segments needs --output FILE beside --top, which does not show segments",
            ),
            (&["--read", "x", "--check"], "--read can't be combined with --check"),
            (&["--read", "x", "--test-alert"], "--read can't be combined with --test-alert"),
            (
                &["--read", "x", "--speed", "0"],
                "invalid value '0' for '--speed <X>': `0` is no speed; give 1 for as it happened, 10 \
                 for ten times as fast, 0.5",
            ),
        ] {
            assert_eq!(error(args), sentence);
        }
        // Also where the default is what was asked for.
        for (option, value) in [
            ("--iface", Some("none")),
            ("--syn-hook", Some("auto")),
            ("--xdp-mode", Some("auto")),
            ("--ring-size", Some("8M")),
            ("--hook-stats", None),
            ("--pid", Some("1")),
            ("--comm", Some("x")),
            ("--cgroup", Some("/x")),
            ("--netns", Some("self")),
            ("--metrics", Some("9464")),
            ("--metrics-ports", Some("20")),
        ] {
            let mut args = vec!["--read", "x", option];
            args.extend(value);
            let said = error(&args);
            assert!(
                said.starts_with(&format!("{option} can't be combined with --read: ")),
                "{said}"
            );
        }
        for speed in ["-1", "nan", "inf", "1e7", "fast"] {
            assert!(error(&["--read", "x", &format!("--speed={speed}")]).contains("is no speed"));
        }
    }
}
