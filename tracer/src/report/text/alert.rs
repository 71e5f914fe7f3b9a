//! Floods, and what looks like one: several lines that stand out from the table.

use std::fmt::Write as _;

use super::cell::cell;
use super::notice::wrap;
use super::*;
use crate::core::record::{Alert, AlertEvent, Evidence, Queue, Severity, TopSource, Verdict};
use crate::report::escape::{Blanks, escape};
use crate::report::units::{Human, inode};

/// Top sources named on a terminal; a program gets them all.
const SOURCES_SHOWN: usize = 5;
/// Share of the SYNs below which a source is not named to people.
pub(crate) const SHARE_SHOWN: f64 = 0.01;
/// How far what belongs to an alert stands in.
const INDENT: usize = 4;

impl Text {
    /// On a terminal a headline and indented lines of at most its width; else one line that begins
    /// with cells of one word: time, FLOOD or NOTICE, event, listener, verdict, severity.
    pub(super) fn alert(&mut self, alert: &Alert, out: &mut Vec<u8>) {
        let style = if alert.verdict.is_flood() { ALARM } else { STUCK };
        let sentences = self.sentences(alert);
        let Some(width) = self.screen.width else {
            let at = self.clock.local(alert.at);
            let listener = alert.listener.map_or("-".to_owned(), |listener| listener.to_string());
            let severity = alert.severity.map_or("-", Severity::name);
            let mut line = Line::new(out, self.screen.color);
            line.put(&format!("{at} "), PLAIN);
            line.put(&format!("{} {}", kind(alert.verdict), event(alert.event)), style);
            let verdict = alert.verdict.name();
            line.put(&format!(" {listener} {verdict} {severity} {}", sentences.join("; ")), PLAIN);
            line.end();
            return;
        };
        // Between two rows of the table; the header is due again a little sooner.
        self.begun = true;
        let mut lines = 0;
        let mut put = |sentence: &str, style: Style| {
            for wrapped in wrap(sentence, width, INDENT) {
                let mut line = Line::new(out, self.screen.color);
                line.put(&wrapped, style);
                line.end();
                lines += 1;
            }
        };
        let mut head = format!(
            "{:.0} {} {}",
            self.clock.time_of_day(alert.at),
            kind(alert.verdict),
            event(alert.event)
        );
        if let Some(listener) = alert.listener {
            cell!(head, " on {listener}");
        }
        cell!(head, ": {}", alert.verdict.name());
        match alert.severity {
            Some(severity) => cell!(head, ", {}", severity.name()),
            None => head.push_str(", no flood"),
        }
        put(&head, style);
        for sentence in sentences {
            put(&format!("{:INDENT$}{sentence}", ""), PLAIN);
        }
        self.header_in = self.header_in.saturating_sub(lines);
    }

    /// What there is to say, most important first.
    fn sentences(&self, alert: &Alert) -> Vec<String> {
        let Alert {
            at,
            event,
            netns,
            interfaces,
            listener: _,
            verdict,
            severity,
            syn_count,
            syn_rate,
            completed_ratio,
            half_open,
            sources_estimate,
            top_sources,
            queue,
            cookies_sent_rate,
            evidence,
            since,
            until,
        } = alert;
        let mut sentences = Vec::new();
        sentences.push(match severity {
            Some(severity) => format!("{}; {}", meaning(*verdict), weight(*severity)),
            None => meaning(*verdict).to_owned(),
        });
        let (what, since_when) = (
            if *verdict == Verdict::Backscatter { "SYN-ACK" } else { "SYN" },
            self.clock.time_of_day(*since),
        );
        let lasted = Human(until.since(*since));
        let mut figures = match event {
            AlertEvent::End => format!(
                "over: it lasted {lasted}, from {since_when:.0}, and it has been quiet for {}; \
                 {syn_count} {what}s in all, {}/s now",
                Human(at.since(*until)),
                number(*syn_rate)
            ),
            // Some begin when they are told: there is no time yet in which to count.
            AlertEvent::Start if until == since => {
                format!("{} {what}/s, since {since_when:.0}", number(*syn_rate))
            }
            AlertEvent::Start | AlertEvent::Update => format!(
                "{} {what}/s, {syn_count} in {lasted}, since {since_when:.0}",
                number(*syn_rate)
            ),
        };
        if let Some(ratio) = completed_ratio {
            cell!(figures, "; {} completed", percent(*ratio));
        }
        if let Some(half_open) = half_open {
            cell!(figures, "; {half_open} half-open");
            // The kernel's own count stands below, and holds no SYN that got a cookie.
            if queue.is_some() {
                figures.push_str(" by tracer's count");
            }
        }
        sentences.push(figures);
        if let Some(sources) = self.sources(*sources_estimate, top_sources) {
            sentences.push(sources);
        }
        let mut kernel = Vec::new();
        if let Some(Queue { length, limit }) = queue {
            kernel.push(format!("SYN queue {length} of {limit}"));
        }
        if let Some(rate) = cookies_sent_rate {
            kernel.push(format!("SYN cookies {}/s", number(*rate)));
        }
        if !kernel.is_empty() {
            sentences.push(kernel.join(", "));
        }
        if !evidence.is_empty() {
            let evidence: Vec<_> = evidence.iter().map(figure).collect();
            sentences.push(format!("evidence: {}", evidence.join(", ")));
        }
        let mut place = String::from("seen on ");
        let _ = escape(interfaces.join(", ").as_bytes(), Blanks::Keep, &mut place);
        if interfaces.is_empty() {
            place.push('-');
        }
        if let Some(netns) = inode(*netns) {
            cell!(place, " (netns {netns})");
        }
        sentences.push(place);
        sentences
    }

    fn sources(&self, estimate: Option<u64>, top: &[TopSource]) -> Option<String> {
        let mut text = match estimate {
            Some(1) => "from 1 source".to_owned(),
            Some(estimate) => format!("from about {estimate} sources"),
            None if top.is_empty() => return None,
            None => "from".to_owned(),
        };
        // For people only those that matter; among thousands that send one SYN each none does.
        let people = self.screen.width.is_some();
        let (shown, least) = if people { (SOURCES_SHOWN, SHARE_SHOWN) } else { (top.len(), 0.0) };
        let standing_out = top.iter().filter(|source| source.share >= least).take(shown);
        if people && !top.is_empty() && top.iter().all(|source| source.share < least) {
            text.push_str(", none of which stands out");
        }
        for (n, TopSource { prefix, syn_count, share }) in standing_out.enumerate() {
            let before = match (n, estimate) {
                (0, Some(_)) => ", most from ",
                (0, None) => " ",
                _ => ", ",
            };
            cell!(text, "{before}{prefix} {} ({syn_count})", percent(*share));
        }
        Some(text)
    }
}

const fn kind(verdict: Verdict) -> &'static str {
    if verdict.is_flood() { "FLOOD" } else { "NOTICE" }
}

const fn event(event: AlertEvent) -> &'static str {
    match event {
        AlertEvent::Start => "start",
        AlertEvent::Update => "update",
        AlertEvent::End => "end",
    }
}

/// The verdict in plain words.
pub(crate) const fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Spoofed => {
            "SYN flood with forged sources: each sends a SYN or two and never comes back"
        }
        Verdict::SingleSource => "SYN flood: one address sends most of it",
        Verdict::Distributed => "SYN flood: many addresses, each of which sends many SYNs",
        Verdict::Prefix => "SYN flood: one network sends most of it, from several addresses",
        Verdict::PortScan => "many closed ports are tried",
        Verdict::FlashCrowd => "many more connections than before, and they complete",
        Verdict::AcceptQueueOverload => {
            "the application does not accept() the connections that are ready for it"
        }
        Verdict::Backscatter => {
            "SYN-ACKs that nobody here asked for: somebody floods others in this host's name"
        }
        Verdict::Filtered => {
            "SYNs come in and never reach the listener: a packet filter or a route stops them"
        }
        Verdict::Forwarded => "SYNs pass through to somewhere else, and are not this host's",
        Verdict::LossyPath => "handshakes take many attempts because packets are lost on the way",
        Verdict::QueuePressure => {
            "the SYN queue is nearly full, and half of what is in it has waited for over a second"
        }
    }
}

/// The severity in plain words.
pub(crate) const fn weight(severity: Severity) -> &'static str {
    match severity {
        Severity::Suspected => "tracer's own counts say so",
        Severity::Confirmed => "the kernel's figures say so, too",
        Severity::Impact => "and honest connections suffer",
    }
}

/// `metric value (threshold)`.
fn figure(Evidence { metric, value, threshold }: &Evidence) -> String {
    match threshold {
        Some(threshold) => {
            format!("{metric} {} (threshold {})", number(*value), number(*threshold))
        }
        None => format!("{metric} {}", number(*value)),
    }
}

/// Three figures or all before the point; what is no number is `-`.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let places = match value.abs() {
        size if size >= 99.95 || value == value.trunc() => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    // Adding 0.0 turns -0.0 into 0.0.
    format!("{:.places$}", value + 0.0)
}

/// A share of 1 in percent; what is no number is `-`.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if !percent.is_finite() {
        "-".to_owned()
    } else if percent > 0.0 && percent < 0.05 {
        "<0.1%".to_owned()
    } else if percent >= 99.95 || percent == 0.0 {
        format!("{percent:.0}%")
    } else {
        format!("{percent:.1}%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{self, S};

    fn shown(width: Option<usize>, color: bool, alert: Alert) -> String {
        let mut out = Vec::new();
        let mut text = Text::new(samples::clock(), Screen { width, color });
        text.record(&Record::Alert(Box::new(alert)), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_flood_at_80_columns() {
        assert_eq!(
            shown(Some(80), false, samples::flood()),
            "03:12:44 FLOOD start on 192.168.1.10:8080: spoofed, confirmed\n\
             \x20   SYN flood with forged sources: each sends a SYN or two and never comes back;\n\
             \x20   the kernel's figures say so, too\n\
             \x20   9877 SYN/s, 17123 in 1.8s, since 03:12:42; 1.2% completed; 256 half-open by\n\
             \x20   tracer's count\n\
             \x20   from about 16900 sources, most from 203.0.113.0/24 10.0% (1712)\n\
             \x20   SYN queue 256 of 256, SYN cookies 9600/s\n\
             \x20   evidence: uncompleted_syns_per_second 9754 (threshold 100), syn_queue 256\n\
             \x20   (threshold 33.5), reverse_path_filter 12\n\
             \x20   seen on eth0, eth1 (netns 4026531840)\n"
        );
    }

    #[test]
    fn its_end_says_how_long_and_how_many() {
        let end = Alert {
            event: AlertEvent::End,
            at: samples::at(102 * S),
            until: samples::at(92 * S),
            syn_count: 500_000,
            syn_rate: 0.0,
            ..samples::flood()
        };
        let shown = shown(Some(80), false, end);
        assert!(shown.starts_with("03:13:42 FLOOD end on 192.168.1.10:8080: spoofed, "), "{shown}");
        let over = "over: it lasted 49.8s, from 03:12:42, and it has been quiet for 10.0s;\n\
                    \x20   500000 SYNs in all, 0/s now; 1.2% completed";
        assert!(shown.contains(over), "{shown}");
    }

    #[test]
    fn a_notice_says_that_it_is_no_flood() {
        assert_eq!(
            shown(Some(80), false, samples::notice()),
            "03:12:44 NOTICE start: port_scan, no flood\n\
             \x20   many closed ports are tried\n\
             \x20   100 SYN/s, 200 in 1.8s, since 03:12:42\n\
             \x20   from 1 source\n\
             \x20   seen on eth0, eth1 (netns 4026531840)\n"
        );
        let backscatter = Alert { verdict: Verdict::Backscatter, ..samples::notice() };
        assert!(shown(Some(80), false, backscatter).contains("100 SYN-ACK/s, 200 in"));
    }

    #[test]
    fn what_begins_now_has_no_count_yet() {
        let notice = samples::notice();
        let now = Alert { since: notice.until, syn_count: 0, ..notice };
        let shown = shown(Some(80), false, now);
        assert!(shown.contains("\n    100 SYN/s, since 03:12:44\n"), "{shown}");
    }

    #[test]
    fn red_is_for_floods_and_yellow_for_notices() {
        for (alert, style) in [(samples::flood(), "31"), (samples::notice(), "33")] {
            for width in [Some(80), None] {
                let shown = shown(width, true, alert.clone());
                assert_eq!(shown.matches("\x1b[1m").count(), 1, "{shown:?}");
                assert!(shown.contains(&format!("\x1b[{style}m")), "{shown:?}");
            }
        }
    }

    #[test]
    fn for_a_program_it_is_one_line_that_begins_with_words() {
        let line = shown(None, false, samples::flood());
        assert_eq!(line.lines().count(), 1, "{line}");
        let begin = "2026-11-22T03:12:44.015+00:00 FLOOD start 192.168.1.10:8080 spoofed \
                     confirmed SYN flood with forged sources: ";
        assert!(line.starts_with(begin), "{line}");
        let line = shown(None, false, samples::notice());
        assert!(line.contains(" NOTICE start - port_scan - many closed ports"), "{line}");
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_whatever_the_alert() {
        use unicode_width::UnicodeWidthStr;
        let long = "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:65535".parse().unwrap();
        for verdict in [
            Verdict::Spoofed,
            Verdict::SingleSource,
            Verdict::Distributed,
            Verdict::Prefix,
            Verdict::PortScan,
            Verdict::FlashCrowd,
            Verdict::AcceptQueueOverload,
            Verdict::Backscatter,
            Verdict::Filtered,
            Verdict::Forwarded,
            Verdict::LossyPath,
            Verdict::QueuePressure,
        ] {
            for severity in [Severity::Suspected, Severity::Confirmed, Severity::Impact] {
                let alert = Alert {
                    verdict,
                    severity: verdict.is_flood().then_some(severity),
                    listener: Some(long),
                    interfaces: vec!["a\x1b[31m\n\u{202e}".to_owned(); 30],
                    syn_rate: f64::NAN,
                    ..samples::flood()
                };
                let shown = shown(Some(80), false, alert);
                assert!(shown.lines().all(|line| line.width() <= 80), "{shown}");
                assert!(shown.contains(verdict.name()), "{shown}");
                let harmful = |c| c != '\n' && crate::report::escape::is_harmful(c);
                assert!(!shown.contains(harmful), "{shown:?}");
            }
        }
    }

    #[test]
    fn the_table_goes_on_around_it() {
        let mut text = Text::new(samples::clock(), Screen { width: Some(80), color: false });
        let mut out = Vec::new();
        let connection = Record::Connection(Box::new(samples::full()));
        text.record(&connection, &mut out);
        text.record(&Record::Alert(Box::new(samples::notice())), &mut out);
        text.record(&connection, &mut out);
        let shown = String::from_utf8(out.to_vec()).unwrap();
        let headers = shown.lines().filter(|line| line.starts_with("TIME")).count();
        assert_eq!((headers, shown.lines().count()), (1, 8), "{shown}");
    }

    #[test]
    fn numbers_keep_what_counts() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (0.123, "0.12"),
            (9.87, "9.87"),
            (12.34, "12.3"),
            (99.96, "100"),
            (9754.31, "9754"),
            (f64::INFINITY, "-"),
        ] {
            assert_eq!(number(value), text);
        }
        for (share, text) in [
            (0.0, "0%"),
            (0.000_1, "<0.1%"),
            (0.012_345, "1.2%"),
            (0.999_9, "100%"),
            (1.0, "100%"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(percent(share), text);
        }
    }
}
