//! Who else is told of a capture: the page of `--report`, the program of `--on-alert`, a receiver of
//! OTLP.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::{both_ends, read, recorded};
use crate::support::capture::Kept;
use crate::support::flood::{Flood, swallow_answers};
use crate::support::sock::{Talk as _, accept};
use crate::support::{Lab, pause, scenario};

/// What ends a flood within the capture.
const CLEAR: [&str; 2] = ["--flood-clear", "1"];

/// A capture of a flood, connections before it and one that shows time go on behind it.
fn flooded(lab: &Lab) -> Kept {
    swallow_answers(lab);
    let (_, file) = recorded(lab, ("vb", &[]), &["--local-port", "8080"], 3, || {
        let listener = lab.b.listen(lab.b4_port(8080));
        let connection = |reset: bool| {
            let client = lab.a.connect(lab.b4_port(8080));
            let mut server = accept(&listener);
            if reset {
                client.close_with_reset();
                pause(20);
            } else {
                drop(client);
                server.hear_end();
            }
        };
        connection(false);
        connection(true);
        Flood::new(lab.b4_port(8080), 4_000, 2_000).run(lab);
        pause(3_500);
        connection(false);
    });
    file
}

/// The number that the page shows in a field; `None` where it shows that it is not known.
#[track_caller]
fn shown(page: &str, field: &str) -> Option<u64> {
    let (_, behind) = page.split_once(&format!("data-field=\"{field}\">")).expect("the field");
    let value = behind.strip_prefix("<data value=\"")?;
    value.split_once('"').expect("a value").0.parse().ok()
}

#[test]
fn the_page_shows_the_capture() {
    scenario(|lab| {
        let file = flooded(lab);
        let folder = TempDir::new().expect("a directory");
        let path = folder.path().join("run.html");
        let report = path.to_str().expect("UTF-8");
        let local = both_ends(lab);
        let args = [&["--local", &local, "--report", report], &CLEAR[..]].concat();
        let run = read(lab, &file, &args);
        let page = std::fs::read_to_string(&path).expect("the page");
        assert!(page.trim_end().ends_with("</html>"), "{page}");
        for field in ["connections", "handshakes_failed", "events", "syns"] {
            assert_eq!(shown(&page, field), run.fine().end()[field].as_u64(), "{field}");
        }
        assert_eq!(run.end()["connections"], 6, "{}", run.dump());
        for told_from in [file.name(), &lab.prefix4(), &lab.prefix6()] {
            assert!(page.contains(&format!("<code>{told_from}</code>")), "{told_from}: {page}");
        }
        assert!(page.contains("<b>1 SYN flood. </b>"), "{page}");
        // In the capture's time.
        let began = run.start()["time"].as_str().expect("a time");
        let second = began.split('.').next().expect("seconds");
        assert!(page.contains(&format!("<time datetime=\"{second}")), "{began}: {page}");
        // Nobody knows of which host.
        assert!(!page.contains("Kernel"), "{page}");
    });
}

#[test]
fn a_program_is_told_of_the_capture_s_flood() {
    scenario(|lab| {
        let file = flooded(lab);
        let folder = TempDir::new().expect("a directory");
        let (script, told) = (folder.path().join("tell"), folder.path().join("told"));
        let text = format!("#!/bin/sh\nexec cat >>{}\n", told.display());
        std::fs::write(&script, text).expect("write the program");
        std::fs::write(&told, "").expect("make the file");
        // It runs as nobody.
        for (path, mode) in [(folder.path(), 0o755), (&script, 0o755), (&told, 0o666)] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path, permissions).expect("chmod");
        }
        let local = lab.b4().to_string();
        let program = script.to_str().expect("UTF-8");
        let args = [&["--local", &local, "--on-alert", program], &CLEAR[..]].concat();
        let run = read(lab, &file, &args);
        let told = std::fs::read_to_string(&told).expect("what it was told");
        let told: Vec<&str> = told.lines().collect();
        // What the report says of the flood, but for updates that say nothing new.
        let records: Vec<&str> = run.fine().lines.lines().collect();
        assert!(told.iter().all(|line| records.contains(line)), "{told:?}\n{}", run.dump());
        let event = |line: Option<&&str>, event: &str| {
            line.is_some_and(|line| {
                line.starts_with("{\"type\":\"flood\"")
                    && line.contains(&format!("\"event\":\"{event}\""))
            })
        };
        assert!(event(told.first(), "start") && event(told.last(), "end"), "{told:?}");
        assert!(!run.stderr.contains("--on-alert"), "{}", run.stderr);
    });
}

#[cfg(feature = "otlp")]
#[test]
fn a_receiver_is_told_of_the_capture() {
    use crate::otlp::{check_all, totals_agree};
    use crate::support::otlp::Receiver;

    scenario(|lab| {
        let file = flooded(lab);
        let receiver = Receiver::of_capture(lab);
        let (local, endpoint) = (both_ends(lab), receiver.endpoint());
        let args = [&["--local", &local, "--otlp", &endpoint], &CLEAR[..]].concat();
        let run = read(lab, &file, &args);
        assert_eq!(run.fine().connections().len(), 6, "{}", run.dump());
        check_all(&run, &receiver);
        totals_agree(run.end(), &receiver.metrics());
        let logs = receiver.logs();
        let floods = logs.iter().filter(|log| log["event_name"] == "tracer.flood").count();
        assert_eq!(floods, run.all("flood").len());
        assert!(floods >= 2 && !run.stderr.contains("OTLP"), "{}", run.stderr);
    });
}
