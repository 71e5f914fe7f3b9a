//! `/proc/self/mountinfo` as far as tracer needs it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// A line of mountinfo.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mount {
    /// What of the filesystem is mounted: `/`, or `net:[INODE]` for a namespace.
    pub(super) root: Vec<u8>,
    /// Where.
    pub(super) point: PathBuf,
    /// Filesystem type.
    pub(super) kind: Vec<u8>,
}

/// The mounts of the calling thread's mount namespace.
///
/// # Errors
/// When /proc is not mounted.
pub(super) fn mounts() -> io::Result<Vec<Mount>> {
    let table = std::fs::read("/proc/thread-self/mountinfo")?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw`: see proc_pid_mountinfo(5).
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = unescape(fields.nth(3)?);
    let point = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?.to_vec();
    Some(Mount { root, point, kind })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.first_chunk::<3>().and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match octal {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed_with_any_number_of_optional_fields() {
        for (line, expected) in [
            (
                &b"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"[..],
                Some(("/", "/sys/fs/cgroup/unified", "cgroup2")),
            ),
            (
                b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw",
                Some(("/mnt1", "/mnt2", "ext3")),
            ),
            (
                b"400 20 0:4 net:[4026532200] /run/netns/a\\040b rw shared:9 - nsfs nsfs rw",
                Some(("net:[4026532200]", "/run/netns/a b", "nsfs")),
            ),
            (b"", None),
            (b"1 2 3:4 / / rw shared:1", None),
        ] {
            let line: &[u8] = line;
            let expected = expected.map(|(root, point, kind)| Mount {
                root: root.into(),
                point: point.into(),
                kind: kind.into(),
            });
            assert_eq!(parse(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn escapes_are_undone_and_nothing_else_is() {
        assert_eq!(unescape(b"a\\134b\\011c"), b"a\\b\tc");
        assert_eq!(unescape(b"\\999\\1"), b"\\999\\1");
        assert_eq!(unescape(b"040"), b"040");
    }
}
