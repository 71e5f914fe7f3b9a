//! Tables between marks in a document: `<!-- bench: PART -->` and `<!-- bench: end -->`.

use std::ops::Range;

use anyhow::Context as _;

const END: &str = "<!-- bench: end -->";

fn begin(part: &str) -> String {
    format!("<!-- bench: {part} -->")
}

/// What lies between the marks of a part.
fn place(text: &str, part: &str) -> anyhow::Result<Range<usize>> {
    let mark = begin(part);
    let from = text.find(&mark).with_context(|| format!("the document has no mark {mark}"))?;
    let from = from + mark.len();
    let len = text.get(from..).and_then(|rest| rest.find(END));
    let len = len.with_context(|| format!("no {END} follows {mark} in the document"))?;
    Ok(from..from + len)
}

/// Whether there is a place for a part.
pub(super) fn check(text: &str, part: &str) -> anyhow::Result<()> {
    place(text, part).map(|_| ())
}

/// The document with other tables in the place of a part.
pub(super) fn replaced(text: &str, part: &str, tables: &str) -> anyhow::Result<String> {
    let place = place(text, part)?;
    let mut text = text.to_owned();
    text.replace_range(place, &format!("\n{}\n", tables.trim_end()));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a\n<!-- bench: one -->\nold\n<!-- bench: end -->\nb\n\
                        <!-- bench: two --><!-- bench: end -->\nc\n";

    #[test]
    fn only_what_is_between_a_parts_marks_changes() {
        let text = replaced(TEXT, "one", "new\n\n").unwrap();
        let text = replaced(&text, "two", "also new").unwrap();
        let wanted = "a\n<!-- bench: one -->\nnew\n<!-- bench: end -->\nb\n\
                      <!-- bench: two -->\nalso new\n<!-- bench: end -->\nc\n";
        assert_eq!(text, wanted);
        // The same again changes nothing.
        assert_eq!(replaced(&text, "two", "also new").unwrap(), text);
    }

    #[test]
    fn a_part_without_a_place_is_named() {
        let error = check(TEXT, "three").unwrap_err().to_string();
        assert!(error.contains("<!-- bench: three -->"), "{error}");
        assert!(check("<!-- bench: one -->", "one").is_err());
    }
}
