//! Tokens for `opencode attach`: of a token only its digest is kept, on its session's record.
//!
//! Pure: what a change makes of the tokens, and whether a text is one of them. The backends store them, and
//! the manager answers from what their watches report.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

/// The beginning of every token. It tells people and scanners for leaked secrets what the token is, and no
/// command line takes a token for an option, as it would a text that begins with `-`.
const PREFIX: &str = "ocattach_";

/// The digest of a token. The token is 256 random bits, so no slow hash is needed.
pub(crate) type TokenDigest = [u8; 32];

/// The tokens of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachTokens {
    tokens: Vec<AttachToken>,
    /// The password that the TypeScript router gave the session.
    original: Option<OriginalPassword>,
}

/// What is known of a token: not the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachToken {
    /// Names the token among those of its session.
    pub id: AttachTokenId,
    /// The name that its creator gave it.
    pub name: Arc<str>,
    /// When it was created.
    pub created_at: SystemTime,
    /// From when on it is refused.
    pub expires_at: SystemTime,
    pub(crate) digest: Hidden,
}

/// The id of a token: random, and no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachTokenId([u8; 6]);

/// A token itself, which is shown once. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct AttachSecret(String);

/// A digest; `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hidden(pub(crate) TokenDigest);

/// The digest of a password of the TypeScript router. It has no name and does not expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OriginalPassword(Hidden);

/// A change of a session's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachChange {
    /// Adds a token. It replaces the password of the TypeScript router, if the session still has it.
    Create(AttachToken),
    /// Removes a token; one that is gone already is no error.
    Revoke(AttachTokenId),
    /// Removes all tokens, and the password of the TypeScript router.
    RevokeAll,
}

/// The session has as many tokens as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyAttachTokens;

/// What a text that was accepted is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachMatch {
    /// A token.
    Token(AttachTokenId),
    /// The password of the TypeScript router.
    Original,
}

impl AttachTokens {
    /// The most tokens that a session has at once.
    pub const MAX: usize = 10;
    /// The longest name of a token, in characters.
    pub const MAX_NAME_CHARS: usize = 60;

    #[cfg(any(feature = "kubernetes", all(feature = "local", unix)))]
    pub(crate) fn new(tokens: Vec<AttachToken>, original_password: Option<&str>) -> Self {
        // A password of the TypeScript router has 32 digits; nothing that can be guessed is accepted.
        let original = original_password.filter(|text| text.len() >= 32);
        let original = original.map(|text| OriginalPassword(Hidden(digest(text.as_bytes()))));
        Self { tokens, original }
    }

    /// Returns the tokens that are stored, also those that have expired.
    #[cfg(any(feature = "kubernetes", all(feature = "local", unix)))]
    pub(crate) fn stored(&self) -> &[AttachToken] {
        &self.tokens
    }

    /// Returns the tokens that are accepted now, the oldest first.
    pub fn valid(&self, now: SystemTime) -> impl Iterator<Item = &AttachToken> {
        self.tokens.iter().filter(move |token| token.expires_at > now)
    }

    /// Returns whether the password that the TypeScript router gave the session is still accepted.
    #[must_use]
    pub fn has_original_password(&self) -> bool {
        self.original.is_some()
    }

    /// Returns whether there is nothing that would be accepted at any time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.original.is_none()
    }

    /// Returns what `secret` is, if it is accepted now, and when it expires, if it does. Takes the same time
    /// for every text of that length.
    #[must_use]
    pub fn find(&self, secret: &[u8], now: SystemTime) -> Option<(AttachMatch, Option<SystemTime>)> {
        let given = digest(secret);
        // The digests are compared without an early end. Which one it was is no secret.
        let (mut found, mut index) = (Choice::from(0), 0_u32);
        for (position, token) in (0..).zip(&self.tokens) {
            let equal = token.digest.0.ct_eq(&given);
            index.conditional_assign(&position, equal);
            found |= equal;
        }
        let original = self.original.map_or(Choice::from(0), |original| original.0.0.ct_eq(&given));
        if bool::from(found) {
            let token = self.tokens.get(index as usize).filter(|token| token.expires_at > now)?;
            return Some((AttachMatch::Token(token.id), Some(token.expires_at)));
        }
        bool::from(original).then_some((AttachMatch::Original, None))
    }

    /// Returns whether what was accepted as `found` is still accepted.
    #[must_use]
    pub fn accepts(&self, found: &AttachMatch) -> bool {
        match found {
            AttachMatch::Token(id) => self.tokens.iter().any(|token| token.id == *id),
            AttachMatch::Original => self.original.is_some(),
        }
    }

    /// Returns the tokens after a change. Those that have expired are dropped.
    ///
    /// # Errors
    /// [`TooManyAttachTokens`] if one more is asked for than [`MAX`](Self::MAX).
    pub fn after(&self, change: &AttachChange, now: SystemTime) -> Result<Self, TooManyAttachTokens> {
        let mut next = Self { tokens: self.valid(now).cloned().collect(), original: self.original };
        match change {
            AttachChange::Create(_) if next.tokens.len() >= Self::MAX => return Err(TooManyAttachTokens),
            AttachChange::Create(token) => {
                next.tokens.push(token.clone());
                next.original = None;
            }
            AttachChange::Revoke(id) => next.tokens.retain(|token| token.id != *id),
            AttachChange::RevokeAll => next = Self::default(),
        }
        Ok(next)
    }
}

impl AttachToken {
    /// Creates a token that is valid for `lifetime`, and what is known of it.
    #[must_use]
    pub fn generate(name: &str, now: SystemTime, lifetime: Duration) -> (AttachSecret, Self) {
        let secret = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let created_at = whole_seconds(now);
        let token = Self {
            id: AttachTokenId(rand::random()),
            name: name.into(),
            created_at,
            expires_at: created_at + lifetime,
            digest: Hidden(digest(secret.as_bytes())),
        };
        (AttachSecret(secret), token)
    }
}

impl AttachTokenId {
    /// Parses an id: 12 hexadecimal digits, as `Display` writes them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 6];
        let is_lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(Self(bytes))
    }
}

impl fmt::Display for AttachTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl AttachSecret {
    /// Returns the token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AttachSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttachSecret(…)")
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

fn digest(secret: &[u8]) -> TokenDigest {
    Sha256::digest(secret).into()
}

/// Truncates to seconds: nobody needs more of a token's times.
fn whole_seconds(at: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    fn created(tokens: &AttachTokens, name: &str, now: u64, seconds: u64) -> (AttachSecret, AttachTokens) {
        let (secret, token) = AttachToken::generate(name, at(now), Duration::from_secs(seconds));
        let next = tokens.after(&AttachChange::Create(token), at(now)).unwrap();
        (secret, next)
    }

    fn original(password: &str) -> AttachTokens {
        AttachTokens {
            original: Some(OriginalPassword(Hidden(digest(password.as_bytes())))),
            ..AttachTokens::default()
        }
    }

    #[test]
    fn a_token_is_256_random_bits_and_no_two_are_the_same() {
        let (one, _) = AttachToken::generate("a", at(1), Duration::from_secs(1));
        let (other, _) = AttachToken::generate("a", at(1), Duration::from_secs(1));
        assert_ne!(one, other);
        let random = one.expose().strip_prefix(PREFIX).unwrap();
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(random).unwrap().len(), 32);
    }

    #[test]
    fn a_token_is_accepted_until_it_expires_or_is_revoked() {
        let (one, tokens) = created(&AttachTokens::default(), "laptop", 100, 50);
        let (other, tokens) = created(&tokens, "desktop", 100, 1000);
        let find = |tokens: &AttachTokens, secret: &AttachSecret, now| {
            tokens.find(secret.expose().as_bytes(), at(now))
        };
        assert!(
            matches!(find(&tokens, &one, 149), Some((AttachMatch::Token(_), end)) if end == Some(at(150)))
        );
        assert_eq!(find(&tokens, &one, 150), None, "it has expired");
        let (found, _) = find(&tokens, &other, 150).unwrap();
        assert!(tokens.accepts(&found));
        let AttachMatch::Token(id) = found else { panic!("{found:?}") };
        let revoked = tokens.after(&AttachChange::Revoke(id), at(101)).unwrap();
        assert_eq!(find(&revoked, &other, 101), None);
        assert!(!revoked.accepts(&found));
        assert!(find(&revoked, &one, 101).is_some(), "the other token is still accepted");
        assert!(tokens.after(&AttachChange::RevokeAll, at(101)).unwrap().is_empty());
    }

    #[test]
    fn nothing_but_the_whole_token_is_accepted() {
        let (secret, tokens) = created(&AttachTokens::default(), "x", 1, 9);
        let text = secret.expose();
        for wrong in ["", PREFIX, &text[..text.len() - 1], &format!("{text} "), &text.to_uppercase()] {
            assert_eq!(tokens.find(wrong.as_bytes(), at(2)), None, "{wrong:?}");
        }
        let digest: &[u8] = &tokens.tokens[0].digest.0;
        assert_eq!(tokens.find(digest, at(2)), None, "what is stored is no token");
    }

    #[test]
    fn the_first_token_replaces_the_password_of_the_typescript_router() {
        let password = "0123456789abcdef0123456789abcdef";
        let tokens = original(password);
        assert_eq!(tokens.find(password.as_bytes(), at(1)), Some((AttachMatch::Original, None)));
        let unchanged = tokens.after(&AttachChange::Revoke(AttachTokenId([0; 6])), at(1)).unwrap();
        assert!(unchanged.has_original_password());
        let (_, tokens) = created(&tokens, "new", 1, 9);
        assert!(!tokens.has_original_password());
        assert_eq!(tokens.find(password.as_bytes(), at(1)), None);
        assert!(!tokens.accepts(&AttachMatch::Original));
    }

    #[test]
    fn a_session_has_a_bounded_number_of_tokens_and_expired_ones_do_not_count() {
        let mut tokens = AttachTokens::default();
        for number in 0..AttachTokens::MAX {
            (_, tokens) = created(&tokens, "x", 1, if number == 0 { 5 } else { 100 });
        }
        let (_, more) = AttachToken::generate("more", at(2), Duration::from_secs(9));
        let change = AttachChange::Create(more);
        assert_eq!(tokens.after(&change, at(2)), Err(TooManyAttachTokens));
        assert_eq!(tokens.after(&change, at(6)).unwrap().valid(at(6)).count(), AttachTokens::MAX);
    }

    #[test]
    fn secrets_are_never_shown() {
        let (secret, tokens) = created(&original("0123456789abcdef0123456789abcdef"), "x", 1, 9);
        let shown = format!("{secret:?} {tokens:?}");
        assert!(!shown.contains(secret.expose()) && !shown.contains("digest: ["), "{shown}");
    }

    #[test]
    fn an_id_is_read_back_and_nothing_else_is_one() {
        let id = AttachTokenId([0, 1, 0xab, 3, 4, 0xff]);
        assert_eq!(AttachTokenId::parse(&id.to_string()), Some(id));
        for text in ["", "0001ab0304f", "0001AB0304FF", "0001ab0304ff00", "../../0001ab"] {
            assert_eq!(AttachTokenId::parse(text), None, "{text}");
        }
    }
}
