//! Checks of texts that a session says.

pub(super) const MAX_DIRECTORY: usize = 4096;
const MAX_TITLE: usize = 200;

/// Returns whether the text has the form of opencode's ids, so that it may be part of a path.
pub(super) fn valid_id(prefix: &str, id: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|rest| {
        (1..=64).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

/// Returns the title as one short line; `None` if it is the name of every new conversation.
pub(super) fn title(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_TITLE).collect();
    let text = text.trim();
    let unnamed = text.is_empty() || text.starts_with("New session - ");
    (!unnamed).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_one_short_line_and_not_the_default_name() {
        assert_eq!(title(" Fix\u{1b}[31m\nit "), Some("Fix[31mit".into()));
        assert_eq!(title("New session - 2026-11-23T16:19:39.611Z"), None);
        assert_eq!(title(" \n"), None);
        assert_eq!(title(&"ü".repeat(1000)).map(|title| title.chars().count()), Some(MAX_TITLE));
    }
}
