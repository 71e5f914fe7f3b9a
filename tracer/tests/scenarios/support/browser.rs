//! Chromium without a screen, steered through its DevTools pipe: what a page looks like, and what
//! it tried to do.
//!
//! It runs in a network namespace of its own, in which nothing but `lo` exists.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::netns::Netns;

/// An answer that takes longer does not come.
const LIMIT: Duration = Duration::from_secs(20);

/// A running browser with one tab.
pub(crate) struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    next: u64,
    session: Option<String>,
    events: Vec<Value>,
    /// Its settings, cache and whatever else it writes.
    _home: TempDir,
    _ns: Netns,
}

/// How the page is to be looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Width and height of the window, pixels.
    pub(crate) size: (u32, u32),
    /// What the reader prefers: `light` or `dark`.
    pub(crate) scheme: &'static str,
    /// `screen` or `print`.
    pub(crate) media: &'static str,
}

impl Browser {
    /// Starts it.
    #[track_caller]
    pub(crate) fn start() -> Self {
        let ns = Netns::new();
        let home = TempDir::new().expect("a directory for the browser");
        let (reads, to) = std::io::pipe().expect("pipe()");
        let (from, writes) = std::io::pipe().expect("pipe()");
        let ends: [OwnedFd; 2] = [reads.into(), writes.into()];
        let raw = ends.each_ref().map(|end| end.as_raw_fd());
        let mut command = ns.command("chromium");
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-extensions", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--disable-default-apps"])
            .args(["--remote-debugging-pipe", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", home.path().display()))
            .env("HOME", home.path())
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: fcntl(2) and dup2(2) are async-signal-safe and touch no memory of the parent's.
        unsafe {
            command.pre_exec(move || {
                // Out of the way of 3 and 4 first, which may be one of them.
                let high = raw.map(|fd| libc::fcntl(fd, libc::F_DUPFD, 64));
                for (fd, place) in high.into_iter().zip([3, 4]) {
                    if fd < 0 || libc::dup2(fd, place) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                    libc::close(fd);
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("start chromium (Debian's package of that name)");
        drop(ends);
        let (tell, hear) = channel();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut message = Vec::new();
            while matches!(from.read_until(0, &mut message), Ok(1..)) {
                message.pop();
                let parsed = serde_json::from_slice(&message).unwrap_or(Value::Null);
                if tell.send(parsed).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let to = File::from(OwnedFd::from(to));
        let mut browser = Self {
            child,
            to,
            from: hear,
            next: 0,
            session: None,
            events: Vec::new(),
            _home: home,
            _ns: ns,
        };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = browser.ask(
            "Target.attachToTarget",
            json!({ "targetId": target["targetId"], "flatten": true }),
        );
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// A command, and its answer. Events that come meanwhile are kept.
    #[track_caller]
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("chromium is gone");
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = self.hear(deadline, method);
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    #[track_caller]
    fn hear(&mut self, deadline: Instant, what: &str) -> Value {
        match self.from.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => panic!("chromium does not answer {what}"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("chromium has ended: {:?}", self.child.try_wait())
            }
        }
    }

    /// Opens a file and waits until it is there.
    #[track_caller]
    pub(crate) fn open(&mut self, file: &Path, view: View) {
        let View { size: (width, height), scheme, media } = view;
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1,
                    "mobile": width < 600 }),
        );
        self.ask(
            "Emulation.setEmulatedMedia",
            json!({ "media": media,
                    "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
        self.events.clear();
        let url = format!("file://{}", file.display());
        let opened = self.ask("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        let loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        let deadline = Instant::now() + LIMIT;
        while !self.events.iter().any(loaded) {
            let event = self.hear(deadline, "Page.navigate");
            self.events.push(event);
        }
    }

    /// What an expression in the page comes to. It runs beside the page's own policy.
    #[track_caller]
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.ask(
            "Runtime.evaluate",
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        );
        assert!(answer["exceptionDetails"].is_null(), "{}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// What the browser had to say of the page opened last: errors, warnings, breaches of its
    /// policy; and what the page asked for besides itself.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        // Whatever was said before this answer has been heard.
        self.evaluate("new Promise(done => requestAnimationFrame(() => done(0)))");
        let mut complaints = Vec::new();
        let mut requests = 0;
        for event in &self.events {
            let params = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Log.entryAdded" => complaints.push(params["entry"]["text"].to_string()),
                "Runtime.consoleAPICalled" => complaints.push(params["args"].to_string()),
                "Runtime.exceptionThrown" => {
                    complaints.push(params["exceptionDetails"]["text"].to_string());
                }
                "Audits.issueAdded" => complaints.push(params["issue"].to_string()),
                "Network.requestWillBeSent" => {
                    requests += 1;
                    if requests > 1 {
                        complaints.push(format!("asks for {}", params["request"]["url"]));
                    }
                }
                _ => {}
            }
        }
        complaints
    }

    /// A picture of the whole page, PNG.
    #[track_caller]
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        let answer = self.ask(
            "Page.captureScreenshot",
            json!({ "format": "png", "captureBeyondViewport": true }),
        );
        let data = answer["data"].as_str().unwrap_or_default();
        STANDARD.decode(data).expect("base64")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It is ours and has not been waited for, so its pid is its own; its helpers end when it
        // does.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
