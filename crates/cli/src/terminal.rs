//! Standard output and error: what goes where, and what a terminal is spared.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;

use crate::{args::Global, args::Output, failure::Failure};

/// Where the program prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    pub(crate) output: Output,
    pub(crate) quiet: bool,
    /// Standard output is a terminal.
    pub(crate) tty: bool,
    /// Standard error is a terminal.
    pub(crate) err_tty: bool,
    /// Colours are wanted where there is a terminal.
    pub(crate) colour: bool,
}

impl Terminal {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            output: global.output,
            quiet: global.quiet,
            tty: io::stdout().is_terminal(),
            err_tty: io::stderr().is_terminal(),
            colour: global.no_color.as_deref().is_none_or(str::is_empty),
        }
    }

    /// Prints what was asked for.
    pub(crate) fn print(&self, text: impl Display) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        Ok(out.flush()?)
    }

    /// Prints what was asked for, in the format that was: `human` makes what people read.
    pub(crate) fn print_as<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let text = match self.output {
            Output::Table | Output::Wide => human(),
            Output::Json => serde_json::to_string_pretty(value).map_err(|why| unprintable(&why))?,
            Output::Yaml => serde_yaml_ng::to_string(value).map_err(|why| unprintable(&why))?,
        };
        if text.is_empty() { Ok(()) } else { self.print(text.trim_end_matches('\n')) }
    }

    /// The same of what may be nothing.
    pub(crate) fn say_some(&self, text: Option<impl Display>) {
        if let Some(text) = text {
            self.say(text);
        }
    }

    /// Says what goes on; not with `--quiet`. Nobody being there to read it is no failure.
    pub(crate) fn say(&self, text: impl Display) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }
}

fn unprintable(why: &dyn Display) -> Failure {
    Failure::new(Failure::ERROR, format!("the answer can't be printed so: {why}"))
}

/// Text that a session, its repository or a model chose, safe to print: control characters, with which a
/// text could rewrite the screen, are shown as `\u{fffd}`; line ends and tabs stay where `lines` says so.
pub(crate) fn harmless(text: &str, lines: bool) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' if lines => c,
            '\n' | '\t' => ' ',
            // Also what turns the direction of writing around.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn a_text_of_a_session_can_not_rewrite_the_screen() {
        assert_eq!(
            harmless("a\u{1b}[2Jb\r\n\tc\u{9b}\u{202e}", true),
            "a\u{fffd}[2Jb\u{fffd}\n\tc\u{fffd}\u{fffd}"
        );
        assert_eq!(harmless("one\ntwo", false), "one two");
    }
}
