//! Whether a text is plain enough not to be looked at character by character. Nearly all is.

/// Whether a text is printable ASCII alone: a byte is a character is a column. Looks at eight bytes
/// at a time.
pub(super) fn is_printable(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    const BLANKS: u64 = ONES * b' ' as u64;
    let (words, rest) = text.as_chunks();
    let printable = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        // One more, and DEL has the highest bit as well.
        let beyond = word | word.wrapping_add(ONES);
        // Less a blank, what is below one has it: the lowest such byte borrows first.
        let control = word.wrapping_sub(BLANKS) & !word;
        (beyond | control) & HIGHEST == 0
    };
    words.iter().all(printable) && rest.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_judged_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for length in 1..20 {
                for at in 0..length {
                    for others in [b' ', b'~', b'a'] {
                        let mut text = vec![others; length];
                        text[at] = byte;
                        let expected = byte == b' ' || byte.is_ascii_graphic();
                        assert_eq!(is_printable(&text), expected, "{text:?}");
                    }
                }
            }
        }
        assert!(is_printable(b""));
    }
}
