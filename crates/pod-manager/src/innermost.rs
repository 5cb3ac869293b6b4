//! The innermost of an error's sources.

use std::error::Error;

/// Returns the message of the innermost source: the outer messages of HTTP clients say only that a request
/// failed.
pub(crate) fn innermost_message(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
