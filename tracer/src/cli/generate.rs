//! Man page and shell completions, out of the definition of the options.
//!
//! For those who make packages (`cargo xtask dist`): the hidden option `--generate`. What the binary
//! itself prints can't be of another version, and costs no second build.

use std::io;

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::Shell;

use super::Options;

/// `--generate`.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the words the user types")]
pub enum Generated {
    Man,
    Bash,
    Zsh,
    Fish,
}

/// What is not an option and belongs on a man page. Section 8: a tool of the administrator.
const SIGNALS: &str = r#".SH SIGNALS
.TP
SIGINT, SIGTERM
End the run: the summary is printed, everything is detached.
.TP
SIGUSR1
Print the open connections and the summary so far.
.TP
SIGHUP
Open the \fB\-\-output\fR file anew.
.SH "EXIT STATUS"
0 after a normal end, a broken pipe included; with \fB\-\-check\fR, if tracing would work.
1 on failure. 2 on bad usage.
.SH "SEE ALSO"
.BR ss (8),
.BR bpftool (8),
.BR capabilities (7),
.BR tcp (7)
.PP
The fields of \fB\-\-format json\fR and more about the options are in the files that come with tracer
(/usr/share/doc/tracer).
"#;

impl Generated {
    /// The text.
    ///
    /// # Errors
    /// Writing to memory does not fail, but the generators may say so.
    pub fn render(self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        let shell = match self {
            Self::Man => {
                man(Options::command(), &mut text)?;
                return Ok(text);
            }
            Self::Bash => Shell::Bash,
            Self::Zsh => Shell::Zsh,
            Self::Fish => Shell::Fish,
        };
        // The generators offer hidden options as well.
        let all = Options::command();
        let shown = all.get_arguments().filter(|arg| !arg.is_hide_set()).cloned();
        let mut command = clap::Command::new("tracer").version(super::instead::VERSION);
        command = command.disable_version_flag(true).args(shown);
        clap_complete::generate(shell, &mut command, "tracer", &mut text);
        Ok(text)
    }
}

fn man(command: clap::Command, text: &mut Vec<u8>) -> io::Result<()> {
    let page = clap_mangen::Man::new(command).section("8").manual("System Administration");
    page.render_title(text)?;
    page.render_name_section(text)?;
    // Naming all the options here as well would tell nobody anything.
    text.extend_from_slice(b".SH SYNOPSIS\n\\fBtracer\\fR [\\fIOPTIONS\\fR]\n");
    page.render_description_section(text)?;
    page.render_options_section(text)?;
    text.extend_from_slice(SIGNALS.as_bytes());
    // The examples.
    page.render_extra_section(text)?;
    page.render_version_section(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(of: Generated) -> String {
        String::from_utf8(of.render().unwrap()).unwrap()
    }

    #[test]
    fn every_option_is_in_the_man_page_and_in_every_completion() {
        let man = text(Generated::Man);
        let command = Options::command();
        let shown: Vec<_> = command.get_arguments().filter(|arg| !arg.is_hide_set()).collect();
        assert!(shown.len() > 30);
        for long in shown.iter().filter_map(|arg| arg.get_long()) {
            let escaped = format!("\\-\\-{}", long.replace('-', "\\-"));
            assert!(man.contains(&escaped), "--{long} is not in the man page");
            for shell in [Generated::Bash, Generated::Zsh] {
                assert!(text(shell).contains(&format!("--{long}")), "--{long}: {shell:?}");
            }
            assert!(text(Generated::Fish).contains(&format!("-l {long} ")), "--{long}: fish");
        }
    }

    #[test]
    fn what_is_hidden_stays_hidden() {
        assert!(!Options::command().render_long_help().to_string().contains("--generate"));
        for what in [Generated::Man, Generated::Bash, Generated::Zsh, Generated::Fish] {
            assert!(!text(what).contains("generate"), "{what:?}");
        }
    }
}
