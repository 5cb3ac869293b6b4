//! Attach tokens in JSON: one form for the claim's annotation and for `session.json`.

use std::{sync::Arc, time::SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::attach::{AttachToken, AttachTokenId, AttachTokens, Hidden};

/// A token as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PersistedToken {
    id: String,
    name: String,
    /// SHA-256 of the token, in hexadecimal digits.
    sha256: String,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl PersistedToken {
    fn of(token: &AttachToken) -> Self {
        let timestamp = |at: SystemTime| Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            id: token.id.to_string(),
            name: token.name.to_string(),
            sha256: hex::encode(token.digest.0),
            created_at: timestamp(token.created_at),
            expires_at: timestamp(token.expires_at),
        }
    }

    /// Returns the token; `None` if somebody wrote something else here.
    fn into_token(self) -> Option<AttachToken> {
        let mut digest = [0; 32];
        hex::decode_to_slice(&self.sha256, &mut digest).ok()?;
        Some(AttachToken {
            id: AttachTokenId::parse(&self.id)?,
            name: self.name.chars().take(AttachTokens::MAX_NAME_CHARS).collect::<String>().into(),
            created_at: self.created_at.into(),
            expires_at: self.expires_at.into(),
            digest: Hidden(digest),
        })
    }
}

/// Returns the stored form of all tokens.
pub(crate) fn to_persisted(tokens: &AttachTokens) -> Vec<PersistedToken> {
    tokens.stored().iter().map(PersistedToken::of).collect()
}

/// Reads tokens. What is no token is dropped: nobody attaches with it.
pub(crate) fn from_persisted(
    tokens: Vec<PersistedToken>,
    original_password: Option<&str>,
) -> Arc<AttachTokens> {
    let tokens = tokens.into_iter().take(AttachTokens::MAX).filter_map(PersistedToken::into_token);
    Arc::new(AttachTokens::new(tokens.collect(), original_password))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::attach::AttachChange;

    #[test]
    fn tokens_are_read_back_as_they_were_written_and_the_token_is_not_stored() {
        let now = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let (secret, token) = AttachToken::generate("my \"laptop\" 🦀", now, Duration::from_secs(60));
        let tokens = AttachTokens::default().after(&AttachChange::Create(token), now).unwrap();
        let json = serde_json::to_string(&to_persisted(&tokens)).unwrap();
        assert!(!json.contains(secret.expose()), "{json}");
        assert_eq!(*from_persisted(serde_json::from_str(&json).unwrap(), None), tokens);
    }

    #[test]
    fn what_is_no_token_is_dropped() {
        let stored = |id: &str, sha256: &str| PersistedToken {
            id: id.into(),
            name: "x".into(),
            sha256: sha256.into(),
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::MAX,
        };
        let sha256 = "ab".repeat(32);
        let tokens =
            vec![stored("000000000001", &sha256), stored("../x", &sha256), stored("000000000002", "ab")];
        assert_eq!(from_persisted(tokens, Some("short")).stored().len(), 1);
        assert!(!from_persisted(Vec::new(), Some("short")).has_original_password());
    }
}
