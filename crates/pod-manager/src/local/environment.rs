//! The environment of a session's processes.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use super::{config::LocalSettings, proc_table::MARKER};

/// Variables that never reach a session: the router's configuration and secrets, and git's variables about
/// the repository that the router was started in.
const DENIED: &[&str] = &[
    "ADMIN_SECRET",
    "ALLOWED_GIT_HOSTS",
    "API_KEY_SECRET_NAME",
    "ATTACH_PORT",
    "ATTACH_ROUTE_PREFIX",
    "AUDIT_KEY",
    "AUTH_COOKIE_NAMES",
    "BACKEND",
    "CHROMIUM_IMAGE",
    "CONFIG_FILE",
    "CONFIG_MAP_NAME",
    "DEBUG_HEADERS",
    "DEFAULT_GIT_REPO",
    "DEV_EMAIL",
    "DRAIN_TIMEOUT_SECONDS",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
    "HEALTH_PORT",
    "IDENTITY",
    "IDLE_TIMEOUT_MINUTES",
    "IMAGE_PULL_SECRET_NAME",
    "LISTEN_ADDRESS",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "MAX_RUNNING_SESSIONS_PER_USER",
    "MAX_SESSIONS_PER_USER",
    "MAX_STARTS_PER_MINUTE",
    "OPENCODE_BIN",
    "OPENCODE_IMAGE",
    "OPENCODE_NAMESPACE",
    "OPENCODE_POD_SECRET",
    "OPENCODE_PORT_URL_TEMPLATE",
    "OPENCODE_SERVER_PASSWORD",
    "OPENCODE_SERVER_USERNAME",
    "OPENCODE_SESSION_HASH",
    "POD_PATCH_FILE",
    "PORT",
    "ROUTER_DOMAIN",
    "ROUTER_PROTO",
    "ROUTE_SUFFIX",
    "SESSION_LIMITS",
    "SESSION_REQUESTS",
    "STATE_DIR",
    "STORAGE_CLASS",
    "STORAGE_SIZE",
    "TRUSTED_PROXIES",
    "TRUSTED_PROXY_SECRET",
    "USER_NAMESPACES",
];

/// The only variables of the router that reach a session on a machine with several users.
const ALLOWED: &[&str] = &[
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "LANGUAGE",
    "NODE_EXTRA_CA_CERTS",
    "NO_PROXY",
    "OPENCODE_CONFIG",
    "OPENCODE_CONFIG_CONTENT",
    "OPENCODE_CONFIG_DIR",
    "PATH",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERM",
    "TMPDIR",
    "TZ",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// The file with git's configuration of lowest precedence, in a session's folder.
pub(super) const GIT_CONFIG: &str = "gitconfig";

/// Where gits have the machine's configuration, which that file includes: Linux, then those of macOS.
pub(super) const SYSTEM_GIT_CONFIGS: &[&str] = &[
    "/etc/gitconfig",
    "/Library/Developer/CommandLineTools/usr/share/git-core/gitconfig",
    "/opt/homebrew/etc/gitconfig",
    "/usr/local/etc/gitconfig",
];

/// Returns the environment of every process of the session whose folder is `dir`.
pub(super) fn session_environment(
    settings: &LocalSettings,
    dir: &Path,
    marker: &str,
) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<_> = settings
        .environment
        .iter()
        .filter(|(name, _)| !is_denied(name) && (settings.single_user || is_allowed(name)))
        .chain(&settings.variables)
        .cloned()
        .collect();
    let mut set = |name: &str, value: OsString| variables.push((name.into(), value));
    for (name, folder) in
        [("XDG_DATA_HOME", "data"), ("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache")]
    {
        set(name, dir.join(folder).into());
    }
    if !settings.single_user {
        set("HOME", dir.join("home").into());
        set("XDG_CONFIG_HOME", dir.join("home/.config").into());
        set("GIT_CONFIG_SYSTEM", dir.join(GIT_CONFIG).into());
    }
    set(MARKER, marker.into());
    variables
}

/// Returns the user's own folder of opencode's data, which contains the keys of their providers.
pub(super) fn user_opencode_data(settings: &LocalSettings) -> Option<PathBuf> {
    let value = |name: &str| {
        let (_, value) = settings.environment.iter().rev().find(|(known, _)| known == name)?;
        // By the XDG rules, a path that is not absolute counts as not set.
        Some(PathBuf::from(value)).filter(|path| path.is_absolute())
    };
    let data = value("XDG_DATA_HOME").or_else(|| Some(value("HOME")?.join(".local/share")))?;
    Some(data.join("opencode"))
}

fn is_denied(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| DENIED.contains(&name) || name.starts_with("OPENCODE_ROUTER_"))
}

fn is_allowed(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        ALLOWED.contains(&name) || name.starts_with("LC_") || name.starts_with("OPENCODE_DISABLE_")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(single_user: bool) -> LocalSettings {
        let mut settings = LocalSettings::new("/state", "opencode");
        settings.single_user = single_user;
        settings.environment = [
            ("PATH", "/bin"),
            ("HOME", "/home/alice"),
            ("ANTHROPIC_API_KEY", "key"),
            ("SSH_AUTH_SOCK", "/run/agent"),
            ("PORT", "3000"),
            ("ADMIN_SECRET", "secret"),
            ("AUDIT_KEY", "secret"),
            ("MAX_STARTS_PER_MINUTE", "10"),
            ("OPENCODE_ROUTER_COOKIE_KEY", "secret"),
            ("OPENCODE_SERVER_PASSWORD", "secret"),
            ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
            ("GIT_DIR", "/elsewhere/.git"),
            ("LC_CTYPE", "C.UTF-8"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec();
        settings.variables = vec![("TEAM_KEY".into(), "team".into())];
        settings
    }

    fn names(single_user: bool) -> Vec<String> {
        let mut names: Vec<_> = session_environment(&settings(single_user), Path::new("/state/s"), "id/hash")
            .into_iter()
            .map(|(name, _)| name.into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_single_user_keeps_their_own_variables_without_those_of_the_router() {
        assert_eq!(
            names(true),
            [
                "ANTHROPIC_API_KEY",
                "HOME",
                "LC_CTYPE",
                "OPENCODE_DISABLE_MODELS_FETCH",
                "OPENCODE_ROUTER_SESSION",
                "PATH",
                "SSH_AUTH_SOCK",
                "TEAM_KEY",
                "XDG_CACHE_HOME",
                "XDG_DATA_HOME",
                "XDG_STATE_HOME",
            ]
        );
    }

    #[test]
    fn sessions_of_several_users_get_allowed_variables_and_a_home_of_their_own() {
        assert_eq!(
            names(false),
            [
                "GIT_CONFIG_SYSTEM",
                "HOME",
                "LC_CTYPE",
                "OPENCODE_DISABLE_MODELS_FETCH",
                "OPENCODE_ROUTER_SESSION",
                "PATH",
                "TEAM_KEY",
                "XDG_CACHE_HOME",
                "XDG_CONFIG_HOME",
                "XDG_DATA_HOME",
                "XDG_STATE_HOME",
            ]
        );
        let home = session_environment(&settings(false), Path::new("/state/s"), "id/hash")
            .into_iter()
            .rfind(|(name, _)| name == "HOME");
        assert_eq!(home.unwrap().1, "/state/s/home");
    }

    #[test]
    fn keys_of_the_user_are_in_opencodes_data_folder() {
        let mut settings = settings(true);
        let data = |settings: &LocalSettings| user_opencode_data(settings);
        assert_eq!(data(&settings), Some("/home/alice/.local/share/opencode".into()));
        settings.environment.push(("XDG_DATA_HOME".into(), "/data".into()));
        assert_eq!(data(&settings), Some("/data/opencode".into()));
        settings.environment.clear();
        assert_eq!(data(&settings), None);
    }
}
