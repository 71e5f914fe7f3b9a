//! The page of `--report`, as a browser shows it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;
use tracer::core::event::MonoNs;
use tracer::core::record::{
    Connection, End, HandshakeSource, ObservedFrom, Outcome, Phases, Record, Role,
};
use tracer::core::{Config, Core};
use tracer::filter::Described;
use tracer::report::{Limits, Start, WallClock};
use tracer::sinks::page::Page;
use tracer::sinks::{Sink as _, Standing};

use crate::support::browser::{Browser, View};
use crate::support::flood::{Flood, Sources, swallow_answers};
use crate::support::raw::{ACK, SYN};
use crate::support::sock::{Talk as _, accept};
use crate::support::tracer::command;
use crate::support::{Child, Lab, Raw, Tracer, Value, alone, pause, scenario, wait_until};

const LOOK: &str = include_str!("support/look.js");

/// A phone, and a desk.
const SIZES: [(u32, u32); 2] = [(360, 740), (1440, 900)];

/// Every way in which the page is to look right.
fn views() -> Vec<View> {
    let mut views: Vec<View> = SIZES
        .into_iter()
        .flat_map(|size| ["light", "dark"].map(|scheme| View { size, scheme, media: "screen" }))
        .collect();
    // A4 at 96 dots per inch, less the margins that browsers leave.
    views.push(View { size: (718, 1047), scheme: "light", media: "print" });
    views
}

/// Looks at a page in every way there is; `None` where something is wrong with what is seen.
///
/// With `TRACER_TEST_KEEP=DIR` the pictures, and the page, are kept there.
#[track_caller]
fn look_at(browser: &mut Browser, page: &Path, name: &str) {
    let keep = std::env::var_os("TRACER_TEST_KEEP").map(PathBuf::from);
    if let Some(keep) = &keep {
        std::fs::copy(page, keep.join(format!("{name}.html"))).expect("keep the page");
    }
    let mut grounds = Vec::new();
    for view in views() {
        browser.open(page, view);
        let seen = browser.evaluate(LOOK);
        let picture = browser.picture();
        if let Some(keep) = &keep {
            let (width, scheme, media) = (view.size.0, view.scheme, view.media);
            let file = keep.join(format!("{name}-{width}-{scheme}-{media}.png"));
            std::fs::write(file, &picture).expect("keep the picture");
        }
        let wrong = seen["wrong"].as_array().expect("a list");
        assert!(wrong.is_empty(), "{name} {view:?}: {wrong:#?}");
        let complaints = browser.complaints();
        assert!(complaints.is_empty(), "{name} {view:?}: {complaints:#?}");
        assert!(picture.len() > 10_000, "{name} {view:?}: {} bytes", picture.len());
        assert!(seen["texts"].as_u64().is_some_and(|n| n > 50), "{seen}");
        assert!(seen["least"].as_f64().is_some_and(|least| least >= 4.5), "{seen}");
        if view.media == "screen" {
            grounds.push((view.scheme, light(&seen["background"])));
        }
    }
    for (scheme, light) in grounds {
        let expected = if scheme == "dark" { 0..60 } else { 230..256 };
        assert!(expected.contains(&light), "{name}: the ground of {scheme} is {light}");
    }
}

/// How light a colour `rgb(1, 2, 3)` is, 0 to 255.
fn light(color: &Value) -> u32 {
    let parts: Vec<u32> = color
        .as_str()
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect();
    assert_eq!(parts.len(), 3, "{color}");
    parts.iter().sum::<u32>() / 3
}

fn report_in(folder: &TempDir) -> (PathBuf, String) {
    let path = folder.path().join("run.html");
    let text = path.to_str().expect("UTF-8").to_owned();
    (path, text)
}

/// Everything that the page has a place for: a flood, connections of every kind, half-open ones, a
/// process with a name that means harm, some connections that stay.
fn eventful(lab: &Lab) {
    swallow_answers(lab);
    let listener = lab.b.listen(lab.b4_port(8080));
    let flood = Flood::new(lab.b4_port(8080), 600, 1_800)
        .from(Sources::RandomIn([10, 200, 0, 0].into(), 16));
    std::thread::scope(|scope| {
        scope.spawn(|| flood.run(lab));
        for n in 0..40 {
            let client = lab.a.connect(lab.b4_port(8080));
            let mut server = accept(&listener);
            if n % 8 == 3 {
                client.close_with_reset();
                pause(2);
            } else {
                drop(client);
                server.hear_end();
                pause(if n % 10 == 5 { 300 } else { 3 });
            }
        }
    });
    for _ in 0..3 {
        lab.b.try_connect((lab.a4(), 9).into(), |_| ()).expect_err("nobody listens");
    }
    let evil = Child::start(&lab.a, "</script>\"'\x1b[1m", |_| {
        let at = listener.local_addr().expect("an address");
        let client = crate::support::sock::connect_here(at, |_| ()).expect("connect()");
        // Long enough to be among the worst.
        pause(1_000);
        client.close_with_reset();
    });
    let server = accept(&listener);
    evil.join();
    drop(server);
}

#[test]
fn an_eventful_run_looks_right() {
    alone(|lab| {
        let folder = TempDir::new().expect("a directory");
        let (path, report) = report_in(&folder);
        let tracer = Tracer::start(lab, &["--report", &report, "--stuck-after", "CLOSE_WAIT=0.5"]);
        eventful(lab);
        // Half-open, and some that stay open: one of them its owner does not close.
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8081));
        let listener = lab.b.listen(lab.b4_port(8081));
        peer.send(SYN, b"");
        peer.expect_flags(SYN | ACK);
        let stays = lab.a.connect(lab.b4_port(8081));
        let kept = accept(&listener);
        drop(lab.a.connect(lab.b4_port(8081)));
        let stuck = accept(&listener);
        pause(1_500);
        tracer.stop().fine();
        drop((stays, kept, stuck));
        let html = std::fs::read_to_string(&path).expect("the report");
        for part in ["data-verdict=\"spoofed\"", "reset_by_remote", "CLOSE_WAIT", " stuck"] {
            assert!(html.contains(part), "no {part} in the page");
        }
        assert!(html.contains("&lt;/script&gt;&quot;"), "no hostile name in the page");
        look_at(&mut Browser::start(), &path, "eventful");
    });
}

#[test]
fn a_run_without_a_connection_and_one_with_one_look_right() {
    scenario(|lab| {
        let folder = TempDir::new().expect("a directory");
        let (path, report) = report_in(&folder);
        let mut browser = Browser::start();
        let empty = Tracer::start(lab, &["--report", &report, "--local-port", "8080"]);
        empty.stop().fine();
        look_at(&mut browser, &path, "empty");
        let one = Tracer::start(lab, &["--report", &report, "--iface", "none"]);
        let listener = lab.b.listen(lab.b4_port(8080));
        drop(lab.a.connect(lab.b4_port(8080)));
        accept(&listener).hear_end();
        one.stop_after(2).fine();
        look_at(&mut browser, &path, "one");
    });
}

/// A day of a busy host, made up: too much for a test to have happen.
fn a_million(path: &Path) {
    const S: u64 = 1_000_000_000;
    let (clock, core) = (
        WallClock::new(MonoNs(0), 1_795_317_120_000_000_000, WallClock::system_zone()),
        Core::new(Config::default()),
    );
    let mut page = Page::open(path).expect("a report");
    let start = Start {
        time: MonoNs(0),
        version: "0.1.0",
        kernel: Some("6.18.5-1-amd64".to_owned()),
        hooks: Vec::new(),
        filters: Described::default(),
        ring_size: Some(8 << 20),
        capture: None,
        limits: Limits { max_connections: 262_144, max_hosts: 8192, stuck_after: Vec::new() },
        cannot: vec!["a sentence of some length that says what can't be had here".to_owned()],
        metrics: None,
    };
    page.start(&start, &clock);
    let mut end = End { connections: 1_000_000, events_lost: 12, ..End::default() };
    for n in 0..1_000_000_u64 {
        let begun = n * 86_400_000;
        let took = n * 7_919 % 1_000_003 * 2_000;
        let outcome = Outcome::ALL[(n % 50 % 9) as usize];
        page.record(
            &Record::Connection(Box::new(Connection {
                cookie: n,
                start: MonoNs(begun),
                end: MonoNs(begun + 5 * took),
                role: [Some(Role::Client), Some(Role::Server), None][(n % 3) as usize],
                local: "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:65535".parse().expect("address"),
                remote: "[2001:db8:85a3:8d3:1319:8a2e:370:7349]:65535".parse().expect("address"),
                netns: 4_026_531_840,
                owner: None,
                cgroup: None,
                handshake: Some(took),
                handshake_source: Some(HandshakeSource::Syn),
                synack_rtt: None,
                path_rtt: None,
                syn_retransmits: Some(1),
                synack_retransmits: None,
                accept_wait: Some(took / 3),
                close_initiator: None,
                close: Some(took * 2),
                phases: Phases {
                    established: Some(took),
                    fin_wait1: Some(took / 2),
                    fin_wait2: Some(took / 2),
                    close_wait: Some(took / 2),
                    closing: Some(took / 4),
                    last_ack: Some(took / 4),
                    ..Phases::default()
                },
                time_wait: None,
                outcome: Some(outcome),
                bytes_sent: Some(u64::MAX),
                bytes_received: None,
                retransmits: Some(u32::MAX),
                rtt: None,
                observed_from: ObservedFrom::Start,
                events_lost: n % 2 == 0,
            })),
            true,
            &clock,
        );
        if n % 1_000 == 0 {
            end.syns = Some(n * n / 1_000);
            let at = MonoNs(begun);
            page.standing(
                &Standing { at, totals: &end, hooks: &[], core: &core, floods: None },
                &clock,
            );
        }
    }
    end.duration = 86_400 * S;
    let last =
        Standing { at: MonoNs(end.duration), totals: &end, hooks: &[], core: &core, floods: None };
    page.end(&last, &clock, Instant::now()).expect("the report");
}

#[test]
fn a_million_connections_look_right() {
    scenario(|_| {
        let folder = TempDir::new().expect("a directory");
        let (path, _) = report_in(&folder);
        a_million(&path);
        look_at(&mut Browser::start(), &path, "million");
    });
}

/// That the eye sees what is wrong.
#[test]
fn a_page_with_faults_is_found_out() {
    scenario(|lab| {
        let folder = TempDir::new().expect("a directory");
        let (path, report) = report_in(&folder);
        Tracer::start(lab, &["--report", &report, "--iface", "none"]).stop().fine();
        let good = std::fs::read_to_string(&path).expect("the report");
        let mut browser = Browser::start();
        let view = View { size: (360, 740), scheme: "light", media: "screen" };
        let mut seen = |add: &str| {
            let bad = good.replace("</main>", &format!("{add}</main>"));
            assert_eq!(bad == good, add.is_empty());
            std::fs::write(&path, bad).expect("write");
            browser.open(&path, view);
            let seen = browser.evaluate(LOOK);
            format!("{} {:?}", seen["wrong"], browser.complaints())
        };
        let wide = "<table><thead><tr><th scope=col>x</th></tr></thead><tr><td>".to_owned()
            + &"wide&nbsp;".repeat(200)
            + "</td></tr></table>";
        for (fault, found) in [
            ("", "[] []"),
            (wide.as_str(), "sticks out"),
            ("<table><tr><td>no headers</td></tr></table>", "has no headers"),
            (
                "<svg width=100 height=20 aria-hidden=true><rect width=0 height=5 /></svg>",
                "draws nothing",
            ),
            (
                "<svg width=100 height=20 aria-hidden=true><text x=90 y=15>cut off</text></svg>",
                "is cut",
            ),
            (
                "<svg width=100 height=20 aria-hidden=true><text y=15>a</text><text y=15>b</text></svg>",
                "covers",
            ),
            ("<svg width=100 height=20></svg>", "has no title"),
            ("<p><font color=#999999>faint</font></p>", "contrast 2."),
            ("<script>console.log(1)</script>", "Content Security Policy"),
            ("<p style=\"color:red\">red</p>", "Content Security Policy"),
            ("<img src=\"https://192.0.2.1/x.png\" alt=\"\">", "Content Security Policy"),
        ] {
            let seen = seen(fault);
            assert!(seen.contains(found), "{fault}: {seen}");
        }
    });
}

#[test]
fn the_report_is_written_even_if_nobody_reads_the_output() {
    scenario(|lab| {
        let folder = TempDir::new().expect("a directory");
        let (path, report) = report_in(&folder);
        let (reader, writer) = std::io::pipe().expect("pipe()");
        let mut child = command(&lab.b, &["--netns", "self", "--report", &report])
            .stdout(writer)
            .spawn()
            .expect("start the tracer");
        drop(reader);
        let mut status = None;
        wait_until("the tracer ends", Duration::from_secs(15), || {
            status = child.try_wait().expect("wait");
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
        assert!(std::fs::read_to_string(&path).expect("the report").contains("</html>"));
    });
}

/// A full disk takes the records and the page: neither hides the other.
#[test]
fn a_full_disk_loses_output_and_report_and_both_are_said() {
    scenario(|lab| {
        let folder = TempDir::new().expect("a directory");
        let disk = folder.path().join("disk");
        std::fs::create_dir(&disk).expect("mkdir");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&disk);
        assert!(mount.status().expect("mount").success());
        let (output, report) = (disk.join("out.jsonl"), disk.join("run.html"));
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let (output_arg, report_arg) = (text(&output), text(&report));
        let args = ["--netns", "self", "--format", "json", "--output", &output_arg];
        let mut command = command(&lab.b, &args);
        let child = command.args(["--report", &report_arg]).stderr(Stdio::piped()).spawn();
        let child = child.expect("start the tracer");
        wait_until("it traces", Duration::from_secs(15), || {
            std::fs::metadata(&output).is_ok_and(|file| file.len() > 0)
        });
        // Of a record that fits into a page there is room for some.
        let filled = std::fs::write(disk.join("filler"), vec![0; 64 << 10]);
        let listener = lab.b.listen(lab.b4_port(8080));
        for _ in 0..20 {
            drop(lab.a.connect(lab.b4_port(8080)));
            accept(&listener).hear_end();
        }
        pause(500);
        let pid = Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, Signal::SIGINT).expect("kill()");
        let ended = child.wait_with_output().expect("wait");
        let gone = !report.exists();
        assert!(Command::new("umount").arg(&disk).status().expect("umount").success());
        assert!(filled.is_err() && gone);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("{output_arg} can't be written: No space left")), "{said}");
        let report = format!("cannot write the report {report_arg}: No space left on device");
        assert!(said.contains(&report), "{said}");
        assert!(said.contains("bytes were not taken within 5 s"), "{said}");
    });
}

const CAP_DAC_OVERRIDE: u64 = 1 << 1;
const CAP_FOWNER: u64 = 1 << 3;

/// What the process may do.
fn capabilities(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("CapEff");
    u64::from_str_radix(line.trim(), 16).expect("a number")
}

/// A directory of another user's, as one's home is for sudo, or one in which files belong to whoever
/// made them: what it takes to give the file its name there at the end is kept, and only there.
#[test]
fn a_report_in_someone_elses_directory() {
    scenario(|lab| {
        for (mode, owner, older, kept) in [
            (0o755, 0, Some(1_234), 0),
            (0o755, 65_534, None, CAP_DAC_OVERRIDE),
            (0o1777, 65_534, Some(1_234), CAP_FOWNER),
            (0o1777, 65_534, None, 0),
        ] {
            let folder = TempDir::new().expect("a directory");
            let (path, report) = report_in(&folder);
            if let Some(owner) = older {
                std::fs::write(&path, "older").expect("write");
                std::os::unix::fs::chown(&path, Some(owner), None).expect("chown()");
            }
            std::os::unix::fs::chown(folder.path(), Some(owner), None).expect("chown()");
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(folder.path(), permissions).expect("chmod()");
            let tracer = Tracer::start(lab, &["--report", &report]);
            let has = capabilities(tracer.pid()) & (CAP_DAC_OVERRIDE | CAP_FOWNER);
            assert_eq!(has, kept, "{mode:o} {owner} {older:?}");
            tracer.stop().fine();
            assert!(std::fs::read_to_string(&path).expect("the report").contains("</html>"));
            assert_eq!(std::fs::read_dir(folder.path()).expect("the directory").count(), 1);
        }
    });
}
