//! The page as a parser of HTML reads it.

use std::sync::Arc;

use scraper::{ElementRef, Html, Selector};

use super::*;
use crate::core::event::{CgroupName, Comm, Owner};
use crate::core::record::{Alert, AlertEvent, Connection, Outcome, Quantiles, Record};
use crate::report::samples::{self, MS, S, at};

/// A run of which `records` told and `hosts` and `open` are left.
fn rendered(
    records: impl IntoIterator<Item = Record>,
    start: &Start,
    end: &End,
    hosts: &[Host],
    open: &[OpenConnection],
) -> Html {
    let mut figures = Figures::new(start.time);
    for record in records {
        figures.record(&record);
    }
    figures.standing(at(S), end, end.syns);
    figures.finish(open);
    let text = page(&Run {
        host: "web-1",
        start,
        clock: &samples::clock(),
        at: at(end.duration),
        end,
        hooks: &start.hooks,
        hosts,
        open,
        stuck: &[(TcpState::CloseWait, 1)],
        half_open: end.syns,
        figures: &figures,
    });
    let html = Html::parse_document(&text);
    assert!(html.errors.is_empty(), "{:?}", html.errors);
    sound(&html);
    html
}

fn all<'a>(html: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    html.select(&Selector::parse(selector).unwrap()).collect()
}

fn text(html: &Html, selector: &str) -> String {
    all(html, selector).iter().flat_map(|element| element.text()).collect()
}

/// What holds for every page: nothing from elsewhere, nothing that runs, ids that are there once.
#[track_caller]
fn sound(html: &Html) {
    for forbidden in ["script", "img", "iframe", "object", "link", "base", "form", "[style]"] {
        assert!(all(html, forbidden).is_empty(), "{forbidden}");
    }
    let mut ids: Vec<&str> = all(html, "[id]").iter().filter_map(|e| e.attr("id")).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "an id is there twice");
    for element in all(html, "*") {
        for (name, value) in element.value().attrs() {
            assert!(!name.starts_with("on"), "{name}={value}");
            assert!(!matches!(name, "src" | "srcset" | "action" | "xlink:href"), "{name}={value}");
            assert!(name != "href" || value.starts_with('#'), "{name}={value}");
        }
        for id in element.attr("aria-labelledby").into_iter().flat_map(str::split_whitespace) {
            assert!(ids.contains(&id), "nothing has the id {id}");
        }
    }
    for picture in all(html, "svg[role=img]") {
        let title = picture.child_elements().any(|child| child.value().name() == "title");
        assert!(title, "{}", picture.html());
    }
    let shown: String = html.root_element().text().collect();
    let harmful = |c| c != '\n' && crate::report::escape::is_harmful(c);
    assert!(!shown.contains(harmful), "{shown:?}");
    assert!(!shown.contains("NaN") && !shown.contains("inf"), "{shown}");
}

fn connections() -> Vec<Record> {
    let all = samples::stream().into_iter().chain([samples::full(), samples::bare()]);
    all.map(|connection| Record::Connection(Box::new(connection))).collect()
}

fn alert(event: AlertEvent, at_s: u64, alert: Alert) -> Record {
    Record::Alert(Box::new(Alert { event, at: at(at_s * S), ..alert }))
}

#[test]
fn everything_there_is_to_tell() {
    let mut records = connections();
    records.push(alert(AlertEvent::Start, 44, samples::flood()));
    records.push(alert(AlertEvent::End, 60, samples::flood()));
    records.push(alert(AlertEvent::Start, 70, samples::notice()));
    let (hosts, open) = (samples::hosts(), samples::open());
    let html = rendered(records, &samples::start(), &samples::end(), &hosts, &open);
    assert_eq!(all(&html, "#hosts tbody tr").len(), hosts.len());
    assert_eq!(all(&html, "#open tbody tr").len(), open.len());
    assert_eq!(all(&html, "#incidents article").len(), 2);
    assert_eq!(all(&html, "#timeline-incidents rect.flood").len(), 1);
    assert_eq!(all(&html, "#method tbody tr").len(), samples::start().hooks.len());
    assert!(text(&html, "#method").contains("server handshakes in other network namespaces"));
    assert!(text(&html, "#incidents").contains("uncompleted_syns_per_second"));
    assert!(text(&html, "header").contains("--port 8080 --failed"));
    assert!(!all(&html, "#slow-closes svg.phases rect.ph-close-wait").is_empty());
    assert!(all(&html, ".banner").iter().any(|banner| banner.html().contains("SYN flood")));
    assert!(text(&html, "#open").contains("1 stuck"));
    assert!(text(&html, "header").contains("2026-11-22T03:12:00.000000Z"));
}

#[test]
fn figures_stand_there_for_programs_too() {
    let html = rendered([], &samples::start(), &samples::end(), &samples::hosts(), &[]);
    let figure = |selector: &str| {
        let found = all(&html, &format!("{selector} data"));
        found.first().and_then(|data| data.attr("value")).map(str::to_owned)
    };
    assert_eq!(figure("[data-field=connections]").as_deref(), Some("1234"));
    let row = "[data-host='10.0.0.7']";
    let Some(Quantiles { p50, .. }) = samples::hosts()[0].handshake else { panic!("no handshake") };
    assert_eq!(
        figure(&format!("{row} [data-field='handshake_us/p50']")),
        Some((p50 / 1_000).to_string())
    );
    // What is not known is no number.
    let row = "[data-host='2001:db8:85a3:8d3:1319:8a2e:370:7348']";
    for field in ["syn_count", "half_open", "close_us/p50"] {
        let cell = format!("{row} [data-field='{field}']");
        assert_eq!((figure(&cell), text(&html, &cell)), (None, "–".to_owned()));
    }
    assert!(text(&html, "[data-host=others] [data-field=syn_count]").starts_with('≤'));
}

#[test]
fn nothing_happened() {
    let end = End { duration: 3 * S, syns: Some(0), syns_repeated: Some(0), ..End::default() };
    let html = rendered([], &samples::start(), &end, &[], &[]);
    for (section, says) in [
        ("#hosts", "No host had a connection."),
        ("#outcomes", "No connection ended."),
        ("#handshakes", "None was measured."),
        ("#worst", "No connection failed."),
        ("#open", "No connection."),
        ("#incidents", "None."),
    ] {
        assert!(text(&html, section).contains(says), "{section}: {}", text(&html, section));
    }
    assert!(all(&html, ".banner").is_empty());
}

#[test]
fn without_a_syn_hook_its_figures_are_not_known() {
    let end =
        End { syns: None, syns_repeated: None, syns_unparsed: None, duration: 1, ..End::default() };
    let html = rendered([], &samples::start(), &end, &[], &[]);
    for field in ["syns", "half_open_peak"] {
        assert_eq!(text(&html, &format!("[data-field={field}]")), "–");
    }
    assert!(all(&html, "#timeline-syns").is_empty());
    assert!(text(&html, "#timeline").contains("no interface had the SYN hook"));
    assert!(text(&html, "#incidents").contains("floods are not seen"));
}

#[test]
fn what_was_lost_comes_first() {
    let end = End {
        events_lost: 77,
        connections_evicted: 5,
        output_dropped: 9,
        syns_unparsed: Some(3),
        ..samples::end()
    };
    let html = rendered([], &samples::start(), &end, &[], &[]);
    let banners = text(&html, ".banner");
    for part in ["LOST 77 of 5767 events", "FORGOT 5 open", "9 records", "3 TCP packets"] {
        assert!(banners.contains(part), "{part} in {banners}");
    }
    assert!(all(&html, ".banner.bad[role=alert]").len() == 2);
}

#[test]
fn a_million_connections_make_a_page_of_ordinary_size() {
    let mut figures = Figures::new(at(0));
    let mut connection = samples::full();
    for n in 0..1_000_000_u64 {
        connection.start = at(n * MS * 86);
        connection.end = at(n * MS * 86 + 30 * MS);
        connection.handshake = Some(n * 7_919 % 3_000_000_000);
        connection.outcome = Some(Outcome::ALL[(n % 9) as usize]);
        figures.record(&Record::Connection(Box::new(connection.clone())));
    }
    let start = samples::start();
    let end = End { connections: 1_000_000, duration: 86_000 * S, ..samples::end() };
    let text = page(&Run {
        host: "web-1",
        start: &start,
        clock: &samples::clock(),
        at: at(end.duration),
        end: &end,
        hooks: &start.hooks,
        hosts: &samples::hosts(),
        open: &[],
        stuck: &[],
        half_open: Some(0),
        figures: &figures,
    });
    assert!(text.len() < 1_000_000, "{} bytes", text.len());
    let html = Html::parse_document(&text);
    assert!(html.errors.is_empty(), "{:?}", html.errors);
    sound(&html);
    assert!(text.contains("1\u{202f}000\u{202f}000"));
}

#[test]
fn names_from_the_system_are_text_and_nothing_else() {
    let evil = [
        &b"</style><script>alert(1)</script>"[..],
        b"\"'><img src=x onerror=alert(1)>",
        b"a\n\r\t\x00b",
        b"\x1b]0;owned\x07\x1b[31m",
        b"\xff\xfe\xc3(",
        "\u{202e}evil\u{2066}".as_bytes(),
        b"]]>--><!--&lt;&#60;",
        b"${7*7}{{7*7}}",
    ];
    for name in evil {
        let lossy = String::from_utf8_lossy(name).into_owned();
        let connection = Connection {
            owner: Some(Owner { pid: 1, comm: Comm::from_bytes(name) }),
            cgroup: Some(Arc::new(CgroupName { path: lossy.clone(), container: None })),
            ..samples::full()
        };
        let open = OpenConnection { connection: connection.clone(), ..samples::stuck() };
        let mut start = samples::start();
        start.kernel = Some(lossy.clone());
        start.cannot.push(lossy.clone());
        start.filters.values("comm", [&lossy]);
        for hook in &mut start.hooks {
            hook.name.clone_from(&lossy);
            hook.interface = Some(lossy.clone());
            hook.mode = Some(lossy.clone());
            hook.reason = Some(lossy.clone());
        }
        let flood = Alert { interfaces: vec![lossy.clone()], ..samples::flood() };
        let records = [
            Record::Connection(Box::new(connection.clone())),
            Record::Connection(Box::new(Connection {
                outcome: Some(Outcome::ResetByLocal),
                ..connection
            })),
            Record::Alert(Box::new(flood)),
        ];
        let html = rendered(records, &start, &samples::end(), &samples::hosts(), &[open]);
        // It is there to be read.
        let comm = value::name(Comm::from_bytes(name).as_bytes());
        for section in ["#worst", "#open"] {
            assert!(text(&html, section).contains(&comm), "{comm:?} in {section}");
        }
        for section in ["#worst", "#method", "#incidents", "header"] {
            let shown = value::name(lossy.as_bytes());
            assert!(text(&html, section).contains(&shown), "{shown:?} in {section}");
        }
    }
}

#[test]
fn the_style_sheet_is_what_the_policy_allows() {
    let html = rendered([], &samples::start(), &samples::end(), &[], &[]);
    let policy = all(&html, "meta[http-equiv=Content-Security-Policy]");
    let policy = policy.first().and_then(|meta| meta.attr("content")).unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    // What stands between the tags is what was hashed, to the byte.
    assert_eq!(text(&html, "style"), STYLE);
    // Nothing in it could load anything.
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import") && !STYLE.contains("</"));
}
