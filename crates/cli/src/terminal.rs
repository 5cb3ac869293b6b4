//! Output: results go to standard output, everything else to standard error.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;

use crate::{
    args::{GlobalArgs, OutputFormat},
    error::CliError,
};

/// The program's output and its settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    pub(crate) format: OutputFormat,
    pub(crate) quiet: bool,
    /// Whether standard output is a terminal.
    pub(crate) stdout_is_tty: bool,
    /// Whether standard error is a terminal.
    pub(crate) stderr_is_tty: bool,
    /// Whether the user allows colour on a terminal.
    pub(crate) color: bool,
}

impl Terminal {
    pub(crate) fn new(global: &GlobalArgs) -> Self {
        Self {
            format: global.output,
            quiet: global.quiet,
            stdout_is_tty: io::stdout().is_terminal(),
            stderr_is_tty: io::stderr().is_terminal(),
            color: global.no_color.as_deref().is_none_or(str::is_empty),
        }
    }

    /// Prints a line of the result.
    pub(crate) fn print(&self, text: impl Display) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        Ok(stdout.flush()?)
    }

    /// Prints a result in the chosen format; `render` makes the table.
    pub(crate) fn print_value<T: Serialize>(
        &self,
        value: &T,
        render: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        let encode_error = |error: &dyn Display| {
            CliError::new(CliError::ERROR, format!("the result can't be encoded: {error}"))
        };
        // By way of a `Value`, which sorts the keys.
        let sorted = || serde_json::to_value(value).map_err(|error| encode_error(&error));
        let text = match self.format {
            OutputFormat::Table | OutputFormat::Wide => render(),
            OutputFormat::Json => {
                serde_json::to_string_pretty(&sorted()?).map_err(|error| encode_error(&error))?
            }
            OutputFormat::Yaml => {
                serde_yaml_ng::to_string(&sorted()?).map_err(|error| encode_error(&error))?
            }
        };
        if text.is_empty() { Ok(()) } else { self.print(text.trim_end_matches('\n')) }
    }

    /// Prints a note to standard error, unless `--quiet` is set. A closed standard error is ignored.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }
}

/// Makes a one-line text safe to print: see [`sanitize`]. Line ends and tabs become spaces.
pub(crate) fn sanitize_line(text: &str) -> String {
    sanitize(text).replace(['\n', '\t'], " ")
}

/// Makes a text that a session, its repository or a model chose safe to print.
///
/// Control characters, which could rewrite the screen, and characters that change the direction of writing
/// become `\u{fffd}`; line ends and tabs stay.
pub(crate) fn sanitize(text: &str) -> String {
    let is_unsafe = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(is_unsafe, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::{sanitize, sanitize_line};

    #[test]
    fn the_text_of_a_session_cannot_rewrite_the_screen() {
        assert_eq!(
            sanitize("a\u{1b}[2Jb\r\n\tc\u{9b}\u{202e}"),
            "a\u{fffd}[2Jb\u{fffd}\n\tc\u{fffd}\u{fffd}"
        );
        assert_eq!(sanitize_line("one\ntwo\tthree\u{7}"), "one two three\u{fffd}");
    }
}
