//! The name of a repository.

use std::fmt;

/// The name of a repository, `owner/name`, checked by GitHub's rules for names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepoName {
    owner: Box<str>,
    name: Box<str>,
}

impl RepoName {
    /// The longest owner or name, in bytes.
    const MAX_PART: usize = 100;

    /// Parses `owner/name`. Returns `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (owner, name) = text.trim().split_once('/')?;
        (is_valid(owner) && is_valid(name)).then(|| Self { owner: owner.into(), name: name.into() })
    }

    pub(crate) fn segments(&self) -> [&str; 2] {
        [&self.owner, &self.name]
    }
}

/// Whether a text can be an owner or a name: ASCII letters, digits, `-`, `_` and `.`, and no dots alone.
fn is_valid(part: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=RepoName::MAX_PART).contains(&part.len())
        && part.bytes().all(is_allowed)
        && part.bytes().any(|byte| byte != b'.')
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_names_never_reach_a_path() {
        let check = |text: &str, expected: Option<&str>| {
            let parsed = RepoName::parse(text).map(|name| name.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text:?}");
        };
        check("acme/widgets", Some("acme/widgets"));
        check(" octo-org_ent/dot.files ", Some("octo-org_ent/dot.files"));
        check("acme/.github", Some("acme/.github"));
        for invalid in [
            "",
            "/",
            "acme",
            "acme/",
            "/widgets",
            "acme/..",
            "../widgets",
            "./.",
            "acme/widgets/branches",
            "acme/wid gets",
            "acme/widgets?x",
            "acme/widgets#x",
            "acme/%2e%2e",
            "acme\\widgets",
            "acme/wïdgets",
            "acme/widgets\n",
            "user/../../user",
        ] {
            check(invalid, if invalid.trim() == "acme/widgets" { Some("acme/widgets") } else { None });
        }
        check(&format!("acme/{}", "x".repeat(101)), None);
    }
}
