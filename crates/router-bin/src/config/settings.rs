//! Every variable: its name, default, unit and meaning. `--help`, `--check-config`, the refusal of
//! unknown names and docs/configuration.md all come from this one table.

/// One variable.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the environment; in a file the same, in either case.
    pub name: &'static str,
    /// Its default as one would write it, or how it comes about where it is no fixed text.
    pub default: Otherwise,
    /// What its value is made of: a unit, a kind, or the words to choose from.
    pub unit: &'static str,
    /// What it does, in one or two sentences.
    pub about: &'static str,
    /// What it applies to.
    pub scope: Scope,
    /// Its value is shown nowhere.
    pub secret: bool,
}

/// What a variable is where nobody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// This text.
    Is(&'static str),
    /// Something that depends on the machine or on another variable; in words.
    From(&'static str),
    /// With `BACKEND=local` the first, with `BACKEND=kubernetes` the second of these texts.
    By(&'static str, &'static str),
    /// Nothing.
    Unset,
}

/// What a variable applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The router, whatever brings sessions about.
    Router,
    /// Sessions as processes of this machine. Setting it has no effect with `BACKEND=kubernetes`, which is said at the start.
    Local,
    /// Sessions on Kubernetes. Setting it has no effect with `BACKEND=local`, which is said at the start.
    Kubernetes,
    /// A part of the router that comes later. Setting it has no effect, which is said at the start.
    Later,
}

impl Setting {
    /// The default in words, for a person.
    #[must_use]
    pub fn default_text(&self) -> String {
        match self.default {
            Otherwise::Is("") => "empty".to_owned(),
            Otherwise::Is(text) => format!("`{text}`"),
            Otherwise::From(words) => words.to_owned(),
            Otherwise::By(local, kubernetes) => format!("`{local}`; on Kubernetes `{kubernetes}`"),
            Otherwise::Unset => "not set".to_owned(),
        }
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

const fn router(name: &'static str, default: Otherwise, unit: &'static str, about: &'static str) -> Setting {
    Setting { name, default, unit, about, scope: Scope::Router, secret: false }
}

const fn local(name: &'static str, default: Otherwise, unit: &'static str, about: &'static str) -> Setting {
    Setting { name, default, unit, about, scope: Scope::Local, secret: false }
}

const fn kubernetes(
    name: &'static str,
    default: Otherwise,
    unit: &'static str,
    about: &'static str,
) -> Setting {
    Setting { name, default, unit, about, scope: Scope::Kubernetes, secret: false }
}

const fn later(name: &'static str, default: Otherwise, unit: &'static str, about: &'static str) -> Setting {
    Setting { name, default, unit, about, scope: Scope::Later, secret: false }
}

use Otherwise::{By, From, Is, Unset};

/// All of them, in the order in which a person meets them.
pub const SETTINGS: &[Setting] = &[
    router(
        "BACKEND",
        Is("local"),
        "`local` or `kubernetes`",
        "What sessions are: child processes of this machine, or Pods of a cluster.",
    ),
    router(
        "CONFIG_FILE",
        Unset,
        "path of a `.toml`, `.yaml` or `.yml` file",
        "A file with any of these variables but this one. The environment wins over it; `--config` wins over CONFIG_FILE.",
    ),
    router(
        "LISTEN_ADDRESS",
        By("127.0.0.1", "0.0.0.0"),
        "IP addresses, comma between",
        "Where the router listens. With `BACKEND=local` only loopback addresses are taken, and as long as nobody sets it, `::1` as well where the machine has it, since browsers try that first.",
    ),
    router("PORT", Is("3000"), "port, 0 for any free one", "The port of the site and of all sessions."),
    router(
        "HEALTH_PORT",
        By("3001", "8080"),
        "port, 0 for any free one",
        "The port of `/livez`, `/readyz` and `/metrics`, on the first address of LISTEN_ADDRESS; never on PORT.",
    ),
    router(
        "ROUTER_DOMAIN",
        From("`localhost:` and PORT; required on Kubernetes"),
        "host name, `:port` where browsers need one",
        "The name of the site; sessions are names under it. Browsers resolve everything under `localhost` by themselves.",
    ),
    router(
        "ROUTE_SUFFIX",
        Is(""),
        "text",
        "Stands between a session's hash and the domain: with `-oc`, sessions are `<hash>-oc.<ROUTER_DOMAIN>`.",
    ),
    router(
        "ROUTER_PROTO",
        From("`http` where the domain is under `localhost`, else `https`"),
        "`http` or `https`",
        "How browsers reach those names, for the addresses that the router hands out.",
    ),
    router(
        "ATTACH_ROUTE_PREFIX",
        Is("attach-"),
        "text",
        "Marks the host name of a session for `opencode attach`. The name is kept free; attaching comes later and is answered 404 now.",
    ),
    router(
        "IDENTITY",
        By("dev", "headers"),
        "`dev` or `headers`",
        "Who asks. `dev`: always DEV_EMAIL. `headers`: whom the sign-in proxy names in `X-Auth-Request-Email`. `jwt` comes later.",
    ),
    router(
        "DEV_EMAIL",
        Is("dev@localhost"),
        "e-mail address",
        "The one user of `IDENTITY=dev`, which setting it alone stands for as well. Refused unless every listener is on loopback.",
    ),
    router(
        "TRUSTED_PROXIES",
        Unset,
        "IP addresses and CIDRs, comma between",
        "Who may name the user in a header (`IDENTITY=headers`). The router's direct neighbour counts, not `X-Forwarded-For`.",
    ),
    router(
        "TRUSTED_PROXY_SECRET",
        Unset,
        "text, 16 characters or more",
        "What the sign-in proxy must send in `X-Router-Proxy-Secret` for its headers to count (`IDENTITY=headers`); with TRUSTED_PROXIES, both must hold.",
    )
    .secret(),
    router(
        "AUTH_COOKIE_NAMES",
        Is("_oauth2_proxy,CF_Authorization,CF_AppSession"),
        "names, comma between",
        "The sign-in's cookies: no session sees them, and none may set them. A name covers its chunks too (`name_0`, `name_csrf…`).",
    ),
    router(
        "IDLE_TIMEOUT_MINUTES",
        Is("30"),
        "minutes, decimals allowed",
        "How long a session may stand unused before it is stopped. Its files are kept. A session whose agent is at work is in use.",
    ),
    router(
        "MAX_SESSIONS_PER_USER",
        By("0", "20"),
        "sessions, 0 for no limit",
        "How many sessions one user may keep, running or not. Creating one more is answered 429.",
    ),
    router(
        "MAX_RUNNING_SESSIONS_PER_USER",
        By("0", "5"),
        "sessions, 0 for no limit",
        "How many sessions of one user may run at once. Starting one more is answered 429.",
    ),
    router(
        "MAX_STARTS_PER_MINUTE",
        By("0", "10"),
        "starts, 0 for no limit",
        "How many sessions one user may create or resume per minute, with short bursts of as many. One more is answered 429, with `Retry-After`.",
    ),
    router(
        "DEFAULT_GIT_REPO",
        Unset,
        "address of a git repository",
        "Filled in as the repository where a session is created.",
    ),
    router(
        "DRAIN_TIMEOUT_SECONDS",
        Is("10"),
        "seconds",
        "How long requests and tunnels under way may take to end by themselves when the router is asked to end.",
    ),
    router("LOG_FORMAT", Is("text"), "`text` or `json`", "How log lines are written, on standard error."),
    router(
        "LOG_LEVEL",
        Is("info"),
        "`error`, `warn`, `info`, `debug`, `trace`, or tracing directives",
        "What is logged; `info,proxy_core=debug` says it for each part.",
    ),
    router(
        "DEBUG_HEADERS",
        Is("false"),
        "`true` or `false`",
        "Logs the names of each request's headers, never their values.",
    ),
    router(
        "AUDIT_KEY",
        From("a file in STATE_DIR; on Kubernetes made from TRUSTED_PROXY_SECRET, else another one for each start"),
        "text, 16 characters or more",
        "The key of the digests that stand for users in audit lines. Replicas with one key give a user one digest.",
    )
    .secret(),
    local(
        "STATE_DIR",
        From("`$XDG_DATA_HOME/opencode-router`, else `~/.local/share/opencode-router`"),
        "absolute path of a folder",
        "Where sessions live: repositories, opencode's data, logs. One router at a time may use it.",
    ),
    local(
        "OPENCODE_BIN",
        From("`opencode` on the PATH"),
        "path of a program",
        "The opencode that sessions run. `make run` installs one and sets this.",
    ),
    kubernetes(
        "OPENCODE_IMAGE",
        From("none; required"),
        "image reference",
        "The image of a session's Pod: opencode, git and a POSIX shell (`deploy/session/Dockerfile` makes one).",
    ),
    kubernetes("OPENCODE_NAMESPACE", Is("opencode"), "namespace", "Where sessions' objects live."),
    kubernetes(
        "API_KEY_SECRET_NAME",
        Is("opencode-api-keys"),
        "Secret",
        "Its keys are variables of every session's environment. It may be missing.",
    ),
    kubernetes(
        "CONFIG_MAP_NAME",
        Is("opencode-config-dir"),
        "ConfigMap",
        "opencode configuration that every session has, read-only, at `/home/opencode/.opencode`; of a file `.env` in it the variables are set. It may be missing.",
    ),
    kubernetes("IMAGE_PULL_SECRET_NAME", Unset, "Secret", "What the session's image is pulled with."),
    kubernetes("STORAGE_CLASS", From("the cluster's own"), "StorageClass", "The class of a session's volume."),
    kubernetes("STORAGE_SIZE", Is("10Gi"), "quantity", "The size of a session's volume; for those that are made from then on."),
    kubernetes(
        "SESSION_REQUESTS",
        Is("cpu=100m,memory=512Mi"),
        "`resource=quantity`, comma between, or `none`",
        "What the scheduler sets aside for a session.",
    ),
    kubernetes(
        "SESSION_LIMITS",
        Is("memory=4Gi"),
        "`resource=quantity`, comma between, or `none`",
        "What a session can't exceed. A limit on `cpu` throttles also where the node is idle.",
    ),
    kubernetes(
        "USER_NAMESPACES",
        Is("false"),
        "`true` or `false`",
        "Sessions' Pods get a user namespace of their own (`hostUsers: false`).",
    ),
    kubernetes(
        "POD_PATCH_FILE",
        Unset,
        "path of a YAML or JSON file",
        "A strategic-merge patch that is laid over every session's Pod: node selectors, tolerations, sidecars, a runtime class. It is checked at the start.",
    ),
    kubernetes(
        "POD_NAME",
        From("HOSTNAME of the environment"),
        "text",
        "The router's own Pod, by the downward API: what it is called as the holder of the Lease by which one of several routers stops idle sessions.",
    ),
    later("ADMIN_SECRET", Unset, "text", "What `X-Admin-Secret` must say on the admin routes.").secret(),
    later("CHROMIUM_IMAGE", Unset, "image reference", "A browser beside each session, where set."),
    later("OPENCODE_ROUTER_URL", Unset, "URL", "How a session's Pod reaches the router."),
    later(
        "OPENCODE_ROUTER_EXTERNAL_DOMAIN",
        Unset,
        "host name",
        "How the router is reached from outside the cluster, where that is not ROUTER_DOMAIN.",
    ),
    later("ATTACH_PORT", Is("4096"), "port", "The listener for `opencode attach`."),
];

/// The setting of that name, in either case.
#[must_use]
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(name))
}

/// Returns the known name that is closest to `name`, if one is close.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    SETTINGS
        .iter()
        .map(|setting| {
            // `IDLE_TIMEOUT` differs from `IDLE_TIMEOUT_MINUTES` in many characters, but is clearly meant for it.
            let is_prefix = name.len() >= 4 && setting.name.starts_with(&name);
            (if is_prefix { 1 } else { strsim::osa_distance(&name, setting.name) }, setting.name)
        })
        .min()
        .filter(|&(distance, known)| distance <= 1 + known.len() / 4)
        .map(|(_, known)| known)
}
