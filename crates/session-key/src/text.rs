//! White space as the TypeScript router trims it: ECMAScript's `String.prototype.trim`.

/// Trims what ECMAScript calls white space and line terminators (ECMA-262 §12.2, §12.3).
///
/// It differs from `str::trim` in two characters: U+FEFF is trimmed, U+0085 is not.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}'))
}

#[cfg(test)]
mod tests {
    use super::trim;

    #[test]
    fn trims_as_ecmascript_does() {
        assert_eq!(trim("\u{feff} \t\r\n\u{a0}x\u{2028} "), "x");
        assert_eq!(trim("\u{85}x"), "\u{85}x");
    }
}
