//! Trims white space like the TypeScript router: ECMAScript's `String.prototype.trim`.

/// Trims ECMAScript's white space and line terminators (ECMA-262 §12.2, §12.3).
///
/// Unlike `str::trim`, it trims U+FEFF and keeps U+0085.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}'))
}

#[cfg(test)]
mod tests {
    use super::trim;

    #[test]
    fn text_is_trimmed_like_ecmascript() {
        assert_eq!(trim("\u{feff} \t\r\n\u{a0}x\u{2028} "), "x");
        assert_eq!(trim("\u{85}x"), "\u{85}x");
    }
}
