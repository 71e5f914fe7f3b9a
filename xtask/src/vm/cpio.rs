//! The archive format an initramfs has: cpio "newc"
//! (<https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>).

use std::collections::BTreeSet;

/// An archive in the making. Not compressed: under software emulation unpacking would take longer
/// than loading.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    /// Directories written so far: each has to come before what is in it.
    directories: BTreeSet<String>,
    inode: u32,
}

const DIRECTORY: u32 = 0o040_755;
const SYMLINK: u32 = 0o120_777;
const REGULAR: u32 = 0o100_000;
const CHARACTER: u32 = 0o020_600;

impl Archive {
    /// A regular file; `path` is relative to the root, its directories are made.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parents(path);
        self.entry(path, REGULAR | mode, (0, 0), content);
    }

    /// A symbolic link.
    pub(super) fn symlink(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.entry(path, SYMLINK, (0, 0), target.as_bytes());
    }

    /// A directory.
    pub(super) fn directory(&mut self, path: &str) {
        self.parents(path);
        if self.directories.insert(path.to_owned()) {
            self.entry(path, DIRECTORY, (0, 0), &[]);
        }
    }

    /// A character device. The kernel opens /dev/console before /init can mount anything.
    pub(super) fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.parents(path);
        self.entry(path, CHARACTER, (major, minor), &[]);
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            let parent = path.get(..end).unwrap_or_default();
            if !parent.is_empty() && self.directories.insert(parent.to_owned()) {
                self.entry(parent, DIRECTORY, (0, 0), &[]);
            }
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.inode += 1;
        let links = 1;
        let (major, minor) = device;
        // Sizes are 32 bits in this format; nothing here comes near 4 GiB.
        let header = [
            self.inode,
            mode,
            0,
            0,
            links,
            0,
            content.len() as u32,
            0,
            0,
            major,
            minor,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in header {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_once() {
        let mut archive = Archive::default();
        archive.file("a/b/x", 0o755, b"hello");
        archive.file("a/b/y", 0o644, b"");
        archive.directory("a");
        let text = String::from_utf8_lossy(&archive.finish()).into_owned();
        let names: Vec<_> = text.split("070701").skip(1).map(|entry| &entry[104..]).collect();
        let names: Vec<_> = names.iter().map(|entry| entry.split('\0').next().unwrap()).collect();
        assert_eq!(names, ["a", "a/b", "a/b/x", "a/b/y", "TRAILER!!!"]);
    }

    #[test]
    fn entries_are_aligned() {
        for length in 0..8 {
            let mut archive = Archive::default();
            archive.file("name", 0o644, &vec![b'x'; length]);
            assert_eq!(archive.finish().len() % 4, 0);
        }
    }

    /// The kernel is the reference reader, and it reads the archive in every boot; here the header
    /// is checked against the format's description.
    #[test]
    fn a_header_has_thirteen_fields_of_eight_hex_digits() {
        let mut archive = Archive::default();
        archive.device("console", 5, 1);
        let bytes = archive.finish();
        let header = std::str::from_utf8(&bytes[..110]).unwrap();
        let field = |n: usize| u32::from_str_radix(&header[6 + 8 * n..14 + 8 * n], 16).unwrap();
        assert_eq!(&header[..6], "070701");
        let (mode, size, major, minor, name) = (field(1), field(6), field(9), field(10), field(11));
        assert_eq!((mode, size, major, minor), (CHARACTER, 0, 5, 1));
        assert_eq!(name, "console\0".len() as u32);
        assert_eq!(&bytes[110..118], b"console\0");
    }

    #[test]
    fn a_symlinks_content_is_its_target() {
        let mut archive = Archive::default();
        archive.symlink("y", "target");
        let bytes = archive.finish();
        // 110 bytes of header and two of name end on a multiple of four.
        assert_eq!(&bytes[112..118], b"target");
    }
}
