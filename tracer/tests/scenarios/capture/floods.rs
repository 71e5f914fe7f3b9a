//! A flood, judged live and out of the capture.

use std::time::Duration;

use super::{read, recorded};
use crate::support::flood::{Again, Flood, swallow_answers};
use crate::support::tracer::command;
use crate::support::{Check, Value, pause, scenario};

/// The last record of the one flood.
#[track_caller]
fn last<'a>(floods: &[&'a Value]) -> &'a Value {
    let since = &floods[0]["since"];
    assert!(floods.iter().all(|flood| &flood["since"] == since), "{floods:?}");
    floods[floods.len() - 1]
}

#[test]
fn a_flood_is_one_in_the_capture_too() {
    scenario(|lab| {
        swallow_answers(lab);
        let (live, file) = recorded(lab, ("vb", &[]), &["--local-port", "8080"], 0, || {
            let _listener = lab.b.listen(lab.b4_port(8080));
            let sent = Flood::new(lab.b4_port(8080), 12_000, 3_000).run(lab);
            assert!(sent.took < Duration::from_secs(20), "{sent:?}");
            pause(1_500);
        });
        let local = lab.b4().to_string();
        let capture = read(lab, &file, &["--local", &local, "--local-port", "8080"]);
        let (of_live, of_capture) = (live.fine().all("flood"), capture.fine().all("flood"));
        assert!(!of_live.is_empty(), "{}", live.dump());
        assert!(!of_capture.is_empty(), "{}", capture.dump());
        let (one, other) = (last(&of_live), last(&of_capture));
        let syns = one["syn_count"].as_f64().expect("a count");
        let _ = Check::of(other)
            .eq("verdict", one["verdict"].clone())
            .eq("listener/port", 8080)
            .eq("netns", ())
            .within("syn_count", syns * 0.9..=syns * 1.1);
        let _ = Check::of(capture.end()).eq("syns", live.end()["syns"].clone());
    });
}

#[test]
fn syns_sent_again_are_counted_as_live() {
    scenario(|lab| {
        swallow_answers(lab);
        for (device, options) in [("vb", &[] as &[&str]), ("any", &["-y", "LINUX_SLL2"])] {
            let filter = ["--local-port", "8080"];
            let (live, file) = recorded(lab, (device, options), &filter, 0, || {
                let flood = Flood::new(lab.b4_port(8080), 300, 900).again(Again::AtOnce(3));
                assert_eq!(flood.run(lab).packets, 900);
                pause(200);
            });
            let _ = Check::of(live.fine().end()).eq("syns", 900).eq("syns_repeated", 600);
            for (filter, syns, repeated) in [
                (&[] as &[&str], 900, 600),
                (&filter, 900, 600),
                (&["--port", "8080"], 900, 600),
                (&["--remote-port", "8080"], 0, 0),
            ] {
                let capture = read(lab, &file, filter);
                let _ = Check::of(capture.fine().end())
                    .eq("syns", syns)
                    .eq("syns_repeated", repeated)
                    .eq("syns_unparsed", ());
            }
            let text = command(&lab.b, &["--read", file.name()]).output().expect("start");
            let text = String::from_utf8_lossy(&text.stdout);
            assert!(text.contains("900 SYNs seen (600 repeated)"), "{text}");
        }
    });
}
