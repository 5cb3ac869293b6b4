//! The variables of `BACKEND=kubernetes`.

use crate::config::variable::{
    DefaultValue::{Derived, Text, Unset},
    Scope::Kubernetes,
    Variable,
};

pub(super) const VARIABLES: &[Variable] = &[
    Kubernetes.variable(
        "OPENCODE_IMAGE",
        Derived("none; required"),
        "image reference",
        "The image of a session's Pod: opencode, git and a POSIX shell. `deploy/session/Dockerfile` builds \
         one.",
    ),
    Kubernetes.variable(
        "OPENCODE_NAMESPACE",
        Text("opencode"),
        "namespace",
        "The namespace of the sessions' objects.",
    ),
    Kubernetes.variable(
        "API_KEY_SECRET_NAME",
        Text("opencode-api-keys"),
        "Secret",
        "A Secret whose keys are environment variables of every session. It may be missing.",
    ),
    Kubernetes.variable(
        "CONFIG_MAP_NAME",
        Text("opencode-config-dir"),
        "ConfigMap",
        "opencode configuration for every session, mounted read-only at `/home/opencode/.opencode`. The \
         variables in its file `.env` are set as well. It may be missing.",
    ),
    Kubernetes.variable(
        "IMAGE_PULL_SECRET_NAME",
        Unset,
        "Secret",
        "The Secret that the session image is pulled with.",
    ),
    Kubernetes.variable(
        "STORAGE_CLASS",
        Derived("the cluster's default"),
        "StorageClass",
        "The class of the sessions' volumes.",
    ),
    Kubernetes.variable(
        "STORAGE_SIZE",
        Text("10Gi"),
        "quantity",
        "The size of a session's volume. Existing volumes keep their size.",
    ),
    Kubernetes.variable(
        "EPHEMERAL_STORAGE_SIZE",
        Text("8Gi"),
        "quantity, or `0` for no limit",
        "How much a session may write outside of its volume: into `/tmp`, and into its container's own \
         files. A Pod that exceeds it is evicted.",
    ),
    Kubernetes.variable(
        "SESSION_REQUESTS",
        Text("cpu=100m,memory=512Mi"),
        "`resource=quantity`, comma-separated, or `none`",
        "The resource requests of a session's container.",
    ),
    Kubernetes.variable(
        "SESSION_LIMITS",
        Text("memory=4Gi"),
        "`resource=quantity`, comma-separated, or `none`",
        "The resource limits of a session's container. A `cpu` limit throttles a session even if its node is \
         idle.",
    ),
    Kubernetes.variable(
        "USER_NAMESPACES",
        Text("false"),
        "`true` or `false`",
        "Gives each session's Pod a user namespace of its own (`hostUsers: false`).",
    ),
    Kubernetes.variable(
        "CHROMIUM_IMAGE",
        Unset,
        "image reference",
        "Adds a browser for the agent to each session's Pod: an image with Chromium or its headless shell. \
         Its DevTools are on the Pod's loopback only, and `PLAYWRIGHT_MCP_CDP_ENDPOINT` names them.",
    ),
    Kubernetes.variable(
        "POD_METRICS",
        Text("false"),
        "`true` or `false`",
        "Asks the cluster's metrics API (metrics-server) what each session uses, for administrators.",
    ),
    Kubernetes.variable(
        "OPENCODE_ROUTER_URL",
        Unset,
        "URL without a path",
        "The address at which sessions' Pods reach REPORT_PORT. Sessions see it in a variable of the same \
         name. Without it they report nothing.",
    ),
    Kubernetes.variable(
        "POD_PATCH_FILE",
        Unset,
        "path of a YAML or JSON file",
        "A strategic-merge patch for every session's Pod: node selectors, tolerations, sidecars, a runtime \
         class. It is checked at startup.",
    ),
    Kubernetes.variable(
        "POD_NAME",
        Derived("HOSTNAME of the environment"),
        "text",
        "The name of the router's own Pod, from the downward API. The leader election's Lease shows it as \
         the holder.",
    ),
    Kubernetes
        .variable(
            "ADMIN_SECRET",
            Unset,
            "text, at least 16 characters",
            "The secret that a pipeline sends in `X-Admin-Secret` to have an image pulled \
             (`POST /api/admin/pull-image`) or to list a session's ports (`GET /api/sessions/:hash/ports`). \
             Without it these routes answer 501.",
        )
        .secret(),
];
