use super::*;
use crate::report::samples;

fn text(width: Option<usize>, color: bool) -> Text {
    Text::new(samples::clock(), Screen { width, color })
}

#[test]
fn look() {
    for width in [Some(80), Some(100), Some(120), Some(160), None] {
        let mut text = text(width, std::env::var_os("COLOR").is_some());
        let mut out = BytesMut::new();
        for c in samples::stream() {
            text.record(&Record::Connection(Box::new(c)), &mut out);
        }
        text.record(&Record::State(samples::state_change()), &mut out);
        text.record(&Record::Stuck(Box::new(samples::stuck())), &mut out);
        text.hosts(&samples::hosts(), Scope::Interval, samples::at(103 * samples::S), &mut out);
        text.open(&samples::open(), samples::at(103 * samples::S), &mut out);
        let end =
            End { events_lost: 12, output_dropped: 1, connections_evicted: 3, ..samples::end() };
        text.end(&end, &mut out);
        println!("{}|", "-".repeat(width.unwrap_or(0).saturating_sub(1)));
        println!("{}", String::from_utf8_lossy(&out));
    }
}
