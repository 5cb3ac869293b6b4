//! The names of hosts and of IngressRoutes: those of the TypeScript operator.

use session_key::{HostScheme, Route, SessionHash, Target};

/// What the names of hosts are made of, all in lower case. The configuration has checked them with
/// [`HostScheme`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNames {
    /// `DOMAIN`, without a port.
    pub domain: String,
    /// `ROUTE_SUFFIX`.
    pub suffix: String,
    /// `ATTACH_ROUTE_PREFIX`.
    pub attach_prefix: String,
}

/// What an IngressRoute of a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Starts the sign-in.
    Signin,
    /// Leads to the router, behind the sign-in.
    App,
    /// Leads to the router's attach listener.
    Attach,
}

impl Part {
    pub(super) const ALL: [Self; 3] = [Self::Signin, Self::App, Self::Attach];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Signin => "signin",
            Self::App => "app",
            Self::Attach => "attach",
        }
    }
}

impl HostNames {
    /// `<hash><suffix>.<domain>`.
    #[must_use]
    pub fn session_host(&self, hash: SessionHash) -> String {
        format!("{hash}{}.{}", self.suffix, self.domain)
    }

    /// `<attach prefix><hash><suffix>.<domain>`.
    #[must_use]
    pub fn attach_host(&self, hash: SessionHash) -> String {
        format!("{}{}", self.attach_prefix, self.session_host(hash))
    }

    /// Returns the name that covers all hosts in DNS: `*.<domain>`, or one level below if the suffix has a
    /// dot.
    #[must_use]
    pub fn wildcard_host(&self) -> String {
        format!("*{}.{}", self.split_suffix().1, self.domain)
    }

    /// Returns a regular expression for the port hosts of one session.
    pub(super) fn port_pattern(&self, hash: SessionHash) -> String {
        format!("^{PORT}-{hash}{}", self.pattern_end())
    }

    /// Returns a regular expression for the session and port hosts of all sessions.
    pub(super) fn all_pattern(&self) -> String {
        format!("^({PORT}-)?{HASH}{}", self.pattern_end())
    }

    /// Returns a regular expression for the attach hosts of all sessions.
    pub(super) fn all_attach_pattern(&self) -> String {
        format!("^{}{HASH}{}", self.attach_prefix, self.pattern_end())
    }

    fn pattern_end(&self) -> String {
        // Of the characters that a host name has, only the dot means more than itself.
        format!("{}.{}$", self.suffix, self.domain).replace('.', r"\.")
    }

    /// Returns the name of a session's IngressRoute: `opencode-session-<first label of its host>-<part>`.
    #[must_use]
    pub fn object_name(&self, hash: SessionHash, part: Part) -> String {
        let prefix = if part == Part::Attach { self.attach_prefix.as_str() } else { "" };
        format!("opencode-session-{prefix}{hash}{}-{}", self.split_suffix().0, part.as_str())
    }

    /// Returns the session that an IngressRoute's name is about, if it is a name that this operator or the
    /// TypeScript one gives. That one had routes for each port as well.
    pub(super) fn session_of(&self, name: &str) -> Option<SessionHash> {
        let (label, part) = name.strip_prefix("opencode-session-")?.rsplit_once('-')?;
        let scheme = HostScheme::new(&self.domain, &self.suffix, &self.attach_prefix).ok()?;
        let Route::Session(route) =
            scheme.parse(&format!("{label}{}.{}", self.split_suffix().1, self.domain))
        else {
            return None;
        };
        let is_attach = matches!(route.target, Target::Attach);
        match part {
            "signin" | "app" if !is_attach => Some(route.hash),
            "attach" if is_attach => Some(route.hash),
            _ => None,
        }
    }

    /// Splits the suffix into the part in the first label and the rest.
    fn split_suffix(&self) -> (&str, &str) {
        self.suffix.split_at(self.suffix.find('.').unwrap_or(self.suffix.len()))
    }
}

/// Ports from 1000 to 99999: the router says which of them it serves.
const PORT: &str = "[1-9][0-9]{3,4}";
const HASH: &str = "[0-9a-f]{12}";

/// Returns the name of an IngressRoute for all sessions.
pub(super) fn wildcard_name(part: Part) -> String {
    format!("opencode-sessions-{}", part.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(suffix: &str) -> HostNames {
        HostNames { domain: "example.org".into(), suffix: suffix.into(), attach_prefix: "attach-".into() }
    }

    fn hash() -> SessionHash {
        SessionHash::parse("a48da0606867").expect("a hash")
    }

    #[test]
    fn hosts_and_objects_have_the_names_of_the_typescript_operator() {
        let names = names("-oc");
        assert_eq!(names.session_host(hash()), "a48da0606867-oc.example.org");
        assert_eq!(names.attach_host(hash()), "attach-a48da0606867-oc.example.org");
        let objects = Part::ALL.map(|part| names.object_name(hash(), part));
        assert_eq!(
            objects,
            [
                "opencode-session-a48da0606867-oc-signin",
                "opencode-session-a48da0606867-oc-app",
                "opencode-session-attach-a48da0606867-oc-attach",
            ]
        );
    }

    #[test]
    fn the_wildcard_covers_one_label() {
        assert_eq!(names("-oc").wildcard_host(), "*.example.org");
        assert_eq!(names("").wildcard_host(), "*.example.org");
        assert_eq!(names("-oc.sessions").wildcard_host(), "*.sessions.example.org");
        let dotted = names(".sessions").object_name(hash(), Part::App);
        assert_eq!(dotted, "opencode-session-a48da0606867-app", "the first label only");
    }

    #[track_caller]
    fn check(suffix: &str, name: &str, expected: Option<&str>) {
        let session = names(suffix).session_of(name).map(|hash| hash.to_string());
        assert_eq!(session.as_deref(), expected, "{name} with {suffix:?}");
    }

    #[test]
    fn only_names_that_an_operator_gives_are_ours() {
        let hash = Some("a48da0606867");
        check("-oc", "opencode-session-a48da0606867-oc-app", hash);
        check("-oc", "opencode-session-a48da0606867-oc-signin", hash);
        check("-oc", "opencode-session-attach-a48da0606867-oc-attach", hash);
        check("-oc", "opencode-session-5173-a48da0606867-oc-app", hash);
        check("", "opencode-session-a48da0606867-app", hash);
        check(".s", "opencode-session-a48da0606867-app", hash);
        check("-oc", "opencode-session-a48da0606867-app", None);
        check("", "opencode-session-a48da0606867-oc-app", None);
        check("-oc", "opencode-session-attach-a48da0606867-oc-app", None);
        check("-oc", "opencode-session-a48da0606867-oc-attach", None);
        check("-oc", "opencode-session-a48da0606867-oc-other", None);
        check("-oc", "opencode-session-80-a48da0606867-oc-app", None);
        check("-oc", "opencode-sessions-app", None);
        check("-oc", "code-oauth2-app", None);
        check("-oc", "opencode-session-", None);
    }

    #[test]
    fn patterns_escape_the_dots_and_have_both_ends() {
        let names = names("-oc");
        assert_eq!(names.port_pattern(hash()), r"^[1-9][0-9]{3,4}-a48da0606867-oc\.example\.org$");
        assert_eq!(names.all_pattern(), r"^([1-9][0-9]{3,4}-)?[0-9a-f]{12}-oc\.example\.org$");
        assert_eq!(names.all_attach_pattern(), r"^attach-[0-9a-f]{12}-oc\.example\.org$");
    }
}
