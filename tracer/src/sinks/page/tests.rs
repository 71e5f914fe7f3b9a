//! The file: made at the start, written at the end, in one step.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

use tempfile::TempDir;

use super::*;
use crate::core::{Config, Core};
use crate::report::samples::{self, S, at};

fn run(page: &mut Page) -> Result<()> {
    let (clock, core) = (samples::clock(), Core::new(Config::default()));
    page.start(&samples::start(), &clock);
    page.record(&Record::Connection(Box::new(samples::full())), true, &clock);
    let (totals, hooks) = (samples::end(), samples::start().hooks);
    let standing =
        Standing { at: at(103 * S), totals: &totals, hooks: &hooks, core: &core, floods: None };
    page.standing(&standing, &clock);
    page.end(&standing, &clock, Instant::now())
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_file_is_there_at_the_end_and_nothing_beside_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.html");
    fs::write(&path, "an older one").unwrap();
    let mut page = Page::open(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "an older one");
    run(&mut page).unwrap();
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.starts_with("<!DOCTYPE html>") && written.ends_with("</html>"));
    assert_eq!(names(&folder), ["run.html"]);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o600, 0o600, "{mode:o}");
    assert_eq!(mode & 0o111, 0, "{mode:o}");
}

#[test]
fn a_run_that_fails_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.html");
    drop(Page::open(&path).unwrap());
    assert!(names(&folder).is_empty());
}

#[test]
fn a_link_is_replaced_and_what_it_leads_to_left_alone() {
    let folder = TempDir::new().unwrap();
    let (other, link) = (folder.path().join("shadow"), folder.path().join("run.html"));
    for leads_to in [other.as_path(), Path::new("shadow"), Path::new("nowhere")] {
        fs::write(&other, "secret").unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(leads_to, &link).unwrap();
        run(&mut Page::open(&link).unwrap()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
        assert!(fs::read_to_string(&link).unwrap().contains("</html>"));
        assert_eq!(fs::read_to_string(&other).unwrap(), "secret");
        assert_eq!(fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(names(&folder).len(), 2);
        fs::remove_file(&link).unwrap();
    }
}

#[test]
fn a_link_planted_during_the_run_is_replaced_as_well() {
    let folder = TempDir::new().unwrap();
    let (other, path) = (folder.path().join("shadow"), folder.path().join("run.html"));
    fs::write(&other, "secret").unwrap();
    let mut page = Page::open(&path).unwrap();
    symlink(&other, &path).unwrap();
    run(&mut page).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(fs::read_to_string(&other).unwrap(), "secret");
}

#[test]
fn a_directory_exchanged_during_the_run_gets_nothing() {
    let folder = TempDir::new().unwrap();
    let [named, moved, other] = ["named", "moved", "other"].map(|name| folder.path().join(name));
    fs::create_dir(&named).unwrap();
    fs::create_dir(&other).unwrap();
    let mut page = Page::open(&named.join("run.html")).unwrap();
    fs::rename(&named, &moved).unwrap();
    symlink(&other, &named).unwrap();
    run(&mut page).unwrap();
    assert!(moved.join("run.html").is_file());
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.html");
    for mode in [0o600, 0o640, 0o644, 0o400] {
        let _ = fs::remove_file(&path);
        fs::write(&path, "an older one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let mut page = Page::open(&path).unwrap();
        // Nor may anybody else open it before it has its name.
        for entry in fs::read_dir(folder.path()).unwrap() {
            let now = entry.unwrap().metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(now, mode, "{now:o}");
        }
        run(&mut page).unwrap();
        let kept = fs::metadata(&path).unwrap();
        assert!(kept.len() > 1000);
        assert_eq!(kept.permissions().mode() & 0o777, mode, "{mode:o}");
    }
}

/// Only root can give files away; nobody else has anything to keep.
#[test]
fn a_file_that_is_replaced_keeps_its_owner_unless_anyone_could_have_planted_it() {
    const OTHER: u32 = 12_345;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.html");
    let ours = fs::metadata(folder.path()).unwrap().uid();
    let may_give = nix::unistd::geteuid().is_root();
    for (of_folder, owner) in [(0o755, OTHER), (0o1777, ours)] {
        let _ = fs::remove_file(&path);
        fs::write(&path, "an older one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o606)).unwrap();
        assert_eq!(chown(&path, Some(OTHER), Some(OTHER)).is_ok(), may_give);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(of_folder)).unwrap();
        run(&mut Page::open(&path).unwrap()).unwrap();
        let kept = fs::metadata(&path).unwrap();
        assert!(kept.len() > 1000);
        assert_eq!(kept.uid(), if may_give { owner } else { ours });
        assert_eq!(kept.permissions().mode() & 0o777 & !0o606, 0);
    }
}

#[test]
fn what_can_not_be_written_is_said_at_the_start() {
    let folder = TempDir::new().unwrap();
    let links = TempDir::new().unwrap();
    let link = |name: &str, leads_to: &str| {
        symlink(leads_to, links.path().join(name)).unwrap();
        links.path().join(name)
    };
    for (path, why) in [
        (folder.path().to_owned(), "it is a directory: name a file"),
        ("/".into(), "it is a directory: name a file"),
        ("..".into(), "it is a directory: name a file"),
        ("".into(), "it is a directory: name a file"),
        (folder.path().join("run.html/"), "this names no file"),
        (link("folder", "/"), "it is a directory: name a file"),
        (link("null", "/dev/null"), "it is no regular file: name a file"),
        ("/dev/stdout".into(), "name a file"),
        (folder.path().join("missing/run.html"), ": No such file or directory (os error 2)"),
        ("/dev/null".into(), "it is no regular file: name a file"),
        ("/proc/run.html".into(), "cannot write the report /proc/run.html"),
    ] {
        let error = format!("{:#}", Page::open(&path).err().unwrap());
        assert!(error.contains("cannot write the report") && error.contains(why), "{error}");
    }
    assert!(names(&folder).is_empty());
    assert_eq!(names(&links).len(), 2);
}

#[test]
fn a_short_run_is_looked_at_more_often() {
    let folder = TempDir::new().unwrap();
    let mut page = Page::open(&folder.path().join("run.html")).unwrap();
    assert_eq!(page.period(), OFTEN);
    let clock = samples::clock();
    page.start(&samples::start(), &clock);
    let late = crate::core::record::Connection { end: at(86_400 * S), ..samples::full() };
    page.record(&Record::Connection(Box::new(late)), true, &clock);
    assert_eq!(page.period(), SELDOM);
}
