//! What a request's user lets their session use.

use http::Extensions;
use pod_manager::{Credentials, Token};
use proxy_core::AccessToken;

/// Returns the credentials that the sign-in sent with a request. A text that can't be a token is dropped.
pub(crate) fn of(extensions: &Extensions) -> Credentials {
    let github_token = extensions.get::<AccessToken>().and_then(|token| Token::parse(token.expose()?));
    Credentials { github_token, ..Credentials::default() }
}
