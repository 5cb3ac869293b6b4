//! The variables of both backends.

use crate::config::variable::{
    DefaultValue::{Derived, Text, Unset},
    Scope::Router,
    Variable, by_backend,
};

pub(super) const VARIABLES: &[Variable] = &[
    Router.variable(
        "BACKEND",
        Text("local"),
        "`local` or `kubernetes`",
        "How sessions run: as child processes of the router, or as Pods of a cluster.",
    ),
    Router.variable(
        "CONFIG_FILE",
        Unset,
        "path of a `.toml`, `.yaml` or `.yml` file",
        "A file that sets any of these variables except this one. The environment overrides it; `--config` \
         overrides CONFIG_FILE.",
    ),
    Router.variable(
        "LISTEN_ADDRESS",
        by_backend("127.0.0.1", "0.0.0.0"),
        "IP addresses, comma-separated",
        "The addresses to listen on. With `BACKEND=local` they must be loopback addresses. If the variable \
         is not set, the local router also listens on `::1`, which browsers try first.",
    ),
    Router.variable(
        "PORT",
        Text("3000"),
        "port; 0 for any free port",
        "The port of the site and all sessions.",
    ),
    Router.variable(
        "HEALTH_PORT",
        by_backend("3001", "8080"),
        "port; 0 for any free port",
        "The port of `/livez`, `/readyz` and `/metrics`, on the first address of LISTEN_ADDRESS. It must \
         differ from PORT.",
    ),
    Router.variable(
        "REPORT_PORT",
        by_backend("off", "3002"),
        "port, 0 for any free port, or `off`",
        "The port of a listener for what sessions report about themselves, on the first address of \
         LISTEN_ADDRESS. It is the only one that sessions' Pods should reach.",
    ),
    Router.variable(
        "ROUTER_DOMAIN",
        Derived("`localhost:` and PORT; required on Kubernetes"),
        "host name, with `:port` if browsers need one",
        "The host name of the site. Sessions have names below it. Browsers resolve all names below \
         `localhost` themselves.",
    ),
    Router.variable(
        "SITE_HOST",
        Derived("ROUTER_DOMAIN"),
        "host name, with `:port` if browsers need one",
        "The host name of the site, if it is another one below ROUTER_DOMAIN: where browsers are sent whose \
         session is not running.",
    ),
    Router.variable(
        "OPENCODE_ROUTER_EXTERNAL_DOMAIN",
        Derived("ROUTER_DOMAIN"),
        "host name, with `:port` if browsers need one",
        "The domain that sessions are told for the addresses of their dev servers, if browsers outside the \
         cluster know the router under another one.",
    ),
    Router.variable(
        "ROUTE_SUFFIX",
        Text(""),
        "text",
        "Text between a session's hash and the domain: with `-oc`, sessions are at \
         `<hash>-oc.<ROUTER_DOMAIN>`.",
    ),
    Router.variable(
        "ROUTER_PROTO",
        Derived("`http` if the domain is `localhost` or below it, else `https`"),
        "`http` or `https`",
        "The scheme of the site's and the sessions' addresses, as browsers see it.",
    ),
    Router.variable(
        "ATTACH_ROUTE_PREFIX",
        Text("attach-"),
        "text",
        "The prefix of a session's host name for `opencode attach`, which needs a token instead of a \
         sign-in.",
    ),
    Router.variable(
        "ATTACH_PORT",
        by_backend("off", "4096"),
        "port, 0 for any free port, or `off`",
        "The port of a further listener, which serves attach hosts only. No sign-in belongs in front of it. \
         PORT serves attach hosts as well; if both are the same, there is one listener.",
    ),
    Router.variable(
        "ATTACH_TOKEN_DAYS",
        Text("30"),
        "days",
        "How long a token for `opencode attach` is valid, unless its creator chooses another time.",
    ),
    Router.variable(
        "MAX_ATTACH_TOKEN_DAYS",
        Text("90"),
        "days",
        "The longest time that a token for `opencode attach` may be valid.",
    ),
    Router.variable(
        "IDENTITY",
        by_backend("dev", "headers"),
        "`dev` or `headers`",
        "How users are identified. `dev`: every request comes from DEV_EMAIL. `headers`: the sign-in proxy \
         names the user in `X-Auth-Request-Email`. `jwt` is reserved for a later release.",
    ),
    Router.variable(
        "DEV_EMAIL",
        Text("dev@localhost"),
        "email address",
        "The only user with `IDENTITY=dev`. Setting it selects `IDENTITY=dev` if IDENTITY is not set. \
         Refused unless every listener is on loopback.",
    ),
    Router.variable(
        "TRUSTED_PROXIES",
        Unset,
        "IP addresses and CIDRs, comma-separated",
        "The addresses from which identity headers are accepted (`IDENTITY=headers`). The address of the \
         connection counts, not `X-Forwarded-For`.",
    ),
    Router
        .variable(
            "TRUSTED_PROXY_SECRET",
            Unset,
            "text, at least 16 characters",
            "The secret that the sign-in proxy must send in `X-Router-Proxy-Secret` (`IDENTITY=headers`). If \
             TRUSTED_PROXIES is set as well, both must match.",
        )
        .secret(),
    Router.variable(
        "AUTH_COOKIE_NAMES",
        Text("_oauth2_proxy,CF_Authorization,CF_AppSession"),
        "names, comma-separated",
        "The sign-in's cookies, which sessions neither see nor set. A name includes its chunks (`name_0`, \
         `name_csrf…`).",
    ),
    Router.variable(
        "ADMIN_EMAILS",
        Unset,
        "email addresses, comma-separated",
        "The administrators, who see, stop and delete everybody's sessions at `/admin`, and read their logs. \
         What is in a session stays its owner's.",
    ),
    Router.variable(
        "ADMIN_GROUPS",
        Unset,
        "names, comma-separated",
        "The groups whose members are administrators, too. The sign-in proxy names a user's groups in \
         `X-Auth-Request-Groups` (`IDENTITY=headers`), and must remove that header where it does not set it.",
    ),
    Router.variable(
        "IDLE_TIMEOUT_MINUTES",
        Text("30"),
        "minutes, decimals allowed",
        "How long a session may be unused before it is stopped. Its files are kept. A session whose agent is \
         working is in use.",
    ),
    Router.variable(
        "MAX_SESSIONS_PER_USER",
        by_backend("0", "20"),
        "sessions; 0 for no limit",
        "How many sessions one user may keep, running or not. Creating one more is answered with 429.",
    ),
    Router.variable(
        "MAX_RUNNING_SESSIONS_PER_USER",
        by_backend("0", "5"),
        "sessions; 0 for no limit",
        "How many sessions of one user may run at once. Starting one more is answered with 429.",
    ),
    Router.variable(
        "MAX_STARTS_PER_MINUTE",
        by_backend("0", "10"),
        "starts per minute; 0 for no limit",
        "How many sessions one user may create or resume per minute; bursts up to this number are allowed. \
         One more is answered with 429 and `Retry-After`.",
    ),
    Router.variable(
        "WAKE",
        Text("true"),
        "`true` or `false`",
        "Whether a request to a stopped session starts it: a browser that opens its address is shown the start, \
         and a program's request waits until the session runs.",
    ),
    Router.variable(
        "WAKE_TIMEOUT_SECONDS",
        Text("90"),
        "seconds",
        "How long a program's request waits for a session that is started for it; it is then answered with 503 \
         and `Retry-After`. Keep it below the timeout of the proxies in front of the router.",
    ),
    Router.variable(
        "DEFAULT_GIT_REPO",
        Unset,
        "address of a git repository",
        "The repository that the site suggests for a new session.",
    ),
    Router.variable(
        "GITHUB_API_URL",
        Text("https://api.github.com"),
        "URL",
        "The REST API of the GitHub that users' tokens are for, and whose repositories the site offers. A GitHub \
         Enterprise Server has it at `https://<host>/api/v3`.",
    ),
    Router.variable(
        "SHUTDOWN_DELAY_SECONDS",
        by_backend("0", "5"),
        "seconds",
        "How long the router goes on serving when it shuts down, while `/readyz` fails and load balancers turn \
         to other routers. Make it longer than they need for that.",
    ),
    Router.variable(
        "DRAIN_TIMEOUT_SECONDS",
        Text("10"),
        "seconds",
        "How long requests and tunnels in flight may take to finish after that.",
    ),
    Router.variable(
        "LOG_FORMAT",
        Text("text"),
        "`text` or `json`",
        "The format of log lines on standard error.",
    ),
    Router.variable(
        "LOG_LEVEL",
        Text("info"),
        "`error`, `warn`, `info`, `debug`, `trace`, or tracing directives",
        "What is logged. Directives set the level of each part: `info,proxy_core=debug`.",
    ),
    Router.variable(
        "DEBUG_HEADERS",
        Text("false"),
        "`true` or `false`",
        "Logs the names of each request's headers, never their values.",
    ),
    Router
        .variable(
            "AUDIT_KEY",
            Derived(
                "a file in STATE_DIR; on Kubernetes derived from TRUSTED_PROXY_SECRET, else random at each \
                 start",
            ),
            "text, at least 16 characters",
            "The key of the digests that identify users in audit lines. Replicas with the same key write the \
             same digests.",
        )
        .secret(),
    Router.variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        Unset,
        "URL, `http` or `https`",
        "The OpenTelemetry collector that traces are sent to, by OTLP over HTTP at `<URL>/v1/traces`. If it is \
         not set, nothing is traced.",
    ),
    Router
        .variable(
            "OTEL_EXPORTER_OTLP_HEADERS",
            Unset,
            "`name=value`, comma-separated; values may be percent-encoded",
            "Headers of each request to the collector, such as its API key.",
        )
        .secret(),
    Router.variable(
        "OTEL_SERVICE_NAME",
        Text("opencode-router"),
        "text",
        "The name of the router in traces.",
    ),
    Router.variable(
        "OTEL_TRACES_SAMPLER",
        Text("parentbased_always_on"),
        "`always_on`, `always_off` or `traceidratio`, also with `parentbased_` before it",
        "Which requests are traced. With `parentbased_`, a trace that is continued (OTEL_PROPAGATORS) is traced \
         if its sender traces it.",
    ),
    Router.variable(
        "OTEL_TRACES_SAMPLER_ARG",
        Text("1"),
        "number from 0 to 1",
        "The share of traces that `traceidratio` keeps.",
    ),
    Router.variable(
        "OTEL_PROPAGATORS",
        Text("none"),
        "`none`, or `tracecontext`",
        "With `tracecontext`, the router continues the trace in the `traceparent` of a trusted proxy, and passes \
         no trace context on to sessions. Set it if the proxy replaces what clients send. (`baggage` is accepted \
         in the list and ignored.)",
    ),
];
