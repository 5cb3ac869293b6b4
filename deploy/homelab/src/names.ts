/**
 * Names and numbers that several files share. All of them are the original's: Pulumi finds an object of its
 * stack by the logical name, and the cluster by the object's name.
 */

/** The application's name, and its namespace. */
export const APP = "code";

/** The router's ports. */
export const HTTP_PORT = 3000;
export const ATTACH_PORT = 4096;
export const HEALTH_PORT = 8080;
export const REPORT_PORT = 3002;

/** Session hosts are `<hash>-oc.<domain>`, one level below the domain: Universal SSL covers them. */
export const ROUTE_SUFFIX = "-oc";
export const ATTACH_ROUTE_PREFIX = "attach-";

/** The group of sign-ins: which oauth2-proxy is asked, and which one starts a sign-in. */
export const SIGNIN_GROUP = "developers";
export const SIGNIN_NAMESPACE = "oauth2-proxy";
export const SIGNIN_SERVICE = `oauth2-proxy-${SIGNIN_GROUP}`;
/** The cookies of all groups are set for the whole domain, so browsers send each of them to sessions. */
export const SIGNIN_COOKIES = "_oauth2_developers,_oauth2_users";

/** The Middlewares that stand before the site and every session. ExposedWebApp makes the chain. */
export const CHAIN_MIDDLEWARE = `${APP}-oauth2-chain`;
export const PROXY_SECRET_MIDDLEWARE = `${APP}-proxy-secret`;

export const API_KEYS_SECRET = "opencode-api-keys";
export const CONFIG_MAP = "opencode-config-dir";
export const PULL_SECRET = "ghcr-pull-secret";
export const CLOUDFLARE_SECRET = "code-cf-credentials";
export const ADMIN_SECRET = "code-admin-secret";
export const PROXY_SECRET = "code-proxy-secret";
export const ATTACH_SERVICE = `${APP}-attach`;
/** All that sessions reach of the router. */
export const REPORT_SERVICE = `${APP}-reports`;

/** The operator, in a Deployment of its own. */
export const OPERATOR = "code-cloudflare-operator";
export const OPERATOR_HEALTH_PORT = 8081;

/** The labels of everything that this program makes; of Pods, only the router's have them. */
export const LABELS = { app: APP };
export const OPERATOR_LABELS = { app: OPERATOR };
/** On every session's Pod. */
export const SESSION_HASH_LABEL = "opencode.ai/session-hash";

/** The user of both images. Not the sessions' 1000: some limits of a node count per user. */
export const USER = 65532;
