//! The file: made at the start, written at the end, in one step.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use tempfile::TempDir;

use super::*;
use crate::core::{Config, Core};
use crate::report::samples::{self, S, at};

fn run(page: &mut Page) -> Result<()> {
    let (clock, core) = (samples::clock(), Core::new(Config::default()));
    page.start(&samples::start(), &clock);
    page.record(&Record::Connection(Box::new(samples::full())), true, &clock);
    let (totals, hooks) = (samples::end(), samples::start().hooks);
    let standing = Standing { at: at(103 * S), totals: &totals, hooks: &hooks, core: &core };
    page.standing(&standing, &clock);
    page.end(&standing, &clock, Duration::from_secs(1))
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
fn a_link_stays_a_link() {
    let folder = TempDir::new().unwrap();
    let (path, link) = (folder.path().join("run.html"), folder.path().join("latest.html"));
    fs::write(&path, "").unwrap();
    symlink("run.html", &link).unwrap();
    run(&mut Page::open(&link).unwrap()).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&path).unwrap().contains("</html>"));
}

#[test]
fn what_can_not_be_written_is_said_at_the_start() {
    let folder = TempDir::new().unwrap();
    for (path, why) in [
        (folder.path().to_owned(), "it is a directory: name a file"),
        (folder.path().join("missing/run.html"), "No such file or directory"),
        ("/dev/null".into(), "it is no regular file: name a file"),
        ("/proc/run.html".into(), "cannot write the report /proc/run.html"),
    ] {
        let error = format!("{:#}", Page::open(&path).err().unwrap());
        assert!(error.contains("cannot write the report") && error.contains(why), "{error}");
    }
    assert!(names(&folder).is_empty());
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
