/// Text without escape sequences (ECMA-48) and control characters other than line ends and tabs.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_are_left_out() {
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
}
