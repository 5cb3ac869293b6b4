//! Makes output safe to show: without control characters and credentials.

/// Removes escape sequences (ECMA-48) and control characters other than line ends and tabs.
pub(crate) fn strip_control(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => match rest.next() {
                // CSI … final byte.
                Some('[') => while rest.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
                // OSC … BEL or ESC \.
                Some(']') => {
                    while let Some(c) = rest.next() {
                        if c == '\u{7}' || c == '\u{1b}' && rest.next_if_eq(&'\\').is_some() {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\r' if rest.peek() == Some(&'\n') => {}
            '\r' => plain.push('\n'),
            '\n' | '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

/// Replaces the credentials of addresses in a line by `***`.
pub(crate) fn redact_urls(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/'\"?#".contains(c)).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(at) => {
                clean.push_str("***");
                &after[at..]
            }
            None => after,
        };
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_are_removed() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(strip_control(text), expected);
        }
        check("\u{1b}[91m\u{1b}[1mError: \u{1b}[0mServeError\r\n", "Error: ServeError\n");
        check("10%\r20%\n", "10%\n20%\n");
        check("\u{1b}]0;title\u{7}text\u{1b}]8;;x\u{1b}\\more", "textmore");
        check("ümläut 🦀\tx\u{8}\u{1b}", "ümläut 🦀\tx");
        check("\u{1b}[", "");
    }

    #[test]
    fn credentials_are_redacted() {
        #[track_caller]
        fn check(line: &str, expected: &str) {
            assert_eq!(redact_urls(line), expected);
        }
        check(
            "fatal: unable to access 'https://me:se@cret@example.com/a': no",
            "fatal: unable to access 'https://***@example.com/a': no",
        );
        check("ssh://git@example.com/a and http://x:y@z", "ssh://***@example.com/a and http://***@z");
        check("https://example.com/a@b", "https://example.com/a@b");
        check("no address @ all", "no address @ all");
    }
}
