//! Keeps the README honest: what it tells people to type exists, and what exists is told.

use std::collections::BTreeSet;

/// A program's long flags, or an xtask subcommand's.
pub(crate) type Flags = BTreeSet<String>;

/// What can be typed.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// tracer's flags.
    pub(crate) tracer: Flags,
    /// `cargo xtask`'s subcommands and their flags.
    pub(crate) xtask: Vec<(String, Flags)>,
}

/// tracer's flags as its `--help` lists them: the lines that begin with an option.
pub(crate) fn flags_of_help(help: &str) -> Flags {
    help.lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'))
        .filter_map(|line| flags_in(line).next())
        .collect()
}

/// xtask's own commands, from its command line definition.
pub(crate) fn xtask_commands(command: &clap::Command) -> Vec<(String, Flags)> {
    command
        .get_subcommands()
        .map(|sub| {
            let flags = sub.get_arguments().filter_map(|arg| arg.get_long());
            let common = ["help", "version"];
            let flags = flags.chain(common).map(|flag| format!("--{flag}")).collect();
            (sub.get_name().to_owned(), flags)
        })
        .collect()
}

/// Everything wrong with the README, given all documents (README first) in which a flag may be
/// described.
pub(crate) fn problems(known: &Known, readme: &str, docs: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    for code in code_spans(readme) {
        for command in split_commands(&code) {
            check_command(known, command, &mut problems);
        }
    }
    let everything: Flags =
        std::iter::once(readme).chain(docs.iter().map(String::as_str)).flat_map(flags_in).collect();
    let standard = ["--help", "--version"];
    for flag in known.tracer.iter().filter(|flag| !standard.contains(&flag.as_str())) {
        if !everything.contains(flag) {
            problems
                .push(format!("`tracer {flag}` is described neither in README.md nor in docs/"));
        }
    }
    problems.sort();
    problems.dedup();
    problems
}

/// Checks one command line, or one flag mentioned by itself.
fn check_command(known: &Known, command: &str, problems: &mut Vec<String>) {
    let mut words = command.split_whitespace().peekable();
    while words.next_if(|word| matches!(*word, "$" | "#" | "sudo") || word.contains('=')).is_some()
    {
    }
    let words: Vec<&str> = words.collect();
    match words.as_slice() {
        ["cargo", "xtask", subcommand, rest @ ..] => {
            let Some((_, flags)) = known.xtask.iter().find(|(name, _)| name == subcommand) else {
                problems.push(format!("`{command}`: there is no `cargo xtask {subcommand}`"));
                return;
            };
            let end = rest.iter().position(|word| *word == "--").unwrap_or(rest.len());
            let (own, tracers) = rest.split_at(end);
            check_flags(own, &[flags], command, problems);
            if *subcommand == "run" {
                check_flags(tracers, &[&known.tracer], command, problems);
            }
        }
        [program, rest @ ..] if program.rsplit('/').next() == Some("tracer") => {
            check_flags(rest, &[&known.tracer], command, problems);
        }
        // A flag by itself may be anybody's.
        [first, ..] if first.starts_with('-') => {
            let all: Vec<&Flags> = std::iter::once(&known.tracer)
                .chain(known.xtask.iter().map(|(_, flags)| flags))
                .collect();
            check_flags(&words, &all, command, problems);
        }
        // Somebody else's command.
        _ => {}
    }
}

fn check_flags(words: &[&str], known: &[&Flags], command: &str, problems: &mut Vec<String>) {
    for flag in words.iter().flat_map(|word| flags_in(word)) {
        if !known.iter().any(|flags| flags.contains(&flag)) {
            problems.push(format!("`{command}`: there is no flag {flag}"));
        }
    }
}

/// A line of a code block can hold several commands; a pipe begins another program.
fn split_commands(code: &str) -> impl Iterator<Item = &str> {
    code.lines()
        .map(|line| line.split(" # ").next().unwrap_or(line))
        .flat_map(|line| line.split(['|', ';', '&']))
        .map(str::trim)
        .filter(|command| !command.is_empty())
}

/// The text of every code block and every inline code span of a Markdown document.
fn code_spans(markdown: &str) -> Vec<String> {
    let mut spans = Vec::new();
    let mut block: Option<String> = None;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            match block.take() {
                Some(text) => spans.push(text),
                None => block = Some(String::new()),
            }
        } else if let Some(text) = &mut block {
            // A command may go on over a line's end.
            match line.trim_end().strip_suffix('\\') {
                Some(begun) => text.push_str(begun),
                None => {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        } else if line.starts_with("    ") {
            spans.push(line.to_owned());
        } else {
            // In a table a pipe inside code is written `\|`.
            let parts: Vec<_> = line.split('`').collect();
            spans.extend(parts.iter().skip(1).step_by(2).map(|code| code.replace("\\|", "/")));
        }
    }
    spans.extend(block);
    spans
}

/// Every `--flag` in a text; not the bare `--`, not `---`.
fn flags_in(text: &str) -> impl Iterator<Item = String> + '_ {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.match_indices("--").filter_map(move |(start, _)| {
        let before = text.get(..start)?.chars().next_back();
        let rest = text.get(start + 2..)?;
        let name: String = rest.chars().take_while(|&c| is_part(c)).collect();
        let name = name.trim_end_matches('-');
        (!before.is_some_and(is_part) && name.starts_with(|c: char| c.is_ascii_lowercase()))
            .then(|| format!("--{name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn flags(names: &[&str]) -> Flags {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn known() -> Known {
        Known {
            tracer: flags(&["--port", "--format", "--help"]),
            xtask: vec![
                ("run".to_owned(), flags(&["--yes", "--help"])),
                ("test".to_owned(), flags(&["--no-vm"])),
            ],
        }
    }

    const HONEST: &str = "Type `cargo xtask run -- --port 8080`.\n\n```sh\ncargo xtask test --no-vm\n\
        sudo target/release/tracer --port 80 \\\n  --format json | jq --raw-output .x # --nonsense\n```\n\
        | `--format text\\|json` | how |\n    sudo tracer --port 443\nUse apt: `apt-get --yes install x`.\n";

    #[test]
    fn help_lists_its_flags_by_line() {
        let help = "Usage: tracer\n\nOptions:\n  -p, --port <PORT>  like --local-port, or\n      --format <F>\n\
                    \x20         see --port\n  -4\n  -h, --help\n";
        assert_eq!(flags_of_help(help), flags(&["--port", "--format", "--help"]));
    }

    #[test]
    fn an_honest_readme_passes() {
        assert_eq!(problems(&known(), HONEST, &[]), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_exist_is_found() {
        for (text, expected) in [
            ("`cargo xtask bench`", "no `cargo xtask bench`"),
            ("`cargo xtask test --fast`", "no flag --fast"),
            ("`cargo xtask run --yes -- --prot 1`", "no flag --prot"),
            ("`cargo xtask run --port 1`", "no flag --port"),
            ("```\n$ sudo tracer --colour\n```", "no flag --colour"),
            ("`--speed` is", "no flag --speed"),
            ("`sudo X=1 target/release/tracer --wrong`", "no flag --wrong"),
        ] {
            let problems = problems(&known(), &format!("{HONEST}{text}\n"), &[]);
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert!(problems[0].contains(expected), "{text}: {problems:?}");
        }
    }

    #[test]
    fn an_undescribed_flag_is_found_and_docs_count() {
        let mut known = known();
        known.tracer.insert("--top".to_owned());
        assert!(problems(&known, HONEST, &[])[0].contains("tracer --top"));
        assert!(problems(&known, HONEST, &["`--top` shows".to_owned()]).is_empty());
        // A longer flag's name does not describe a shorter one.
        assert_eq!(problems(&known, HONEST, &["`--top-hosts` shows".to_owned()]).len(), 1);
    }

    #[test]
    fn the_own_command_line_is_read() {
        let commands = xtask_commands(&crate::Cli::command());
        let (_, test) = commands.iter().find(|(name, _)| name == "test").unwrap();
        assert!(test.contains("--no-vm") && test.contains("--only"));
    }
}
