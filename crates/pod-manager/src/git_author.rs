//! The git identity of a session's commits.

use std::fmt::{self, Write as _};

use session_key::Identity;

/// Who a session's commits are by, unless its user or its repository configured another identity. `Debug`
/// does not show it.
///
/// The texts come from outside, so they are cleaned: what git itself drops from an identity is not in them,
/// and neither is anything that ends a line.
///
/// ```
/// use pod_manager::GitAuthor;
/// let author = GitAuthor::new("Alice Smith", "17+alice@users.noreply.github.com").unwrap();
/// assert_eq!(author.to_string(), "Alice Smith <17+alice@users.noreply.github.com>");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct GitAuthor {
    name: Box<str>,
    email: Box<str>,
}

impl GitAuthor {
    /// The longest name, in bytes; a longer one is cut.
    pub const MAX_NAME_BYTES: usize = 200;
    /// The longest address, in bytes.
    pub const MAX_EMAIL_BYTES: usize = 254;

    /// Cleans a name and an address. Returns `None` if one of them has no usable character, or the address is
    /// too long.
    #[must_use]
    pub fn new(name: &str, email: &str) -> Option<Self> {
        let name = clean(name, " ");
        let name = name[..name.floor_char_boundary(Self::MAX_NAME_BYTES)].trim_end();
        let email = clean(email, "");
        let fits = !name.is_empty() && (1..=Self::MAX_EMAIL_BYTES).contains(&email.len());
        fits.then(|| Self { name: name.into(), email: email.into() })
    }

    /// Returns the identity of a session's owner, from the sign-in's address alone: `alice.smith@…` is
    /// "Alice Smith", and `alice@…` is "alice".
    #[must_use]
    pub fn of(owner: &Identity) -> Self {
        let email = owner.email();
        let local = email.split_once('@').map_or(email, |(local, _)| local);
        let local = local.split_once('+').map_or(local, |(name, _)| name);
        let words: Vec<_> =
            local.split(['.', '_']).filter(|word| !word.is_empty()).map(capitalized).collect();
        let name = if words.len() > 1 { words.join(" ") } else { local.to_owned() };
        Self::new(&name, email)
            .or_else(|| Self::new("opencode", email))
            .unwrap_or_else(|| Self { name: "opencode".into(), email: "opencode@localhost".into() })
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address.
    #[must_use]
    pub fn email(&self) -> &str {
        &self.email
    }

    /// Parses `Name <address>`, as [`Display`](fmt::Display) writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, email) = text.trim().strip_suffix('>')?.rsplit_once('<')?;
        Self::new(name, email)
    }

    /// Returns a file of git's configuration for `GIT_CONFIG_SYSTEM`, the configuration of lowest precedence:
    /// whatever `system`, the user or the repository sets wins. A missing `system` is no error for git.
    #[cfg(any(feature = "kubernetes", all(feature = "local", unix)))]
    pub(crate) fn system_config(&self, system: &[&str]) -> String {
        let mut file =
            format!("[user]\n\tname = {}\n\temail = {}\n", quoted(&self.name), quoted(&self.email));
        for path in system {
            let _infallible = write!(file, "[include]\n\tpath = {}\n", quoted(path));
        }
        file
    }
}

impl fmt::Display for GitAuthor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <{}>", self.name, self.email)
    }
}

impl fmt::Debug for GitAuthor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GitAuthor(…)")
    }
}

/// Removes angle brackets and invisible characters, joins the words, and removes from both ends what git
/// would remove there.
fn clean(text: &str, separator: &str) -> String {
    let visible: String = text
        .chars()
        .map(|char| if is_invisible(char) { ' ' } else { char })
        .filter(|char| !"<>".contains(*char))
        .collect();
    let joined = visible.split_whitespace().collect::<Vec<_>>().join(separator);
    joined.trim_matches(|char: char| char == ' ' || ".,:;\"\\'".contains(char)).to_owned()
}

/// Control characters, and those that turn the direction of writing: they would show another name.
fn is_invisible(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Quotes a value of git's configuration; it contains no control character.
#[cfg(any(feature = "kubernetes", all(feature = "local", unix)))]
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_cleaned_as_git_would() {
        #[track_caller]
        fn check(name: &str, email: &str, expected: Option<&str>) {
            let author = GitAuthor::new(name, email);
            assert_eq!(author.as_ref().map(ToString::to_string).as_deref(), expected);
            if let Some(author) = author {
                assert_eq!(GitAuthor::parse(&author.to_string()), Some(author));
            }
        }
        check("Alice", "a@b", Some("Alice <a@b>"));
        check("  Jürgen \t Groß ", "a@b", Some("Jürgen Groß <a@b>"));
        check("O'Neil \"Shaq\" Jr.", "a@b", Some("O'Neil \"Shaq\" Jr <a@b>"));
        check("x\n[core]\n\thooksPath = /tmp", "a@b\n", Some("x [core] hooksPath = /tmp <a@b>"));
        check("Bob <root@example.com>", "<a@b>", Some("Bob root@example.com <a@b>"));
        check("\u{202e}ecilA\0", "a b@c", Some("ecilA <ab@c>"));
        check("C:\\", "a@b", Some("C <a@b>"));
        check(" .,;'\"\\ ", "a@b", None);
        check("", "a@b", None);
        check("Alice", "<>\n", None);
        check("Alice", &"a".repeat(255), None);
        let long = GitAuthor::new(&"ü".repeat(150), "a@b").unwrap();
        assert_eq!(long.name(), "ü".repeat(100));
    }

    #[test]
    fn an_owner_without_another_identity_commits_under_their_address() {
        #[track_caller]
        fn check(email: &str, expected: &str) {
            assert_eq!(GitAuthor::of(&Identity::parse(email).unwrap()).to_string(), expected);
        }
        check("alice@example.com", "alice <alice@example.com>");
        check("alice.smith@example.com", "Alice Smith <alice.smith@example.com>");
        check("alice.smith+code@example.com", "Alice Smith <alice.smith+code@example.com>");
        check("élodie_d@example.com", "Élodie D <élodie_d@example.com>");
        check("..@example.com", "opencode <@example.com>");
        check("<\"\\>@example.com", "opencode <@example.com>");
    }

    #[test]
    fn an_author_is_not_shown_in_logs() {
        assert_eq!(format!("{:?}", GitAuthor::new("Alice", "a@b")), "Some(GitAuthor(…))");
    }
}
