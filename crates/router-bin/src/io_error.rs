//! The text of system errors.

use std::io;

/// Returns the error's text in lower case and without its number: "permission denied".
pub(crate) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_ascii_lowercase()
}
