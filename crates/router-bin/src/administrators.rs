//! Who is an administrator.

use proxy_core::Groups;
use session_key::Identity;

/// The administrators: users by address (ADMIN_EMAILS), and all users of some groups (ADMIN_GROUPS).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Administrators {
    /// Their addresses.
    pub emails: Vec<Identity>,
    /// The names of their groups at the sign-in.
    pub groups: Vec<String>,
}

impl Administrators {
    /// Returns whether a user with these groups is an administrator.
    #[must_use]
    pub fn contain(&self, user: &Identity, groups: Option<&Groups>) -> bool {
        self.emails.contains(user)
            || groups.is_some_and(|groups| self.groups.iter().any(|group| groups.contains(group)))
    }
}
