//! Branch names.

use std::fmt;

use crate::{error::InvalidName, text::trim};

/// The name of a git branch.
///
/// Follows the rules of `git check-ref-format --branch` (<https://git-scm.com/docs/git-check-ref-format>): it
/// contains no space, no control character and none of `~ ^ : ? * [ \`, and does not start with `-`, which
/// git would read as an option.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GitRef(Box<str>);

impl GitRef {
    /// Longest component between slashes, in bytes: git stores it as a file name, with `.lock` appended.
    const MAX_COMPONENT: usize = 250;
    const MAX_BYTES: usize = 1024;

    /// Parses a branch name; white space around it is dropped.
    ///
    /// # Errors
    /// [`InvalidName::Ref`] with the rule that the name breaks.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let name = trim(name);
        match broken_rule(name) {
            Some(rule) => Err(InvalidName::Ref(rule)),
            None => Ok(Self(name.into())),
        }
    }

    /// Returns the name, without `refs/heads/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the first rule that a name breaks.
fn broken_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("is empty");
    }
    if name.len() > GitRef::MAX_BYTES {
        return Some("is longer than 1024 bytes");
    }
    if name.starts_with('-') {
        return Some("starts with '-'");
    }
    if name.chars().any(|c| c.is_control() || c == ' ') {
        return Some("contains a space or a control character");
    }
    if name.contains(['~', '^', ':', '?', '*', '[', '\\']) {
        return Some("contains one of ~ ^ : ? * [ \\");
    }
    if name.contains("..") || name.contains("@{") {
        return Some("contains '..' or '@{'");
    }
    if name.ends_with('.') {
        return Some("ends with '.'");
    }
    if matches!(name, "@" | "HEAD") || name.starts_with("refs/") {
        return Some("is reserved by git");
    }
    for component in name.split('/') {
        if component.is_empty() {
            return Some("starts or ends with '/', or contains '//'");
        }
        if component.starts_with('.') || component.ends_with(".lock") {
            return Some("has a part that starts with '.' or ends with '.lock'");
        }
        if component.len() > GitRef::MAX_COMPONENT {
            return Some("has a part longer than 250 bytes");
        }
    }
    None
}

impl fmt::Display for GitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
