//! Which variables a user may set.

use std::fmt;

use thiserror::Error;

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// The name of a secret: of an environment variable that neither breaks a session nor makes it run something
/// else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(Box<str>);

/// Variables that are refused, in upper case and separated by spaces; case is ignored, as some programs do.
const DENIED: &[&str] = &[
    // Where everything is, and who and where the user is. `_` is set by shells.
    "HOME PATH PWD OLDPWD USER LOGNAME SHELL HOSTNAME TERM TMPDIR TMP TEMP _",
    // Shells run or read what these name.
    "BASHOPTS BASH_ENV BASH_LOADABLES_PATH BASH_XTRACEFD CDPATH ENV FPATH GLOBIGNORE IFS PROMPT_COMMAND",
    "PS0 PS1 PS2 PS3 PS4 SHELLOPTS SHLVL ZDOTDIR",
    // The C library loads code and looks up hosts by these.
    "GCONV_PATH GETCONF_DIR GLIBC_TUNABLES HOSTALIASES LOCALDOMAIN LOCPATH NLSPATH RES_OPTIONS",
    // TLS libraries load code, write keys to a file, or trust everybody.
    "OPENSSL_CONF OPENSSL_ENGINES OPENSSL_MODULES SSLKEYLOGFILE NODE_TLS_REJECT_UNAUTHORIZED",
    // JavaScript: code that is loaded before the program.
    "ELECTRON_RUN_AS_NODE NODE_OPTIONS NODE_PATH NODE_REPL_EXTERNAL_MODULE NODE_V8_COVERAGE",
    "NPM_CONFIG_NODE_OPTIONS NPM_CONFIG_SCRIPT_SHELL TS_NODE_COMPILER",
    // The same in Python.
    "PYTHONBREAKPOINT PYTHONCASEOK PYTHONEXECUTABLE PYTHONHOME PYTHONINSPECT PYTHONPATH PYTHONPLATLIBDIR",
    "PYTHONPYCACHEPREFIX PYTHONSTARTUP PYTHONUSERBASE PYTHONWARNINGS",
    // The same in other languages, and programs in place of a tool.
    "CORECLR_ENABLE_PROFILING CORECLR_PROFILER CORECLR_PROFILER_PATH DOTNET_ADDITIONAL_DEPS",
    "DOTNET_STARTUP_HOOKS GEM_HOME GEM_PATH JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS _JAVA_OPTIONS LUA_INIT",
    "PERL5DB PERL5LIB PERL5OPT PERLLIB PHPRC PHP_INI_SCAN_DIR RUBYLIB RUBYOPT RUSTC RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    // Programs that other programs start.
    "BROWSER EDITOR LESSCLOSE LESSOPEN MANPAGER PAGER SSH_ASKPASS SSH_AUTH_SOCK SUDO_ASKPASS VISUAL",
    // The browser beside the session.
    "PLAYWRIGHT_MCP_CDP_ENDPOINT",
];

/// Names that begin with one of these are refused, in upper case.
const DENIED_PREFIXES: &[&str] = &[
    // The dynamic loader.
    "LD_",
    "DYLD_",
    // git: other repositories, configuration, programs.
    "GIT_",
    // The runtime of opencode.
    "BUN_",
    // Where opencode and others keep their files.
    "XDG_",
    // What the router says to a session, and to itself.
    "OPENCODE_POD_",
    "OPENCODE_PORT_",
    "OPENCODE_ROUTER_",
    "OPENCODE_SERVER_",
    "OPENCODE_SESSION_",
    // Where a program finds the cluster that it runs in.
    "KUBERNETES_PORT",
    "KUBERNETES_SERVICE_",
];

/// opencode's own variables configure it, and are refused unless they end like a credential.
const OPENCODE: &str = "OPENCODE_";
const CREDENTIALS: [&str; 2] = ["_API_KEY", "_TOKEN"];

impl SecretName {
    /// Accepts the name of an environment variable (POSIX: letters, digits and `_`, no digit first) that is
    /// not on the deny-list.
    ///
    /// # Errors
    /// [`InvalidSecretName`]
    pub fn parse(text: &str) -> Result<Self, InvalidSecretName> {
        let mut bytes = text.bytes();
        let begins = bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
        if !begins || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(InvalidSecretName::Syntax);
        }
        if text.len() > MAX_NAME_BYTES {
            return Err(InvalidSecretName::TooLong);
        }
        if is_denied(&text.to_ascii_uppercase()) {
            return Err(InvalidSecretName::Denied);
        }
        Ok(Self(text.into()))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_denied(name: &str) -> bool {
    let configures_opencode =
        name.starts_with(OPENCODE) && !CREDENTIALS.iter().any(|suffix| name.ends_with(suffix));
    configures_opencode
        || DENIED.iter().any(|names| names.split(' ').any(|denied| denied == name))
        || DENIED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Why a text can't be the name of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidSecretName {
    /// The text is no name of an environment variable.
    #[error("a name has letters, digits and underscores, and begins with no digit")]
    Syntax,
    /// The text is longer than [`MAX_NAME_BYTES`].
    #[error("a name may have at most {MAX_NAME_BYTES} characters")]
    TooLong,
    /// The variable would break a session, or make it run something else.
    #[error("this variable could break a session and can't be set")]
    Denied,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_people_need_are_accepted() {
        let names = [
            "GITHUB_TOKEN GH_TOKEN GITLAB_TOKEN NPM_TOKEN NODE_AUTH_TOKEN NODE_ENV AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE ANTHROPIC_API_KEY OPENAI_API_KEY",
            "OPENAI_BASE_URL AZURE_RESOURCE_NAME GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_GENERATIVE_AI_API_KEY OPENCODE_API_KEY OPENCODE_CONSOLE_TOKEN DATABASE_URL",
            "DOCKER_AUTH_CONFIG PGPASSWORD PIP_INDEX_URL CARGO_REGISTRY_TOKEN PYPI_TOKEN",
            "SENTRY_AUTH_TOKEN KUBECONFIG HTTPS_PROXY PORT MY_PATH HOMEPAGE PATHS GITEA_TOKEN",
            "LDAP_PASSWORD BUNDLE_TOKEN ENVIRONMENT lower_case _leading X A1",
        ];
        for name in names.into_iter().flat_map(str::split_whitespace) {
            assert_eq!(SecretName::parse(name).map(|parsed| parsed.to_string()), Ok(name.to_owned()));
        }
        assert!(SecretName::parse(&"X".repeat(MAX_NAME_BYTES)).is_ok());
    }

    #[test]
    fn names_that_would_break_or_hijack_a_session_are_refused() {
        let names = [
            "PATH Path path HOME SHELL ENV BASH_ENV IFS PS4 PROMPT_COMMAND _ LD_PRELOAD ld_preload",
            "LD_LIBRARY_PATH LD_AUDIT DYLD_INSERT_LIBRARIES NODE_OPTIONS NODE_TLS_REJECT_UNAUTHORIZED",
            "npm_config_script_shell BUN_OPTIONS BUN_INSPECT GIT_DIR GIT_SSH_COMMAND GIT_CONFIG_COUNT",
            "GIT_ASKPASS GIT_EXEC_PATH PYTHONSTARTUP PYTHONPATH PERL5OPT RUBYOPT JAVA_TOOL_OPTIONS",
            "_JAVA_OPTIONS OPENSSL_CONF SSLKEYLOGFILE GCONV_PATH EDITOR PAGER LESSOPEN BROWSER",
            "SSH_ASKPASS XDG_DATA_HOME XDG_CONFIG_HOME TMPDIR KUBERNETES_SERVICE_HOST",
            "OPENCODE_SERVER_PASSWORD OPENCODE_ROUTER_URL OPENCODE_ROUTER_API_KEY OPENCODE_POD_SECRET",
            "OPENCODE_SESSION_HASH OPENCODE_SESSION_TOKEN OPENCODE_PORT_URL_TEMPLATE OPENCODE_CONFIG",
            "OPENCODE_CONFIG_CONTENT OPENCODE_CONFIG_DIR OPENCODE_PERMISSION",
            "OPENCODE_DISABLE_AUTOUPDATE opencode_config PLAYWRIGHT_MCP_CDP_ENDPOINT",
        ];
        for name in names.into_iter().flat_map(str::split_whitespace) {
            assert_eq!(SecretName::parse(name), Err(InvalidSecretName::Denied), "{name}");
        }
    }

    #[test]
    fn texts_that_name_no_variable_are_refused() {
        for text in
            ["", " ", "1A", "A B", " A", "A ", "A-B", "A.B", "A=B", "A\0", "A\n", "Ä", "a/b", "$A", "%"]
        {
            assert_eq!(SecretName::parse(text), Err(InvalidSecretName::Syntax), "{text:?}");
        }
        assert_eq!(SecretName::parse(&"X".repeat(MAX_NAME_BYTES + 1)), Err(InvalidSecretName::TooLong));
    }

    #[test]
    fn the_deny_list_is_in_upper_case() {
        for names in DENIED.iter().chain(DENIED_PREFIXES) {
            assert_eq!(*names, names.to_ascii_uppercase());
        }
    }
}
