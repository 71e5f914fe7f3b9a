//! Names with escape sequences, line ends, quotes and bytes that are no UTF-8 do no harm, whatever
//! the output.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::hostile::{COMMS, Form, check, connections};
use crate::support::scrape::{endpoint, scrape};
use crate::support::terminal::Program;
use crate::support::tracer::command;
use crate::support::{Tracer, scenario, wait_until};

#[test]
fn json() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--role", "client", "--states"]);
        let _cgroup = connections(lab);
        let run = tracer.stop_after(COMMS.len());
        // As data each is what it is.
        for (record, comm) in run.fine().connections().iter().zip(COMMS) {
            assert_eq!(record["comm"], String::from_utf8_lossy(comm).as_ref(), "{record}");
            let cgroup = record["cgroup"].as_str().unwrap_or_default();
            assert!(cgroup.starts_with("/zq \u{1b}[31m\"\\\t\r\u{7f}\u{fffd}"), "{record}");
        }
        assert_eq!(run.connections().len(), COMMS.len());
        check(Form::Json, run.lines.as_bytes());
    });
}

#[test]
fn lines_in_a_pipe_and_on_terminals() {
    scenario(|lab| {
        let prefix = lab.prefix4();
        let args = ["--host", &prefix, "--role", "client", "--states"];
        let widths = [None, Some(80), Some(200)];
        let mut runs = widths.map(|columns| Program::start(command(&lab.b, &args), columns));
        for run in &runs {
            wait_until("it traces", Duration::from_secs(15), || {
                run.notices.text().contains("buffers:")
            });
        }
        let _cgroup = connections(lab);
        for run in &mut runs {
            let ended = |text: &str| text.lines().filter(|line| line.contains("closed")).count();
            wait_until("every end", Duration::from_secs(10), || {
                ended(&run.out.text()) >= COMMS.len()
            });
            run.signal(Signal::SIGINT);
            assert!(run.wait().success(), "{}", run.notices.text());
            let text = run.out.text();
            check(Form::Text, text.as_bytes());
            assert_eq!(ended(&text), COMMS.len(), "{text}");
        }
    });
}

#[test]
fn metrics() {
    scenario(|lab| {
        let at = endpoint().to_string();
        let tracer = Tracer::start(lab, &["--role", "client", "--metrics", &at]);
        let _cgroup = connections(lab);
        tracer.wait_connections(COMMS.len());
        let text = scrape(&lab.b);
        assert!(text.contains("tracer_connections"), "{text}");
        check(Form::Nameless, text.as_bytes());
        tracer.stop().fine();
    });
}

#[test]
fn filters_on_stderr_and_in_the_start_record() {
    scenario(|lab| {
        let hostile = "\u{1b}[31mzq\u{202e}\n\"";
        let args = ["--comm", hostile, "--cgroup", hostile, "--duration", "0.2"];
        let run = Tracer::spawn(&mut command(&lab.b, &args)).finish();
        assert!(run.status.success(), "{}", run.stderr);
        check(Form::Text, run.stderr.as_bytes());
        let run = Tracer::start_in(&lab.b, &args).finish();
        assert!(run.start()["filters"].to_string().contains("zq"), "{}", run.start());
        run.fine();
    });
}

#[test]
fn the_report_page() {
    scenario(|lab| {
        let folder = tempfile::TempDir::new().expect("a directory");
        let path = folder.path().join("run.html");
        let report = path.to_str().expect("UTF-8");
        let args = ["--role", "client", "--comm", "zq\u{1b}[31m<zq", "--report", report];
        Tracer::start(lab, &args).stop().fine();
        check(Form::Html, &std::fs::read(&path).expect("the filter's page"));
        let tracer = Tracer::start(lab, &["--role", "client", "--report", report]);
        let _cgroup = connections(lab);
        tracer.stop_after(COMMS.len()).fine();
        check(Form::Html, &std::fs::read(&path).expect("the page"));
    });
}
