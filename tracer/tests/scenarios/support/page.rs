//! Pages of documentation whose output is compared with that of a run.
//!
//! In `docs/troubleshooting` a code block that begins with
//!
//! ````text
//! ```console NAME
//! $ sudo tracer ...
//! ````
//!
//! belongs to the test `troubleshooting::...::NAME`. The test runs the block's command, makes what
//! the page is about happen, and compares what the command wrote with the rest of the block
//! ([`compare`]). With `TRACER_TEST_UPDATE_DOCS=1` it writes it there instead. A block that ends
//! with the line `[...]` shows what comes before the summary, one that begins with it the last
//! paragraph alone.

pub(crate) mod compare;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

pub(crate) use compare::Counts;

use super::isolate::this_test;
use super::lab::Lab;
use super::terminal::Program;
use super::tracer::binary;
use super::{unique, wait_until};

/// Columns of the terminal that the pages show.
const WIDTH: u16 = 80;
/// What stands for the summary that a page leaves out.
const LEFT_OUT: &str = "[...]";

/// The folder of the pages.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/troubleshooting")
}

/// The Markdown files of a folder and what is in them, by name.
pub(crate) fn pages() -> Vec<(PathBuf, String)> {
    let folder = folder();
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut pages: Vec<(PathBuf, String)> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| {
            let text = std::fs::read_to_string(&path);
            let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, text)
        })
        .collect();
    pages.sort();
    pages
}

/// A fenced code block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The second word behind the opening fence.
    pub(crate) name: Option<String>,
    /// Its first line, with those that a backslash or an open quote adds, without the `$ `.
    pub(crate) command: Option<String>,
    /// The lines below the command.
    pub(crate) output: String,
    /// Where `output` is in the page, bytes.
    place: std::ops::Range<usize>,
}

/// The fenced code blocks of a page.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut at = 0;
    let mut open: Option<(Option<String>, usize)> = None;
    for line in page.split_inclusive('\n') {
        let begin = at;
        at += line.len();
        let Some(info) = line.trim_end().strip_prefix("```") else { continue };
        match open.take() {
            None => open = Some((info.split_whitespace().nth(1).map(str::to_owned), at)),
            Some((name, from)) => blocks.push(block(name, page, from..begin)),
        }
    }
    assert!(open.is_none(), "a code block without an end");
    blocks
}

fn block(name: Option<String>, page: &str, place: std::ops::Range<usize>) -> Block {
    let text = &page[place.clone()];
    let Some(rest) = text.strip_prefix("$ ") else {
        return Block { name, command: None, output: text.to_owned(), place };
    };
    let mut command = String::new();
    let mut end = 2;
    for line in rest.split_inclusive('\n') {
        end += line.len();
        command.push_str(line);
        let quoted = command.matches('\'').count() % 2 == 1;
        if !quoted && !line.trim_end().ends_with('\\') {
            break;
        }
    }
    let place = place.start + end..place.end;
    let command = command.replace("\\\n", " ").trim_end().to_owned();
    Block { name, command: Some(command), output: page[place.clone()].to_owned(), place }
}

/// The command of this test's block, running in host b as if b were the whole machine.
pub(crate) struct Shown {
    page: PathBuf,
    block: Block,
    program: Program,
}

impl Shown {
    /// Runs it and waits until it traces.
    #[track_caller]
    pub(crate) fn start(lab: &Lab) -> Self {
        let test = this_test();
        let name = test.rsplit("::").next().expect("a name");
        let found = pages().into_iter().find_map(|(page, text)| {
            let block = blocks(&text).into_iter().find(|b| b.name.as_deref() == Some(name))?;
            Some((page, block))
        });
        let (page, block) = found.unwrap_or_else(|| panic!("no page has a block `{name}`"));
        let command = block.command.as_deref().expect("a command line");
        let args = command.strip_prefix("sudo tracer ").expect("`$ sudo tracer ...`");
        // Behind a pipe there is no terminal.
        let piped = args.contains('|');
        let seen = std::env::temp_dir().join(format!("tracer-scenario-{}.jsonl", unique()));
        let process = if piped {
            let mut shell = lab.b.command("sh");
            // What goes to the other program is seen on the way: tracer traces once it has begun.
            let line = args.replacen('|', "| tee \"$SEEN\" |", 1);
            shell.arg("-c").arg(format!("\"$TRACER\" --netns self {line}"));
            shell.env("TRACER", binary()).env("SEEN", &seen);
            shell
        } else {
            let mut tracer = lab.b.command(binary());
            tracer.args(["--netns", "self"]).args(args.split_whitespace());
            tracer
        };
        let program = Program::start(process, (!piped).then_some(WIDTH));
        let shown = Self { page, block, program };
        wait_until("it traces", Duration::from_secs(15), || {
            if piped {
                std::fs::read_to_string(&seen).is_ok_and(|seen| seen.contains("\"start\""))
            } else {
                shown.program.notices.text().contains("buffers:")
            }
        });
        if piped {
            std::fs::remove_file(&seen).expect("remove the copy's name");
        }
        shown
    }

    /// Sends it a signal.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Waits until it has written this so many times.
    #[track_caller]
    pub(crate) fn wait(&self, times: usize, what: &str) {
        wait_until(what, Duration::from_secs(20), || {
            self.program.out.text().matches(what).count() >= times
        });
    }

    /// Ctrl-C, and the comparison.
    #[track_caller]
    pub(crate) fn interrupt(self, counts: Counts) {
        self.signal(Signal::SIGINT);
        self.finish(counts);
    }

    /// Waits until it ends by itself, and compares.
    #[track_caller]
    pub(crate) fn finish(mut self, counts: Counts) {
        let ended = self.program.wait();
        let (run, notices) = (self.program.out.text(), self.program.notices.text());
        assert!(ended.success(), "{ended}: {notices}\n{run}");
        let run = excerpt(&self.block.output, run.trim());
        let wide = run.lines().find(|line| line.chars().count() > WIDTH.into());
        assert!(wide.is_none(), "wider than a terminal: {wide:?}");
        let name = self.block.name.as_deref().unwrap_or_default();
        if std::env::var_os("TRACER_TEST_UPDATE_DOCS").is_some() {
            return rewrite(&self.page, name, &run);
        }
        if let Some(diff) = compare::difference(&self.block.output, &run, counts) {
            panic!(
                "{}: the block `{name}` (-) is not what a run gives (+):\n{diff}\n\
                 TRACER_TEST_UPDATE_DOCS=1 writes what a run gives into the page.\n{notices}",
                self.page.display()
            );
        }
    }
}

/// As much of a run as a block shows.
fn excerpt(shown: &str, run: &str) -> String {
    if shown.trim_end().ends_with(LEFT_OUT) && shown.lines().count() > 1 {
        let summary = ["\nRemote hosts,", "\nOpen at "];
        let end = summary.iter().filter_map(|title| run.find(title)).min().unwrap_or(run.len());
        format!("{}\n{LEFT_OUT}\n", run[..end].trim_end())
    } else if shown.starts_with(LEFT_OUT) {
        format!("{LEFT_OUT}\n{}\n", run.rsplit("\n\n").next().unwrap_or_default())
    } else {
        format!("{run}\n")
    }
}

/// Puts a block's output into its page. One process at a time: a page may have several blocks.
fn rewrite(page: &Path, name: &str, run: &str) {
    let mut file = File::options().read(true).write(true).open(page).expect("the page");
    file.lock().expect("lock the page");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("read the page");
    let block = blocks(&text).into_iter().find(|b| b.name.as_deref() == Some(name));
    text.replace_range(block.expect("the block").place, run);
    std::io::Seek::rewind(&mut file).expect("rewind");
    file.set_len(0).expect("truncate the page");
    file.write_all(text.as_bytes()).expect("write the page");
}

#[test]
fn blocks_are_found_with_their_commands() {
    let page = "# A\n```console one\n$ sudo tracer \\\n  --role client\nx\ny\n```\n```sh\nz\n```\n";
    let found = blocks(page);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].name.as_deref(), Some("one"));
    assert_eq!(found[0].command.as_deref(), Some("sudo tracer    --role client"));
    assert_eq!((found[0].output.as_str(), &page[found[0].place.clone()]), ("x\ny\n", "x\ny\n"));
    assert_eq!((&found[1].name, &found[1].command), (&None, &None));
}

#[test]
fn a_block_may_show_a_part_of_the_run() {
    let run = "HEADER\nrow\n\nOpen at 1: 0\n\nRemote hosts, x\nHOST\n\n1 ended\n  more";
    assert_eq!(excerpt("x\ny\n[...]\n", run), "HEADER\nrow\n[...]\n");
    assert_eq!(excerpt("[...]\ny\n", run), "[...]\n1 ended\n  more\n");
    assert_eq!(excerpt("x\n", run), format!("{run}\n"));
}
