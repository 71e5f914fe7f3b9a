//! The line that says how far a `--duration` run has come, on a real terminal: tmux's.

use std::process::Command;
use std::time::Duration;

use crate::support::tracer::{binary, command};
use crate::support::{Lab, scenario, unique, wait_until};

/// A terminal of 80 columns in which a command runs; it stays when that has ended.
struct Terminal {
    socket: String,
}

impl Terminal {
    #[track_caller]
    fn run(lab: &Lab, script: &str) -> Self {
        let terminal = Self { socket: format!("tracer-test-{}", unique()) };
        let held = format!("{script}; echo \"ended $?\"; sleep 60");
        let mut tmux = lab.b.command("tmux");
        tmux.args(["-L", &terminal.socket, "-f", "/dev/null", "new-session", "-d"])
            .args(["-x", "80", "-y", "40", &held])
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8");
        let output = tmux.output().expect("start tmux");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = Command::new("tmux").args(["-L", &self.socket]).args(args).output();
        String::from_utf8_lossy(&output.expect("run tmux").stdout).into_owned()
    }

    /// What is on the screen.
    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        let mut screen = String::new();
        wait_until(text, Duration::from_secs(15), || {
            screen = self.screen();
            screen.contains(text)
        });
        screen
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The server behind this socket, and no other.
        self.tmux(&["kill-server"]);
    }
}

/// A connection within host b, seen from both sides.
fn connect(lab: &Lab) {
    lab.b.run(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
        let port = listener.local_addr().expect("an address").port();
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connect");
        drop(listener.accept().expect("accept"));
        drop(client);
    });
}

#[test]
fn records_on_the_same_terminal_are_not_disturbed() {
    scenario(|lab| {
        let tracer = binary();
        let script = format!("{} --iface lo --netns self --duration 6", tracer.display());
        let terminal = Terminal::run(lab, &script);
        terminal.wait_for("1s of 6s, 0 connections ended");
        connect(lab);
        let screen = terminal.wait_for("closed");
        assert!(screen.contains("REMOTE"), "{screen}");
        terminal.wait_for("s of 6s, 2 connections ended");
        connect(lab);
        let screen = terminal.wait_for("ended 0");
        // Gone, and no piece of it is left in any line.
        assert!(!screen.contains("of 6s,") && !screen.contains("connections ended\n"), "{screen}");
        let row = |line: &&str| {
            line.starts_with(|c: char| c.is_ascii_digit()) && line.ends_with(" closed")
        };
        let rows: Vec<_> = screen.lines().filter(row).collect();
        assert_eq!(rows.len(), 4, "{screen}");
        assert!(screen.contains("\n4 connections ended in 6."), "{screen}");
    });
}

#[test]
fn records_in_a_file_hold_nothing_of_it() {
    scenario(|lab| {
        let file = std::env::temp_dir().join(format!("tracer-progress-{}", unique()));
        let tracer = binary();
        let script = format!(
            "{} --iface lo --netns self --format json --duration 4 >{}",
            tracer.display(),
            file.display()
        );
        let terminal = Terminal::run(lab, &script);
        terminal.wait_for("1s of 4s, 0 connections ended");
        connect(lab);
        terminal.wait_for("s of 4s, 2 connections ended");
        let screen = terminal.wait_for("ended 0");
        assert!(!screen.contains("of 4s"), "{screen}");
        let text = std::fs::read_to_string(&file).expect("read the file");
        std::fs::remove_file(&file).expect("tidy up");
        assert!(text.lines().all(|line| line.starts_with("{\"type\":")), "{text}");
    });
}

#[test]
fn without_a_terminal_there_is_none() {
    scenario(|lab| {
        let args = ["--iface", "lo", "--netns", "self", "--duration", "2.5"];
        let output = command(&lab.b, &args).output().expect("run it");
        assert!(output.status.success());
        for text in [output.stdout, output.stderr] {
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(!text.contains("of 2.5s") && !text.contains('\x1b'), "{text}");
        }
    });
}
