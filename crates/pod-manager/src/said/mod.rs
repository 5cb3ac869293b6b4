//! What programs said (git above all), and what it means.

mod meaning;
mod plain;
mod progress;

pub(crate) use meaning::{last_words, meaning, redacted};
pub(crate) use plain::plain;
pub(crate) use progress::{Step, parse as progress};
