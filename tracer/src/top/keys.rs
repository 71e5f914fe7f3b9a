//! From the bytes a terminal sends to keys. (crossterm's own reader loses keys that come together
//! with a change of the window's size, and reads a terminal that hung up for ever.)

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// No sequence of a key is longer.
const LONGEST: usize = 32;
const ESCAPE: u8 = 0x1b;

/// Bytes that are no whole key yet.
#[derive(Default)]
pub(super) struct Keys {
    pending: Vec<u8>,
}

/// What the first bytes are.
enum Parsed {
    /// So many bytes make up this key, or one that has no meaning here.
    Key(usize, Option<KeyEvent>),
    /// More must come.
    Unfinished,
}

impl Keys {
    /// Takes bytes in; the keys they complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<KeyEvent> {
        self.pending.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while let Parsed::Key(used, key) = first(&self.pending) {
            self.pending.drain(..used.min(self.pending.len()));
            keys.extend(key);
        }
        keys
    }

    /// Nothing came for a moment: what looks like the beginning of a sequence was the key Escape,
    /// or is given up.
    pub(super) fn quiet(&mut self) -> Option<KeyEvent> {
        let pending = std::mem::take(&mut self.pending);
        (pending == [ESCAPE]).then(|| plain(KeyCode::Esc))
    }
}

fn plain(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

fn first(bytes: &[u8]) -> Parsed {
    let Some(byte) = bytes.first().copied() else { return Parsed::Unfinished };
    let one = |key| Parsed::Key(1, Some(key));
    match byte {
        ESCAPE => sequence(bytes),
        b'\r' | b'\n' => one(plain(KeyCode::Enter)),
        b'\t' => one(plain(KeyCode::Tab)),
        0x7f | 0x08 => one(plain(KeyCode::Backspace)),
        0x01..=0x1a => {
            let letter = char::from(byte - 1 + b'a');
            one(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL))
        }
        0x00 | 0x1c..=0x1f => Parsed::Key(1, None),
        0x20..=0x7e => one(plain(KeyCode::Char(char::from(byte)))),
        _ => character(bytes),
    }
}

/// UTF-8.
fn character(bytes: &[u8]) -> Parsed {
    let head = bytes.get(..bytes.len().min(4)).unwrap_or_default();
    let (valid, broken) = match std::str::from_utf8(head) {
        Ok(text) => (text, None),
        Err(error) => {
            let valid = head.get(..error.valid_up_to()).unwrap_or_default();
            (std::str::from_utf8(valid).unwrap_or_default(), Some(error.error_len()))
        }
    };
    match (valid.chars().next(), broken) {
        (Some(c), _) => Parsed::Key(c.len_utf8(), Some(plain(KeyCode::Char(c)))),
        (None, Some(Some(wrong))) => Parsed::Key(wrong, None),
        (None, _) => Parsed::Unfinished,
    }
}

/// What begins with Escape: a control sequence (ECMA-48), or the key itself.
fn sequence(bytes: &[u8]) -> Parsed {
    match bytes.get(1).copied() {
        None => Parsed::Unfinished,
        Some(b'[') => control(bytes),
        // SS3: keys of the keypad, and F1 to F4.
        Some(b'O') => match bytes.get(2).copied() {
            None => Parsed::Unfinished,
            Some(last) => Parsed::Key(3, named(last)),
        },
        // Two keys, one right after the other.
        Some(_) => Parsed::Key(1, Some(plain(KeyCode::Esc))),
    }
}

fn control(bytes: &[u8]) -> Parsed {
    let parameters = bytes.iter().skip(2).take_while(|byte| (0x20..0x40).contains(*byte)).count();
    let Some(last) = bytes.get(2 + parameters).copied() else {
        return if bytes.len() > LONGEST {
            Parsed::Key(bytes.len(), None)
        } else {
            Parsed::Unfinished
        };
    };
    let number = bytes.get(2..2 + parameters).unwrap_or_default();
    let number = number.split(|byte| *byte == b';').next().unwrap_or_default();
    let key = match (last, number) {
        (b'~', b"1" | b"7") => Some(plain(KeyCode::Home)),
        (b'~', b"4" | b"8") => Some(plain(KeyCode::End)),
        (b'~', b"5") => Some(plain(KeyCode::PageUp)),
        (b'~', b"6") => Some(plain(KeyCode::PageDown)),
        (b'~', b"11") => Some(plain(KeyCode::F(1))),
        (b'~', _) => None,
        (last, _) => named(last),
    };
    Parsed::Key(3 + parameters, key)
}

fn named(last: u8) -> Option<KeyEvent> {
    Some(plain(match last {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'F' => KeyCode::End,
        b'H' => KeyCode::Home,
        b'M' => KeyCode::Enter,
        b'P' => KeyCode::F(1),
        b'Z' => KeyCode::BackTab,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(bytes: &[u8]) -> Vec<KeyCode> {
        Keys::default().take(bytes).into_iter().map(|key| key.code).collect()
    }

    #[test]
    fn keys_are_told_apart() {
        use KeyCode::{
            BackTab, Backspace, Char, Down, End, Enter, Esc, F, Home, PageDown, PageUp, Tab, Up,
        };
        for (bytes, keys) in [
            (&b"q?/"[..], vec![Char('q'), Char('?'), Char('/')]),
            (b"\r\t\x7f\x08", vec![Enter, Tab, Backspace, Backspace]),
            (b"\x1b[A\x1b[B\x1bOA\x1bOB", vec![Up, Down, Up, Down]),
            (
                b"\x1b[H\x1b[F\x1bOH\x1b[1~\x1b[4~\x1b[7~\x1b[8~",
                vec![Home, End, Home, Home, End, Home, End],
            ),
            (b"\x1b[5~\x1b[6~\x1b[Z\x1bOP\x1b[11~", vec![PageUp, PageDown, BackTab, F(1), F(1)]),
            (b"\x1b[1;5A", vec![Up]),
            (b"\x1b\x1b[A", vec![Esc, Up]),
            (b"\x1bq", vec![Esc, Char('q')]),
            (b"\x1b[200~x\x1b[99m\x1bOx", vec![Char('x')]),
            ("größe日".as_bytes(), "größe日".chars().map(Char).collect()),
            (b"\xff\xc3(a", vec![Char('('), Char('a')]),
            (b"\x00\x1f", vec![]),
        ] {
            assert_eq!(codes(bytes), keys, "{bytes:?}");
        }
        let control = Keys::default().take(b"\x03\x1a");
        let pressed = |c| KeyEvent::new(Char(c), KeyModifiers::CONTROL);
        assert_eq!(control, [pressed('c'), pressed('z')]);
    }

    #[test]
    fn a_sequence_may_come_in_pieces() {
        for bytes in [&b"\x1b[5~"[..], "日".as_bytes(), b"\x1bOA"] {
            let mut keys = Keys::default();
            let (last, before) = bytes.split_last().expect("some");
            for byte in before {
                assert!(keys.take(&[*byte]).is_empty());
            }
            assert_eq!(keys.take(&[*last]).len(), 1, "{bytes:?}");
            assert!(keys.pending.is_empty());
        }
    }

    #[test]
    fn escape_alone_is_a_key_once_nothing_follows() {
        let mut keys = Keys::default();
        assert!(keys.take(b"\x1b").is_empty());
        assert_eq!(keys.quiet(), Some(plain(KeyCode::Esc)));
        assert_eq!(keys.quiet(), None);
        assert!(keys.take(b"\x1b[5").is_empty());
        assert_eq!(keys.quiet(), None);
        assert_eq!(keys.take(b"q").len(), 1);
    }

    #[test]
    fn no_bytes_make_it_grow_or_fail() {
        let mut keys = Keys::default();
        let mut noise = 1_u32;
        for _ in 0..20_000 {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let byte = (noise >> 24) as u8;
            let _ = keys.take(&[byte]);
            let _ = keys.take(b"\x1b[0");
            assert!(keys.pending.len() <= LONGEST + 4);
        }
        let _ = keys.take(b"\x1b[");
        for _ in 0..100 {
            let _ = keys.take(b"0");
            assert!(keys.pending.len() <= LONGEST + 1);
        }
    }
}
