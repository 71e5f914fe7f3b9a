//! The live view in a real terminal.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::flood::{Flood, Sources};
use crate::support::sock::{Talk as _, accept, connect_here};
use crate::support::tmux::Tmux;
use crate::support::tracer::{binary, command};
use crate::support::{Lab, Value, pause, scenario, unique, wait_until};

const SMALL: (u16, u16) = (80, 24);

/// What is on the shell's screen before tracer takes it.
const BEFORE: &str = "what was here before";

/// A terminal on host b, and files that tell how it was before and after.
struct Desk {
    tmux: Tmux,
    files: PathBuf,
}

impl Desk {
    fn new(lab: &Lab) -> Self {
        let files = std::env::temp_dir().join(format!("tracer-top-{}", unique()));
        std::fs::create_dir(&files).expect("a directory");
        let tmux = Tmux::start(&lab.b, SMALL);
        tmux.command(&format!("stty -g > {}/before; echo {BEFORE}", files.display()));
        tmux.wait("the shell", |screen| screen.contains(&format!("\n{BEFORE}")));
        Self { tmux, files }
    }

    /// `tracer --top ARGS`, and waits until it shows something.
    #[track_caller]
    fn top(&self, lab: &Lab, args: &str) {
        let (program, prefix) = (binary(), lab.prefix4());
        let pid = self.files.join("pid");
        // The pid is tracer's: the shell becomes it.
        let (pid, program) = (pid.display(), program.display());
        self.tmux.command(&format!(
            "clear; echo {BEFORE}; sh -c 'echo $$ > {pid}; exec {program} --top --netns self \
             --host {prefix} --iface vb {args}'"
        ));
        self.tmux.wait("the live view", |screen| screen.contains("CONN/s"));
        assert_eq!(self.tmux.ask("#{alternate_on} #{cursor_flag}"), "1 0");
    }

    fn pid(&self) -> Pid {
        let text = std::fs::read_to_string(self.files.join("pid")).expect("the pid");
        Pid::from_raw(text.trim().parse().expect("a number"))
    }

    /// Checks that the terminal is as it was, and what tracer's status was.
    #[track_caller]
    fn given_back(&self, status: i32) -> String {
        let Self { tmux, files } = self;
        let files = files.display();
        tmux.wait("the shell's screen", |screen| screen.trim_end().ends_with('$'));
        let screen = tmux.screen_with_history();
        assert!(screen.contains(BEFORE), "the old screen is not back:\n{screen}");
        assert_eq!(tmux.ask("#{alternate_on} #{cursor_flag}"), "0 1", "{screen}");
        tmux.command(&format!("echo $? > {files}/status; stty -g > {files}/after; echo do''ne"));
        tmux.wait("the shell", |screen| screen.contains("\ndone"));
        let read = |name: &str| std::fs::read_to_string(self.files.join(name)).expect("read");
        assert_eq!(read("status").trim(), status.to_string(), "{screen}");
        assert_eq!(read("after"), read("before"), "the terminal's settings");
        screen
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.files);
    }
}

/// So many connections from host a's address `from` that end well.
fn closed(lab: &Lab, listener: &std::net::TcpListener, from: IpAddr, n: usize) {
    for _ in 0..n {
        let server = listener.local_addr().expect("an address");
        let bind = |socket: &socket2::Socket| {
            let any = std::net::SocketAddr::new(from, 0);
            socket.bind(&any.into()).expect("bind()");
        };
        let client = lab.a.run(|| connect_here(server, bind)).expect("connect()");
        let mut accepted = accept(listener);
        drop(client);
        accepted.hear_end();
        drop(accepted);
    }
}

/// So many connections to host a that are refused.
fn refused(lab: &Lab, n: usize) {
    for _ in 0..n {
        let closed = std::net::SocketAddr::new(lab.a4(), 9);
        let error = lab.b.try_connect(closed, |_| ()).expect_err("nobody listens");
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
    }
}

/// The line of the table that begins with `host`.
fn row(screen: &str, host: IpAddr) -> Option<String> {
    let host = format!("{host} ");
    screen.lines().find(|line| line.starts_with(&host)).map(str::to_owned)
}

/// Ends according to the line of totals.
fn ended(screen: &str) -> Option<u64> {
    let totals = screen.lines().find_map(|line| line.strip_prefix("ended "))?;
    totals.split(' ').next()?.parse().ok()
}

#[test]
fn a_session_from_start_to_quit() {
    scenario(|lab| {
        let desk = Desk::new(lab);
        let tmux = &desk.tmux;
        let listener = lab.b.listen(lab.b4_port(8080));
        let busy = lab.more_addresses(1)[0];
        desk.top(lab, "");
        closed(lab, &listener, busy, 20);
        refused(lab, 3);
        closed(lab, &listener, lab.a4(), 2);

        // Whole run, so that nothing moves on under the test.
        tmux.say("ii");
        tmux.say("i");
        tmux.say("i");
        let shown = |screen: &str| {
            screen.contains("whole run")
                && row(screen, busy).is_some_and(|row| row.contains(" 20 "))
                && row(screen, lab.a4()).is_some_and(|row| row.contains(" 5 "))
        };
        let screen = tmux.wait("both hosts", shown);
        assert_eq!(ended(&screen), Some(25), "{screen}");
        let place = |screen: &str, host| screen.find(&format!("\n{host} "));
        assert!(
            place(&screen, busy) < place(&screen, lab.a4()),
            "most connections first:\n{screen}"
        );
        assert!(screen.contains("refused") && screen.contains("← closed"), "{screen}");

        tmux.say("s");
        tmux.wait("most failed first", |screen| {
            screen.contains("FAIL▼") && place(screen, lab.a4()) < place(screen, busy)
        });
        tmux.say("/refused");
        tmux.press("Enter");
        tmux.wait("only what was refused", |screen| {
            row(screen, busy).is_none()
                && row(screen, lab.a4()).is_some()
                && !screen.contains("← closed")
        });
        tmux.press("Escape");
        tmux.wait("all again", |screen| row(screen, busy).is_some());

        tmux.press("Space");
        tmux.wait("the pause", |screen| screen.contains("PAUSED"));
        closed(lab, &listener, busy, 5);
        pause(1500);
        let screen = tmux.screen();
        assert_eq!(ended(&screen), Some(25), "the display stands still:\n{screen}");
        tmux.press("Space");
        tmux.wait("what came meanwhile", |screen| ended(screen) == Some(30));

        tmux.say("S");
        tmux.press("Home");
        tmux.press("Enter");
        let screen = tmux.wait("the host", |screen| {
            screen.contains(&format!("Host {busy}")) && screen.contains("ESTABLISHED")
        });
        assert!(screen.contains("whole run      25"), "{screen}");
        tmux.press("Enter");
        tmux.wait("one connection", |screen| screen.contains("the peer closed first"));
        tmux.press("Escape");
        tmux.press("Escape");
        tmux.say("l");
        tmux.wait("the listener", |screen| {
            screen.lines().any(|line| line.starts_with(":8080 ") && line.contains(" 27 "))
        });
        tmux.say("l?");
        tmux.wait("the help", |screen| screen.contains("suspend; tracer stands still"));
        tmux.press("Escape");

        tmux.resize((140, 40));
        tmux.wait("more keys in the footer", |screen| screen.contains("m messages"));
        tmux.resize((60, 20));
        tmux.wait("a sentence", |screen| screen.contains("needs 80 columns"));
        tmux.resize(SMALL);
        tmux.wait("the table again", |screen| row(screen, busy).is_some());

        tmux.press("C-z");
        tmux.wait("the shell's word", |screen| screen.contains("Stopped"));
        assert_eq!(tmux.ask("#{alternate_on} #{cursor_flag}"), "0 1");
        tmux.command("fg");
        tmux.wait("the view again", |screen| row(screen, busy).is_some());
        closed(lab, &listener, busy, 1);
        tmux.wait("it goes on", |screen| ended(screen) == Some(31));

        tmux.say("q");
        let screen = desk.given_back(0);
        assert!(screen.contains("31 connections ended"), "{screen}");
        assert!(screen.contains("tracing --host"), "what was said at the start:\n{screen}");
    });
}

#[test]
fn signals_give_the_terminal_back() {
    scenario(|lab| {
        let desk = Desk::new(lab);
        let listener = lab.b.listen(lab.b4_port(8080));
        for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
            desk.top(lab, "");
            closed(lab, &listener, lab.a4(), 1);
            kill(desk.pid(), signal).expect("kill()");
            let screen = desk.given_back(0);
            assert!(screen.contains("1 connection ended"), "{signal}:\n{screen}");
        }
        // As somebody else's ^Z does.
        desk.top(lab, "");
        kill(desk.pid(), Signal::SIGTSTP).expect("kill()");
        desk.tmux.wait("the shell's word", |screen| screen.contains("Stopped"));
        assert_eq!(desk.tmux.ask("#{alternate_on} #{cursor_flag}"), "0 1");
        desk.tmux.command("fg");
        desk.tmux.wait("the view again", |screen| screen.contains("CONN/s"));
        desk.tmux.press("C-c");
        let _ = desk.given_back(0);
    });
}

#[test]
fn records_go_to_a_file_meanwhile_and_nothing_is_coloured_that_should_not() {
    scenario(|lab| {
        let desk = Desk::new(lab);
        let listener = lab.b.listen(lab.b4_port(8080));
        let file = desk.files.join("records");
        let args = format!(
            "--color never --format json --interval 1 --count 4 --output {}",
            file.display()
        );
        desk.top(lab, &args);
        closed(lab, &listener, lab.a4(), 3);
        desk.tmux.wait("three ends", |screen| ended(screen) == Some(3));
        let screen = desk.tmux.screen_with_colors();
        let colored = |screen: &str| {
            (30..38).chain(40..48).any(|code| {
                screen.contains(&format!("[{code}m")) || screen.contains(&format!(";{code}m"))
            }) || screen.contains("38;5;")
        };
        assert!(!colored(&screen), "{screen:?}");
        closed(lab, &listener, lab.a4(), 1);
        let _ = desk.given_back(0);
        let text = std::fs::read_to_string(&file).expect("the records");
        let records: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let all = |kind: &str| records.iter().filter(|r| r["type"] == kind).count();
        assert_eq!((all("start"), all("connection"), all("end")), (1, 4, 1), "{text}");
        let end = records.last().expect("a record");
        assert_eq!((&end["connections"], &end["events_lost"]), (&4.into(), &0.into()));

        desk.top(lab, "--color always");
        let deadline = Duration::from_secs(10);
        wait_until("colours", deadline, || colored(&desk.tmux.screen_with_colors()));
        desk.tmux.say("q");
        let _ = desk.given_back(0);
    });
}

#[test]
fn what_is_said_meanwhile_is_shown_and_printed_at_the_end() {
    scenario(|lab| {
        let desk = Desk::new(lab);
        // An interface that comes up is worth a line.
        let prefix = lab.prefix4();
        desk.tmux.command(&format!(
            "clear; echo {BEFORE}; {} --top --netns self --host {prefix} --log-level info",
            binary().display()
        ));
        desk.tmux.wait("the live view", |screen| screen.contains("CONN/s"));
        lab.b.sh("ip link add latecomer type veth peer name other");
        lab.b.sh("ip link set latecomer up");
        desk.tmux.wait("a message", |screen| screen.contains("message: m"));
        desk.tmux.say("m");
        desk.tmux.wait("what it says", |screen| screen.contains("SYN hook on latecomer"));
        desk.tmux.press("Escape");
        desk.tmux.wait("that it was seen", |screen| !screen.contains("message: m"));
        desk.tmux.say("q");
        let screen = desk.given_back(0);
        assert!(screen.contains("SYN hook on latecomer"), "{screen}");
    });
}

#[test]
fn a_flood_is_shown_above_everything() {
    scenario(|lab| {
        let desk = Desk::new(lab);
        let _listener = lab.b.listen(lab.b4_port(8080));
        desk.top(lab, "");
        let source = IpAddr::from([10, 200, 0, 1]);
        let _ = Flood::new(lab.b4_port(8080), 12_000, 3_000).from(Sources::One(source)).run(lab);
        let listener = lab.b4_port(8080);
        let banner = format!(" FLOOD {listener} single_source, ");
        let screen = desk.tmux.wait("the flood", |screen| screen.contains(&banner));
        assert!(screen.contains("most 10.200.0.1/32"), "{screen}");
        desk.tmux.wait("its source", |screen| {
            row(screen, source).is_some_and(|row| row.contains(" single_s"))
        });
        desk.tmux.say("a");
        desk.tmux.wait("all of it", |screen| screen.contains("one address sends most of it"));
        desk.tmux.press("Escape");
        // Before it is over, which nothing tells of until then.
        desk.tmux.wait("its end", |screen| screen.contains("confirmed: quiet since "));
        desk.tmux.say("q");
        let _ = desk.given_back(0);
    });
}

#[test]
fn an_error_before_anything_is_shown_is_said_where_it_is_seen() {
    scenario(|lab| {
        let desk = Desk::new(lab);
        let program = binary();
        let line = format!("clear; echo {BEFORE}; {} --top --iface nowhere", program.display());
        desk.tmux.command(&line);
        desk.tmux.wait("the error", |screen| screen.contains("there is no interface nowhere"));
        let _ = desk.given_back(1);
    });
}

#[test]
fn a_terminal_that_goes_away_ends_it() {
    scenario(|lab| {
        let desk = Desk::new(lab);
        let file = desk.files.join("records");
        desk.top(lab, &format!("--format json --output {}", file.display()));
        let pid = desk.pid();
        desk.tmux.hang_up();
        wait_until("tracer ends", Duration::from_secs(10), || kill(pid, None).is_err());
        let text = std::fs::read_to_string(&file).expect("the records");
        let last = text.lines().last().expect("a record");
        assert!(last.contains("\"type\":\"end\""), "{text}");
    });
}

#[test]
fn without_a_terminal_it_says_so() {
    scenario(|lab| {
        let fails = |args: &[&str], status: i32, words: &str| {
            let out =
                command(&lab.b, args).stdin(Stdio::null()).output().expect("start the tracer");
            let stderr = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(status), "{stderr}");
            assert!(stderr.contains(words) && out.stdout.is_empty(), "{stderr}");
        };
        fails(&["--top"], 1, "--top needs a terminal on stdin and stdout");
        fails(&["--top", "--format", "json"], 2, "--output");
        fails(&["--top", "--interval", "3"], 2, "--interval needs --output");
        fails(&["--top", "--states"], 2, "--states needs --output");
        fails(&["--top", "--test-alert"], 2, "nothing for --top to show");
    });
}
