//! Names that attack whoever prints them, and the check that an output stood it.
//!
//! A process names itself, and whoever makes a cgroup names it. To hold an output against these
//! names, let it run, have [`connections`] made, and give what it wrote to [`check`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use tracer::report::escape::is_harmful;

use super::child::set_raw_name;
use super::sock::{Talk as _, accept, connect_here};
use super::{Cgroup, Child, Lab, Value};

/// In every hostile name: whatever of it gets through can be found.
const MARK: &str = "zq";

/// Names of processes; the kernel takes up to 15 bytes of anything but NUL.
pub(crate) const COMMS: &[&[u8]] = &[
    // Colours, the window's title, the screen cleared; the same with the one-byte CSI of C1.
    b"\x1b[31;1mzq",
    b"\x1b]0;zq\x07",
    b"\x1b[2J\x1b[Hzq",
    b"zq\xc2\x9b31m",
    // Lines and columns that are not there.
    b"a\nzq 0 b",
    b"a\rzq\tb\x0b\x0c",
    b"zq\x08\x08\x08\x7f",
    b"zq\xe2\x80\xa8\xe2\x80\xa9",
    // Ends of strings, labels, elements, fields.
    b"\"zq\\",
    b"\\\"zq\\n\",\"",
    b"zq\"} 1\nzq 1",
    b"'><zq a=b>",
    b"</script>zq",
    b"<!--zq",
    b"]]>zq&lt;${zq}",
    b"zq,;|=#%s%n {}",
    // No UTF-8: a stray byte, a cut character, an overlong slash, a surrogate.
    b"zq\xff\xfe",
    b"zq\xe2\x82",
    b"zq\xc0\xaf",
    b"zq\xed\xa0\x80",
    // Writing direction turned around, characters without a width.
    b"zq\xe2\x80\xaegpj",
    b"zq\xe2\x81\xa6\xe2\x80\x8b",
    b"\xef\xbb\xbfzq\xcc\x81",
    // Nothing to see.
    b" zq ",
];

/// A cgroup's name of the same kind. The kernel takes all but a line's end and the slash.
pub(crate) const CGROUP: &[u8] =
    b"zq \x1b[31m\"\\\t\r\x7f\xff\xe2\x82\xe2\x80\xae\xc2\x9b<zq a='b'><!--zq";

/// Has processes with these names, all in a cgroup with such a name, connect from host b to
/// port 8080 of host a, one after the other, and close. A cgroup has a name as long as it is there:
/// the caller keeps it until who is to tell the name has ended.
#[must_use]
pub(crate) fn connections(lab: &Lab) -> Cgroup {
    let mut name = CGROUP.to_vec();
    name.extend(std::process::id().to_string().bytes());
    let cgroup = Cgroup::new(OsStr::from_bytes(&name));
    let addr = std::net::SocketAddr::new(lab.a4(), 8080);
    let listener = lab.a.listen(addr);
    for comm in COMMS {
        let procs = cgroup.path().join("cgroup.procs");
        let client = Child::start(&lab.b, "hostile", move |_| {
            set_raw_name(comm);
            std::fs::write(procs, "0").expect("join the cgroup");
            drop(connect_here(addr, |_| ()).expect("connect()"));
        });
        accept(&listener).hear_end();
        client.join();
    }
    cgroup
}

/// Parts of names that must not be in a page as they are.
const TAGS: [&str; 5] = ["<zq", "</script>zq", "<script>zq", "<!--zq", "]]>zq"];

/// What kind of output it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(dead_code, reason = "each output brings its own")]
pub(crate) enum Form {
    /// Lines for people.
    Text,
    /// JSON, an object a line.
    Json,
    /// A page for browsers.
    Html,
    /// What must not have any names at all: metrics.
    Nameless,
}

/// Checks that no name got through as anything but text, and that names are there.
///
/// # Panics
/// If one did, with the line.
#[track_caller]
pub(crate) fn check(form: Form, output: &[u8]) {
    if let Some(fault) = fault(form, output) {
        panic!("{form:?}: {fault}\n{}", String::from_utf8_lossy(output).escape_debug());
    }
}

/// What is wrong with an output.
fn fault(form: Form, output: &[u8]) -> Option<String> {
    let Ok(text) = std::str::from_utf8(output) else { return Some("no UTF-8".to_owned()) };
    if text.contains(MARK) == (form == Form::Nameless) {
        return Some("names are there where none may be, or are not".to_owned());
    }
    // A terminal ends its lines so.
    text.replace("\r\n", "\n").lines().find_map(|line| {
        // What a terminal or an editor would follow. A page may be indented by tabs.
        let steers = |c: char| is_harmful(c) && (c != '\t' || form != Form::Html);
        let wrong = if line.contains(steers) {
            "steers a terminal"
        } else if line.starts_with(MARK) {
            "a name began a line"
        } else if form == Form::Json
            && !serde_json::from_str(line).is_ok_and(|value: Value| value.is_object())
        {
            "no JSON object"
        } else if form == Form::Html && TAGS.iter().any(|tag| line.contains(tag)) {
            "a tag out of a name"
        } else {
            return None;
        };
        Some(format!("{wrong}: {line:?}"))
    })
}

#[test]
fn what_gets_through_is_found() {
    for comm in COMMS {
        assert!(comm.len() <= 15 && !comm.contains(&0), "the kernel would cut {comm:?}");
        assert!(comm.windows(2).any(|part| part == MARK.as_bytes()), "{comm:?} has no mark");
    }
    let framed = |comm: &[u8]| [b"12:00 ", comm, b" closed"].concat();
    // As they are they harm a text, but for those that are made of punctuation.
    let harmless = COMMS.iter().filter(|comm| fault(Form::Text, &framed(comm)).is_none());
    assert_eq!(harmless.count(), 8);
    for (form, output, right) in [
        (Form::Text, &b"12:00 \\x1b[31mzq/7 closed\r\n"[..], true),
        (Form::Text, b"no name at all", false),
        (Form::Json, br#"{"comm":"\u001b[31mzq"}"#, true),
        (Form::Json, br#"{"comm":"""zq\"}"#, false),
        (Form::Html, b"\t<td>&lt;zq a=b&gt;</td>", true),
        (Form::Html, b"<td>'><zq a=b></td>", false),
        (Form::Nameless, b"x_total 1\n", true),
        (Form::Nameless, b"x_total{comm=\"zq\"} 1\n", false),
    ] {
        let fault = fault(form, output);
        assert_eq!(fault.is_none(), right, "{form:?} {}: {fault:?}", output.escape_ascii());
    }
}
