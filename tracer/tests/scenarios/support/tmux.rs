//! A terminal: tmux without a config of anybody's, in a host's namespace, for programs that want one.

use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use super::netns::Netns;
use super::{ms, patience, unique};

/// A shell in a terminal of its own. Ends with the value.
pub(crate) struct Tmux {
    ns: Netns,
    socket: PathBuf,
}

impl Tmux {
    /// A terminal of so many columns and lines, with a bash that has job control and the prompt
    /// `$ `.
    pub(crate) fn start(ns: &Netns, (width, height): (u16, u16)) -> Self {
        let socket = std::env::temp_dir().join(format!("tracer-tmux-{}", unique()));
        let tmux = Self { ns: ns.clone(), socket };
        let (width, height) = (width.to_string(), height.to_string());
        // However the test ends, the shell does not outlive it for long, and tmux not the shell.
        let shell = "exec timeout --foreground 120 env PS1='$ ' bash --norc --noprofile";
        let size = ["-x", &width, "-y", &height];
        tmux.run(&[&["new-session", "-d"], &size[..], &[shell]].concat());
        tmux.wait("the prompt", |screen| screen.trim_end().ends_with('$'));
        tmux
    }

    fn try_run(&self, args: &[&str]) -> Output {
        self.ns
            .command("tmux")
            .arg("-S")
            .arg(&self.socket)
            .args(["-f", "/dev/null"])
            .args(args)
            .env_remove("TMUX")
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("start tmux")
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        let out = self.try_run(args);
        assert!(out.status.success(), "tmux {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Types text as it is.
    #[track_caller]
    pub(crate) fn say(&self, text: &str) {
        self.run(&["send-keys", "-l", text]);
    }

    /// Presses a key by tmux's name for it: `Enter`, `Escape`, `C-z`.
    #[track_caller]
    pub(crate) fn press(&self, key: &str) {
        self.run(&["send-keys", key]);
    }

    /// Types a command line.
    #[track_caller]
    pub(crate) fn command(&self, line: &str) {
        self.say(line);
        self.press("Enter");
    }

    /// What is on the screen.
    #[track_caller]
    pub(crate) fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// The same with the lines that have left it at the top.
    #[track_caller]
    pub(crate) fn screen_with_history(&self) -> String {
        self.run(&["capture-pane", "-p", "-S", "-"])
    }

    /// With colours and the like as escape sequences.
    #[track_caller]
    pub(crate) fn screen_with_colors(&self) -> String {
        self.run(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen is as wanted; the screen.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + patience(Duration::from_secs(15));
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}; the screen:\n{screen}");
            std::thread::sleep(ms(50));
        }
    }

    /// Makes the window another size.
    #[track_caller]
    pub(crate) fn resize(&self, (width, height): (u16, u16)) {
        self.run(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Something tmux knows, such as `#{alternate_on}`.
    #[track_caller]
    pub(crate) fn ask(&self, format: &str) -> String {
        self.run(&["display-message", "-p", format]).trim().to_owned()
    }

    /// Ends the terminal, as a connection that breaks does.
    pub(crate) fn hang_up(&self) {
        let _ = self.try_run(&["kill-server"]);
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.hang_up();
        let _ = std::fs::remove_file(&self.socket);
    }
}
