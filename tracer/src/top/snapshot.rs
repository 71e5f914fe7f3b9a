//! Screens as text, held against those that are checked in.

use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr as _;

use super::app::App;
use super::draw;

/// What `app` shows on a screen of this size.
pub(super) fn screen(app: &App, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw::draw(app, frame)).expect("drawn");
    terminal.backend().buffer().clone()
}

/// Its characters, a line each.
pub(super) fn text(buffer: &Buffer) -> String {
    lines(buffer, |cell| cell.symbol().to_owned())
}

/// Its looks, a letter for each character: the colour's first, a capital where it is bold; `#`
/// reversed, `!` the alarm, `:` dim, `_` underlined, `=` bold, `.` nothing.
fn looks(buffer: &Buffer) -> String {
    lines(buffer, |cell| {
        let bold = cell.modifier.contains(Modifier::BOLD);
        let letter = match (cell.fg, cell.bg) {
            (_, Color::Red) => '!',
            _ if cell.modifier.contains(Modifier::REVERSED) => '#',
            (Color::Red, _) => 'r',
            (Color::Yellow, _) => 'y',
            (Color::Green, _) => 'g',
            (Color::Cyan, _) => 'c',
            _ if cell.modifier.contains(Modifier::DIM) => ':',
            _ if cell.modifier.contains(Modifier::UNDERLINED) => '_',
            _ if bold => '=',
            _ => '.',
        };
        let letter = if bold { letter.to_ascii_uppercase() } else { letter };
        letter.to_string()
    })
}

fn lines(buffer: &Buffer, letter: impl Fn(&ratatui::buffer::Cell) -> String) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let mut out = String::new();
    for line in buffer.content().chunks(width) {
        // A wide character takes two places.
        let mut taken = 0;
        let mut out_line = String::new();
        for cell in line {
            if taken == 0 {
                out_line += &letter(cell);
                taken = cell.symbol().width().max(1);
            }
            taken -= 1;
        }
        let line = out_line;
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Compares the screen with `snapshots/NAME.txt`; with `looks` also colours. With
/// `TRACER_UPDATE_SNAPSHOTS=1` the file is written instead, to be looked at before it is committed.
#[track_caller]
pub(super) fn check(name: &str, app: &App, (width, height): (u16, u16), with_looks: bool) {
    let buffer = screen(app, width, height);
    let mut shown = text(&buffer);
    if with_looks {
        shown += "\n";
        shown += &looks(&buffer);
    }
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/top/snapshots").join(format!("{name}.txt"));
    if std::env::var_os("TRACER_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &shown).expect("written");
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; the screen:\n{shown}", path.display()));
    assert!(
        shown == expected,
        "{name}: the screen\n{shown}\nis not what is checked in\n{expected}"
    );
}
