use super::*;
use crate::core::record::Role;

pub(super) fn of(args: &[&str]) -> Options {
    Options::of(args).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

/// What the user reads behind `error: `; the status is 2.
pub(super) fn error(args: &[&str]) -> String {
    let error = Options::of(args).expect_err("accepted");
    assert_eq!(error.exit_code(), 2);
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").expect("no `error: `").to_owned()
}

pub(super) fn shown<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

#[test]
fn without_options_everything_is_traced_with_safe_limits() {
    let options = of(&[]);
    assert!(options.describe_filters().is_empty());
    assert_eq!(options.filters.kernel(7), KernelFilters::default());
    assert_eq!(options.syn.interfaces(), Interfaces::All);
    assert_eq!(options.syn.syn_hook, SynHook::Auto);
    assert_eq!(options.syn.xdp_mode, XdpMode::Auto);
    assert_eq!(options.output.format, Format::Text);
    assert_eq!(options.output.color, ColorChoice::Auto);
    assert_eq!(options.output.log_level, LogLevel::Warn);
    assert_eq!(options.output.output, None);
    assert!(!options.show.states && !options.show.failed);
    assert_eq!(options.show.top_hosts, 20);
    assert_eq!((options.show.interval, options.show.duration), (None, None));
    assert_eq!(options.show.count, None);
    assert_eq!(options.limits.ring(4096), (8 << 20, None));
    assert_eq!(options.limits.max_connections, 262_144);
    assert_eq!(options.limits.max_hosts, 8192);
    assert!(options.limits.stuck_after.is_empty());
    assert_eq!(options.limits.flood_min_rate, 100);
    assert_eq!(options.limits.flood_clear, Duration::from_secs(10));
    assert!(options.output.on_alert.is_none() && !options.output.test_alert);
}

#[test]
fn ports_are_repeatable_lists_and_ranges() {
    let options = of(&[
        "-p",
        "80,443",
        "--port",
        "8000-8100",
        "--local-port=22",
        "--remote-port",
        "5432,6432",
        "--exclude-port",
        "9100,9200-9300",
    ]);
    assert_eq!(shown(&options.filters.ports), ["80", "443", "8000-8100"]);
    assert_eq!(shown(&options.filters.local_ports), ["22"]);
    assert_eq!(shown(&options.filters.remote_ports), ["5432", "6432"]);
    assert_eq!(shown(&options.show.exclude_ports), ["9100", "9200-9300"]);
    let kernel = options.filters.kernel(7);
    assert!(kernel.any_port.contains(8050) && !kernel.any_port.contains(22));
    assert!(kernel.local_port.contains(22) && kernel.remote_port.contains(6432));
}

#[test]
fn hosts_family_and_namespace_reach_the_kernel() {
    let options = of(&["--host", "10.1.2.3/8", "--host", "2001:db8::/32,::1", "-6"]);
    let kernel = options.filters.kernel(7);
    assert_eq!(shown(&kernel.hosts), ["10.0.0.0/8", "2001:db8::/32", "::1"]);
    assert_eq!((kernel.family, kernel.netns), (Some(Family::V6), None));
    assert_eq!(of(&["-4"]).filters.kernel(7).family, Some(Family::V4));
    assert_eq!(of(&["--netns", "self"]).filters.kernel(7).netns, Some(7));
    for inode in ["4026531840", "net:[4026531840]"] {
        let kernel = of(&["--netns", inode]).filters.kernel(7);
        assert_eq!(kernel.netns, Some(4_026_531_840));
    }
}

#[test]
fn owners_are_told_by_role_pid_name_and_cgroup() {
    let options = of(&[
        "--role",
        "server",
        "--pid",
        "1,2",
        "--pid",
        "3",
        "--comm",
        "Web Content",
        "--comm",
        "a,b",
        "--cgroup",
        "/sys/fs/cgroup/system.slice/",
        "--cgroup",
        "3f2a9c",
    ]);
    assert_eq!(options.filters.role.map(Role::from), Some(Role::Server));
    assert_eq!(options.filters.pids, [1, 2, 3]);
    let comms = [&b"Web Content"[..], b"a,b"].map(Comm::from_bytes);
    assert_eq!(options.filters.comms, comms);
    assert_eq!(options.filters.cgroups, ["/system.slice", "3f2a9c"]);
    for (typed, path) in [
        ("/sys/fs/cgroup", "/"),
        ("/", "/"),
        ("/sys/fs/cgroupish", "/sys/fs/cgroupish"),
        ("/a.slice", "/a.slice"),
    ] {
        assert_eq!(of(&["--cgroup", typed]).filters.cgroups, [path]);
    }
    // The kernel keeps 15 bytes.
    let long = of(&["--comm", "postgres-exporter"]).filters.comms;
    assert_eq!(long, [Comm::from_bytes(b"postgres-export")]);
}

#[test]
fn what_is_shown() {
    let options = of(&[
        "--failed",
        "--outcome",
        "reset_by_remote,Timed-Out",
        "--outcome",
        "refused",
        "--slower-than",
        "0.5",
        "--exclude-host",
        "10.0.0.0/8",
        "--states",
        "--interval",
        "10",
        "--top-hosts",
        "0",
        "--duration",
        "1.5",
        "--count",
        "3",
    ]);
    let show = &options.show;
    assert!(show.failed && show.states);
    assert_eq!(show.outcomes, [Outcome::ResetByRemote, Outcome::TimedOut, Outcome::Refused]);
    assert_eq!(show.slower_than, Some(Duration::from_micros(500)));
    assert_eq!(shown(&show.exclude_hosts), ["10.0.0.0/8"]);
    assert_eq!(show.interval, Some(Duration::from_secs(10)));
    assert_eq!(show.duration, Some(Duration::from_millis(1500)));
    assert_eq!((show.top_hosts, show.count), (0, Some(3)));
    for outcome in Outcome::ALL {
        assert_eq!(of(&["--outcome", outcome.name()]).show.outcomes, [outcome]);
    }
}

#[test]
fn interfaces_and_the_syn_hook() {
    let named = |names: &[&str]| Interfaces::Named(shown(names));
    let interfaces = |args: &[&str]| of(args).syn.interfaces();
    assert_eq!(interfaces(&["-i", "eth0", "--iface", "lo,br-1"]), named(&["eth0", "lo", "br-1"]));
    assert_eq!(interfaces(&["-i", "none"]), Interfaces::None);
    assert_eq!(interfaces(&["--syn-hook", "off", "-i", "lo"]), Interfaces::None);
    for (word, hook) in [
        ("auto", SynHook::Auto),
        ("xdp", SynHook::Xdp),
        ("tcx", SynHook::Tcx),
        ("off", SynHook::Off),
    ] {
        assert_eq!(of(&["--syn-hook", word]).syn.syn_hook, hook);
    }
    for (word, mode) in
        [("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)]
    {
        assert_eq!(of(&["--xdp-mode", word]).syn.xdp_mode, mode);
    }
}

#[test]
fn output_and_log() {
    let options =
        of(&["-f", "json", "--output", "/tmp/x", "--color", "never", "--log-level", "debug"]);
    assert_eq!(options.output.format, Format::Json);
    assert_eq!(options.output.output.as_deref(), Some(std::path::Path::new("/tmp/x")));
    assert_eq!(options.output.color, ColorChoice::Never);
    for (word, level) in [
        ("error", log::LevelFilter::Error),
        ("warn", log::LevelFilter::Warn),
        ("info", log::LevelFilter::Info),
        ("debug", log::LevelFilter::Debug),
        ("trace", log::LevelFilter::Trace),
    ] {
        let chosen = of(&["--log-level", word]).output.log_level;
        assert_eq!(log::LevelFilter::from(chosen), level);
    }
}

#[test]
fn the_ring_takes_suffixes_and_is_rounded_up_with_a_word() {
    for (typed, size) in [
        ("4096", 4096),
        ("4194304", 4 << 20),
        ("512K", 512 << 10),
        ("512KiB", 512 << 10),
        ("4M", 4 << 20),
        ("4MiB", 4 << 20),
        ("4 mb", 4 << 20),
        ("1G", 1 << 30),
        ("65536B", 1 << 16),
    ] {
        assert_eq!(of(&["--ring-size", typed]).limits.ring(4096), (size, None), "{typed}");
    }
    let (size, note) = of(&["--ring-size", "5000"]).limits.ring(4096);
    assert_eq!(size, 8192);
    assert_eq!(
        note.as_deref(),
        Some(
            "--ring-size 5000 rounded up to 8192: the kernel wants a power of two that is a \
             multiple of its page size (4096)"
        )
    );
    // 64 KiB pages.
    let (size, note) = of(&["--ring-size", "4096"]).limits.ring(65_536);
    assert!(size == 65_536 && note.is_some());
}

#[test]
fn thresholds_of_being_stuck() {
    use tracer_common::state::TcpState::{CloseWait, FinWait2, LastAck, SynSent};
    let of = |args: &[&str]| of(args).limits.stuck_after;
    assert_eq!(
        of(&["--stuck-after", "CLOSE_WAIT=30,fin-wait2=0.5", "--stuck-after", "SYN_SENT=off"]),
        [
            StuckAfter::State(CloseWait, Some(Duration::from_secs(30))),
            StuckAfter::State(FinWait2, Some(Duration::from_millis(500))),
            StuckAfter::State(SynSent, None),
        ]
    );
    assert_eq!(of(&["--stuck-after", "off"]), [StuckAfter::Off]);
    // What the help calls the default can be typed.
    let defaults = of(&["--stuck-after", values::STUCK_DEFAULTS]);
    assert_eq!(defaults.len(), crate::core::StuckAfter::STATES.len());
    assert!(defaults.contains(&StuckAfter::State(LastAck, Some(Duration::from_secs(30)))));
}

#[test]
fn floods_and_who_is_told() {
    let options = of(&["--flood-min-rate", "1", "--flood-clear", "2.5", "--on-alert", "./page me"]);
    assert_eq!(options.limits.flood_min_rate, 1);
    assert_eq!(options.limits.flood_clear, Duration::from_millis(2500));
    assert_eq!(options.output.on_alert.as_deref(), Some(std::path::Path::new("./page me")));
    // A sample needs no hook.
    for hook in [&["--syn-hook", "off"][..], &["-i", "none"]] {
        let mut args = vec!["--on-alert", "/bin/true"];
        args.extend(hook);
        assert!(error(&args).starts_with("--on-alert needs the SYN hook, which"));
        args.push("--test-alert");
        assert!(of(&args).output.test_alert);
    }
    for more in [["--duration", "3"], ["--count", "3"]] {
        let error = error(&["--test-alert", more[0], more[1]]);
        assert_eq!(
            error,
            "--test-alert traces nothing: it can't be combined with --duration or --count"
        );
    }
}

#[test]
fn limits_are_numbers_above_zero() {
    let limits = of(&["--max-connections", "1", "--max-hosts", "2"]).limits;
    assert_eq!((limits.max_connections, limits.max_hosts), (1, 2));
    for option in ["--max-connections", "--max-hosts", "--count", "--pid", "--flood-min-rate"] {
        assert!(error(&[option, "0"]).starts_with("invalid value '0' for"), "{option}");
        assert!(error(&[option, "many"]).starts_with("invalid value 'many' for"), "{option}");
    }
    assert!(error(&["--top-hosts=-1"]).starts_with("invalid value '-1' for '--top-hosts <N>'"));
}

#[test]
fn a_port_alone_is_one_of_the_loopbacks() {
    for (typed, addr) in [
        ("9464", "127.0.0.1:9464"),
        (":9464", "127.0.0.1:9464"),
        ("fd00::1:9464", "[fd00::1]:9464"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("[::1]:1", "[::1]:1"),
    ] {
        let options = of(&["--metrics", typed]);
        assert_eq!(options.metrics.listen, Some(addr.parse().unwrap()));
    }
    for wrong in ["localhost:9464", "70000", "::1:9464x", "", "*:80"] {
        let error = Options::from_args(["tracer", "--metrics", wrong]).unwrap_err().to_string();
        assert!(error.contains("0.0.0.0:9464") && error.contains("give a port"), "{error}");
    }
    let options = of(&["--port", "80,8000-8100", "--local-port", "443", "--metrics-ports", "3"]);
    let config = options.metrics.config(&options.filters);
    assert_eq!((config.named_ports.as_slice(), config.ports), (&[443, 80][..], 3));
    assert!(of(&["--metrics", "1", "--hook-stats"]).metrics.hook_stats);
    assert!(!of(&["--metrics", "1"]).metrics.hook_stats);
}

#[test]
fn mistakes_are_one_sentence_that_says_what_is_right() {
    for (args, sentence) in [
        (
            &["--port", "99999"][..],
            "invalid value '99999' for '--port <PORT>': `99999` is no port; ports are 1 to 65535",
        ),
        (
            &["-p", "9-3"],
            "invalid value '9-3' for '--port <PORT>': the range is reversed; write 3-9",
        ),
        (
            &["--host", "10.0.0.0/40"],
            "invalid value '10.0.0.0/40' for '--host <ADDR[/LEN]>': `/40` is no IPv4 prefix \
             length; it is 0 to 32",
        ),
        (
            &["--outcome", "rst"],
            "invalid value 'rst' for '--outcome <OUTCOME>': there is no such outcome; those are \
             closed, reset_by_remote, reset_by_local, refused, timed_out, unreachable, cancelled, \
             aborted, unknown",
        ),
        (
            &["--slower-than", "-1e3"],
            "invalid value '-1e3' for '--slower-than <MS>': `-1e3` is no time; give milliseconds, \
             0 or more",
        ),
        (
            &["--duration", "-1"],
            "invalid value '-1' for '--duration <SECS>': `-1` is no time; give seconds, 0.001 or \
             more",
        ),
        // One that is an option otherwise.
        (
            &["--count", "-4"],
            "invalid value '-4' for '--count <N>': give a whole number, 1 or more",
        ),
        (&["--count", "0"], "invalid value '0' for '--count <N>': give a whole number, 1 or more"),
        (
            &["--max-hosts", "1.5"],
            "invalid value '1.5' for '--max-hosts <N>': give a whole number, 1 or more",
        ),
        (
            &["--pid", "4294967296"],
            "invalid value '4294967296' for '--pid <PID>': give a whole number, 4294967295 or less",
        ),
        (
            &["--metrics-ports", "1001"],
            "invalid value '1001' for '--metrics-ports <N>': give a whole number, 1000 or less",
        ),
        (
            &["--top-hosts", "-1"],
            "invalid value '-1' for '--top-hosts <N>': give a whole number, 0 or more",
        ),
        (
            &["-p", "-1"],
            "invalid value '-1' for '--port <PORT>': `-1` is no port; give a number from 1 to \
             65535, a range 8000-8100 or a list 80,443",
        ),
        (
            &["--slower-than=nan"],
            "invalid value 'nan' for '--slower-than <MS>': `nan` is no time; give milliseconds, 0 \
             or more",
        ),
        (
            &["--interval", "0"],
            "invalid value '0' for '--interval <SECS>': `0` is no time; give seconds, 0.001 or \
             more",
        ),
        (
            &["--duration", "1e300"],
            "invalid value '1e300' for '--duration <SECS>': `1e300` is no time; give seconds, \
             0.001 or more",
        ),
        (
            &["--netns", "mine"],
            "invalid value 'mine' for '--netns <self|INODE>': give `self` or the inode that \
             `readlink /proc/PID/ns/net` shows",
        ),
        (
            &["-i", "a/b"],
            "invalid value 'a/b' for '--iface <IF>': no interface can have this name; `ip link` \
             lists them",
        ),
        (
            &["--ring-size", "4X"],
            "invalid value '4X' for '--ring-size <BYTES>': `4X` is no size; give bytes, or 512K, \
             4M, 1G",
        ),
        (
            &["--ring-size", "4095"],
            "invalid value '4095' for '--ring-size <BYTES>': 4095 bytes is out of range; give \
             4096 to 1G",
        ),
        (
            &["--stuck-after", "ESTABLISHED=3"],
            "invalid value 'ESTABLISHED=3' for '--stuck-after <STATE=SECS>': `ESTABLISHED` is no \
             state to be stuck in; those are SYN_SENT, CLOSE_WAIT, FIN_WAIT1, FIN_WAIT2, \
             LAST_ACK, CLOSING",
        ),
        (
            &["--stuck-after", "30"],
            "invalid value '30' for '--stuck-after <STATE=SECS>': give STATE=SECS, for example \
             CLOSE_WAIT=30, or `off`",
        ),
        (
            &["--flood-clear", "0"],
            "invalid value '0' for '--flood-clear <SECS>': `0` is no time; give seconds, 0.001 or \
             more",
        ),
        (
            &["--on-alert", ""],
            "invalid value '' for '--on-alert <PROGRAM>': give the path of a program",
        ),
        (&["--comm", ""], "invalid value '' for '--comm <NAME>': a process name is not empty"),
        (&["-4", "-6"], "the argument '--ipv4' cannot be used with '--ipv6'"),
        (&["-i", "none", "-i", "lo"], "`--iface none` can't be combined with another --iface"),
        (&["--xdp-mode", "native", "--syn-hook", "tcx"], "--xdp-mode needs --syn-hook xdp or auto"),
        (&["--prot", "80"], "unexpected argument '--prot' found"),
        (&["8080"], "unexpected argument '8080' found"),
    ] {
        assert_eq!(error(args), sentence);
    }
    for size in ["", "M", "-1", "99999999999999999999", "18446744073709551615G", "2G", "1.5M"] {
        assert!(error(&[&format!("--ring-size={size}")]).contains("--ring-size"), "{size}");
    }
}

#[test]
fn words_that_are_none_list_the_ones_that_are() {
    for option in ["--format", "--syn-hook", "--xdp-mode", "--role", "--log-level", "--color"] {
        let error = Options::of(&[option, "zzz"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.render().to_string();
        assert!(text.contains("[possible values: "), "{text}");
    }
}

#[test]
fn every_filter_is_described() {
    let args = [
        "--port=80",
        "--local-port=81",
        "--remote-port=82",
        "--host=10.0.0.0/8",
        "-4",
        "--role=client",
        "--pid=1",
        "--comm=x",
        "--cgroup=/y",
        "--netns=self",
        "--failed",
        "--outcome=refused",
        "--slower-than=1.5",
        "--exclude-port=9-10",
        "--exclude-host=::1",
    ];
    assert_eq!(
        of(&args).describe_filters().to_string(),
        "--port 80 --local-port 81 --remote-port 82 --host 10.0.0.0/8 --ipv4 --role client \
         --pid 1 --comm x --cgroup /y --netns self --failed --outcome refused --slower-than 1.5 \
         --exclude-port 9-10 --exclude-host ::1"
    );
}

#[test]
fn help_and_version_are_no_errors() {
    for args in [["--help"], ["-h"], ["-V"]] {
        assert_eq!(Options::of(&args).unwrap_err().exit_code(), 0);
    }
    let version = Options::of(&["-V"]).unwrap_err().render().to_string();
    assert_eq!(version, format!("tracer {}\n", instead::VERSION));
    // What the kernel offers is asked for later.
    assert!(of(&["--version"]).instead.version);
}

#[test]
fn the_version_names_the_commit() {
    let (version, commit) = instead::VERSION.split_once(" (commit ").unwrap();
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let commit = commit.strip_suffix(')').unwrap();
    let of_git = commit.split_once(", ").is_some_and(|(hash, date)| {
        let hash = hash.strip_suffix("-dirty").unwrap_or(hash);
        hash.len() == 12 && hash.bytes().all(|b| b.is_ascii_hexdigit()) && date.len() == 10
    });
    // Who builds a package may have named it otherwise.
    let given = std::env::var_os("TRACER_COMMIT").is_some();
    assert!(of_git || commit == "unknown" || given, "{commit}");
}

#[test]
fn what_is_done_instead_of_tracing_is_one_thing() {
    for (args, word) in [
        (&["--check", "--test-alert"][..], "--test-alert can't be combined with --check"),
        (&["--check", "--generate", "man"], "--generate can't be combined with --check"),
        (&["--check", "--duration", "3"], "--check traces nothing"),
        (&["--check", "--count", "3"], "--check traces nothing"),
    ] {
        assert!(error(args).contains(word), "{args:?}: {}", error(args));
    }
    assert!(of(&["--check", "--format", "json", "--iface", "lo"]).instead.check);
}

#[test]
fn the_definition_is_sound() {
    Options::command().debug_assert();
    for arg in Options::command().get_arguments() {
        assert!(arg.get_help().is_some(), "{} has no help", arg.get_id());
        assert!(
            arg.get_help_heading().is_some() || matches!(arg.get_id().as_str(), "help" | "version"),
            "{} stands under no heading",
            arg.get_id()
        );
    }
}

#[test]
fn the_live_view_has_stdout_for_itself() {
    assert!(!of(&[]).output.top && of(&["--top"]).output.top);
    for (args, word) in [
        (&["--top", "--format", "json"][..], "give --output FILE"),
        (&["--top", "--interval", "3"], "--interval needs --output FILE"),
        (&["--top", "--states"], "--states needs --output FILE"),
        (&["--top", "--test-alert"], "nothing for --top to show"),
        (&["--top", "--check"], "nothing for --top to show"),
    ] {
        let error = Options::of(args).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(word) && error.exit_code() == 2, "{text}");
    }
    let _ = of(&["--top", "--format", "json", "--interval", "3", "--states", "--output", "f"]);
    let _ = of(&["--top", "--duration", "9", "--count", "3", "--on-alert", "/bin/true"]);
}
