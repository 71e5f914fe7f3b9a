//! `--check` for people.

use anstyle::{AnsiColor, Style};

use unicode_width::UnicodeWidthStr as _;

use super::line::Line;
use super::notice::wrap;
use super::{BAD, HEADER, PLAIN, SLOW};
use crate::report::Screen;
use crate::report::check::{Check, Finding, Verdict};
use crate::report::escape::{Blanks, escape};

/// Columns where there is no terminal: it is read by people all the same.
const WIDTH: usize = 80;
/// Where names and details begin.
const NAME: usize = 10;
/// Longer names push their details into the next line.
const DETAIL: usize = 34;

const GOOD: Style = AnsiColor::Green.on_default();

/// The whole answer, in lines of the screen's width.
#[must_use]
pub fn check(check: &Check, screen: Screen) -> String {
    let mut page =
        Page { out: Vec::new(), color: screen.color, width: screen.width.unwrap_or(WIDTH) };
    page.paragraph(&format!("tracer {}, kernel {}", check.version, check.kernel), 0, PLAIN);
    let mut group = None;
    for finding in &check.findings {
        if group.replace(finding.group) != Some(finding.group) {
            page.paragraph("", 0, PLAIN);
            page.paragraph(finding.group.title(), 0, HEADER);
        }
        page.finding(finding);
    }
    if !check.cannot.is_empty() {
        page.paragraph("", 0, PLAIN);
        page.paragraph("What can't be had here", 0, HEADER);
        for what in &check.cannot {
            page.paragraph(&format!("  {what}"), 4, PLAIN);
        }
    }
    page.paragraph("", 0, PLAIN);
    let missing = check.findings.iter().any(|finding| finding.verdict == Verdict::Missing);
    let (verdict, style) = match (check.works(), missing) {
        (true, false) => ("Tracing works here.", GOOD),
        (true, true) => ("Tracing works here, without what is missing above.", GOOD),
        (false, _) => ("Tracing does not work here.", BAD),
    };
    page.paragraph(verdict, 0, style);
    String::from_utf8_lossy(&page.out).into_owned()
}

struct Page {
    out: Vec<u8>,
    color: bool,
    width: usize,
}

impl Page {
    fn paragraph(&mut self, text: &str, indent: usize, style: Style) {
        for part in wrap(&safe(text), self.width, indent) {
            let mut line = Line::new(&mut self.out, self.color);
            line.put(&part, style);
            line.end();
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let Finding { group: _, name, verdict, detail } = finding;
        let style = match verdict {
            Verdict::Works => GOOD,
            Verdict::Partly | Verdict::Missing | Verdict::Unknown => SLOW,
            Verdict::Fails => BAD,
        };
        let name = safe(name);
        let detail = safe(detail);
        let room = self.width.saturating_sub(DETAIL);
        let mut parts = wrap(&detail, room, 0).into_iter();
        let mut line = Line::new(&mut self.out, self.color);
        line.left(2, verdict.name(), style);
        line.left(NAME, &name, PLAIN);
        if NAME + name.width() < DETAIL
            && let Some(first) = parts.next()
        {
            line.left(DETAIL, &first, PLAIN);
        }
        line.end();
        for part in parts {
            let mut line = Line::new(&mut self.out, self.color);
            line.left(DETAIL, &part, PLAIN);
            line.end();
        }
    }
}

/// Without anything that steers a terminal; a detail's own lines are joined.
fn safe(text: &str) -> String {
    let joined = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    // Indentation is layout.
    let leading = text.len() - text.trim_start_matches(' ').len();
    let mut safe = " ".repeat(leading);
    let _ = escape(joined.as_bytes(), Blanks::Keep, &mut safe);
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::MonoNs;
    use crate::report::check::Group;

    fn sample(verdict: Verdict) -> Check {
        let finding = |group, name: &str, verdict, detail: &str| Finding {
            group,
            name: name.into(),
            verdict,
            detail: detail.into(),
        };
        Check {
            time: MonoNs(0),
            version: "0.1.0 (commit unknown)",
            kernel: "6.1.0".into(),
            findings: vec![
                finding(Group::Privileges, "CAP_BPF", verdict, "load the kernel programs"),
                finding(
                    Group::SynHook,
                    "an\x1b[31m-interface-with-a-long-name",
                    Verdict::Missing,
                    "a reason that goes on and on until it has to be broken somewhere, and then \
                     some more",
                ),
            ],
            cannot: vec!["no fexit here".into()],
        }
    }

    #[test]
    fn it_reads_well_at_80_columns() {
        let text = check(&sample(Verdict::Works), Screen { width: Some(80), color: false });
        let expected = "\
tracer 0.1.0 (commit unknown), kernel 6.1.0

Privileges
  ok      CAP_BPF                 load the kernel programs

SYN hook, by interface
  missing an\\x1b[31m-interface-with-a-long-name
                                  a reason that goes on and on until it has to
                                  be broken somewhere, and then some more

What can't be had here
  no fexit here

Tracing works here, without what is missing above.
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_fails_is_the_last_word() {
        let text = check(&sample(Verdict::Fails), Screen { width: None, color: false });
        assert!(text.ends_with("\nTracing does not work here.\n"), "{text}");
        assert!(text.lines().all(|line| line.width() <= 80), "{text}");
        let coloured = check(&sample(Verdict::Fails), Screen { width: None, color: true });
        assert!(coloured.contains("\x1b[31mfails"), "{coloured}");
    }
}
