#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use tempfile::TempDir;

use super::*;

fn section() -> Vec<u8> {
    let mut out = Vec::new();
    pcapng::section("0.1.0", &mut out);
    out
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const SIZE: u64 = 64 << 10;

#[test]
fn the_older_half_is_the_other_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.pcapng");
    let mut file = Generations::open(&path, SIZE).unwrap();
    assert_eq!(names(&folder), ["x.pcapng"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for round in 0..3 {
        file.append(&section()).unwrap();
        assert_eq!(file.room(), SIZE / 2 - section().len() as u64);
        file.append(&[round; 100]).unwrap();
        file.turn().unwrap();
        assert_eq!(file.room(), SIZE / 2);
        assert_eq!(names(&folder), ["x.pcapng", "x.pcapng.1"]);
        let older = fs::read(folder.path().join("x.pcapng.1")).unwrap();
        assert_eq!(older.last(), Some(&round));
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }
}

#[test]
fn a_file_of_an_earlier_run_is_gone_on_with() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.pcapng");
    let mut earlier = section();
    let whole = earlier.len();
    fs::write(&path, &earlier).unwrap();
    let mut file = Generations::open(&path, SIZE).unwrap();
    file.append(&section()).unwrap();
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), [section(), section()].concat());
    // Its writer was killed within a block.
    earlier.extend(&section()[..30]);
    fs::write(&path, &earlier).unwrap();
    let file = Generations::open(&path, SIZE).unwrap();
    assert_eq!(file.room(), SIZE / 2 - whole as u64);
    assert_eq!(fs::read(&path).unwrap(), section());
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.pcapng");
    let older = folder.path().join("x.pcapng.1");
    for (there, name) in [(&path, "x.pcapng is there"), (&older, "x.pcapng.1 is there")] {
        fs::write(there, "a letter").unwrap();
        let error = format!("{:#}", Generations::open(&path, SIZE).err().unwrap());
        assert!(error.contains(name) && error.contains("move it away"), "{error}");
        assert_eq!(fs::read(there).unwrap(), b"a letter");
        fs::remove_file(there).unwrap();
        // One of ours that has too much.
        let mut long = section();
        long.resize(SIZE as usize / 2 + 1, 0);
        fs::write(there, &long).unwrap();
        let error = format!("{:#}", Generations::open(&path, SIZE).err().unwrap());
        assert!(error.contains("larger --write-size"), "{error}");
        fs::remove_file(there).unwrap();
    }
    assert!(names(&folder).is_empty());
}

#[test]
fn links_are_replaced_and_not_followed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.pcapng");
    let victim = folder.path().join("victim");
    fs::write(&victim, section()).unwrap();
    symlink(&victim, &path).unwrap();
    symlink(&victim, folder.path().join("x.pcapng.1")).unwrap();
    let mut file = Generations::open(&path, SIZE).unwrap();
    file.append(&section()).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    file.turn().unwrap();
    assert!(fs::symlink_metadata(folder.path().join("x.pcapng.1")).unwrap().is_file());
    assert_eq!(fs::read(&victim).unwrap(), section());
    // Nor is a file written to that has another name elsewhere.
    drop(file);
    fs::remove_file(&path).unwrap();
    fs::hard_link(&victim, &path).unwrap();
    let mut file = Generations::open(&path, SIZE).unwrap();
    file.append(b"new").unwrap();
    assert_eq!(fs::read(&victim).unwrap(), section());
    assert_eq!(names(&folder), ["victim", "x.pcapng", "x.pcapng.1"]);
}

#[test]
fn a_file_that_was_moved_away_is_left_where_it_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.pcapng");
    let kept = folder.path().join("kept");
    let mut file = Generations::open(&path, SIZE).unwrap();
    file.append(&section()).unwrap();
    assert!(file.is_in_place());
    fs::rename(&path, &kept).unwrap();
    assert!(!file.is_in_place());
    file.turn().unwrap();
    assert!(file.is_in_place());
    assert_eq!(names(&folder), ["kept", "x.pcapng"]);
    assert_eq!(fs::read(&kept).unwrap(), section());
}

#[test]
fn what_can_not_be_had_is_said() {
    let folder = TempDir::new().unwrap();
    for (path, why) in [
        (folder.path().to_owned(), "it is a directory: name a file"),
        (folder.path().join("missing/x"), ": No such file or directory (os error 2)"),
        ("/dev/null".into(), "it is no regular file: name a file"),
        (folder.path().join("x/"), "this names no file"),
    ] {
        let error = format!("{:#}", Generations::open(&path, SIZE).err().unwrap());
        assert!(error.contains("cannot keep packets in") && error.contains(why), "{error}");
    }
    assert!(names(&folder).is_empty());
}
