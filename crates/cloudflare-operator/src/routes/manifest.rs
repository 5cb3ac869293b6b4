//! The IngressRoutes that should exist.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta};
use serde_json::{Value, json};
use session_key::SessionHash;

use super::names::{HostNames, Part, wildcard_name};
use crate::claims::{Claim, Claims};

/// Who owns the fields that the operator writes; also the value of `app.kubernetes.io/managed-by`.
pub const FIELD_MANAGER: &str = "opencode-cloudflare-operator";

/// The paths that a sign-in needs on a session's host. Each one is spelled out: `/oauth2/auth` and
/// `/oauth2/userinfo` would show the session's page who the user is and, with
/// `--pass-access-token`, the user's GitHub token; `/oauth2/sign_out` would let it end the sign-in; and a
/// service worker of the page would see the authorization code in the address of `/oauth2/callback`.
const SIGNIN_PATHS: &str = r"^/oauth2/(start|sign_in|static/(css|webfonts)/[a-z0-9-]+(\.[a-z0-9]+)+)$";

/// The priorities of the routes. Without one, Traefik takes the length of the rule, so that a wildcard route
/// of somebody else would win over `Host(…)`; no rule is that long.
const APP_PRIORITY: u32 = 1000;
const SIGNIN_PRIORITY: u32 = 1001;
/// Routes for all sessions yield to those of one.
const WILDCARD_APP_PRIORITY: u32 = 900;
const WILDCARD_SIGNIN_PRIORITY: u32 = 901;

/// Whether each session has routes of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each session has its own, as with the TypeScript operator.
    PerSession,
    /// One set of routes serves all sessions.
    Wildcard,
}

/// What the IngressRoutes are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// `ROUTES`.
    pub mode: Mode,
    /// `INGRESSROUTE_NAMESPACE`.
    pub namespace: String,
    /// `WATCH_NAMESPACE`.
    pub claims_namespace: String,
    /// The names of hosts.
    pub names: HostNames,
    /// `OAUTH2_CHAIN_MIDDLEWARE`.
    pub middleware: String,
    /// `ROUTER_SERVICE_NAME`.
    pub router_service: String,
    /// `ATTACH_SERVICE_NAME`.
    pub attach_service: String,
    /// `ATTACH_SERVICE_PORT`; `None`: there are no attach hosts.
    pub attach_port: Option<u16>,
    /// `SIGNIN_SERVICE_NAME`.
    pub signin_service: String,
    /// `SIGNIN_SERVICE_NAMESPACE`.
    pub signin_namespace: String,
}

/// Returns the resource `ingressroutes.traefik.io`.
#[must_use]
pub fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("traefik.io", "v1alpha1", "IngressRoute"),
        "ingressroutes",
    )
}

/// Returns all IngressRoutes that should exist, by name.
#[must_use]
pub fn desired(settings: &RouteSettings, claims: &Claims) -> BTreeMap<String, DynamicObject> {
    match settings.mode {
        Mode::PerSession => claims.sessions.values().flat_map(|claim| of_session(settings, claim)).collect(),
        Mode::Wildcard => of_all(settings).into_iter().collect(),
    }
}

/// Returns the hosts that need a record: those of each session, or the wildcard. The hosts of ports have no
/// record of their own, since any port may be served: a wildcard record covers them.
#[must_use]
pub fn published_hosts(settings: &RouteSettings, claims: &Claims) -> BTreeSet<String> {
    let names = &settings.names;
    match settings.mode {
        Mode::Wildcard => BTreeSet::from([names.wildcard_host()]),
        Mode::PerSession => {
            let attach = |hash| settings.attach_port.map(|_| names.attach_host(hash));
            let hosts = |hash: &SessionHash| [Some(names.session_host(*hash)), attach(*hash)];
            claims.sessions.keys().flat_map(hosts).flatten().collect()
        }
    }
}

/// Returns the IngressRoutes of one session. The first two serve the session's host and, by a pattern, the
/// hosts of all its ports.
fn of_session(settings: &RouteSettings, claim: &Claim) -> Vec<(String, DynamicObject)> {
    let names = &settings.names;
    let session = format!("Host(`{}`)", names.session_host(claim.hash));
    let ports = format!("HostRegexp(`{}`)", names.port_pattern(claim.hash));
    let attach = format!("Host(`{}`)", names.attach_host(claim.hash));
    // An object of another namespace can't be an owner: Kubernetes would delete what it owns.
    let owner = (settings.namespace == settings.claims_namespace).then_some(claim);
    let parts = settings.parts().map(|part| {
        let routes = match part {
            Part::Signin => [&session, &ports].map(|host| settings.signin(host, SIGNIN_PRIORITY)).to_vec(),
            Part::App => [&session, &ports].map(|host| settings.app(host, APP_PRIORITY)).to_vec(),
            Part::Attach => vec![settings.attach(&attach, APP_PRIORITY)],
        };
        settings.object(names.object_name(claim.hash, part), &routes, owner)
    });
    parts.collect()
}

/// Returns the IngressRoutes that serve all sessions.
fn of_all(settings: &RouteSettings) -> Vec<(String, DynamicObject)> {
    let hosts = format!("HostRegexp(`{}`)", settings.names.all_pattern());
    let attach = format!("HostRegexp(`{}`)", settings.names.all_attach_pattern());
    let parts = settings.parts().map(|part| {
        let route = match part {
            Part::Signin => settings.signin(&hosts, WILDCARD_SIGNIN_PRIORITY),
            Part::App => settings.app(&hosts, WILDCARD_APP_PRIORITY),
            Part::Attach => settings.attach(&attach, WILDCARD_APP_PRIORITY),
        };
        settings.object(wildcard_name(part), &[route], None)
    });
    parts.collect()
}

impl RouteSettings {
    fn parts(&self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(|part| *part != Part::Attach || self.attach_port.is_some())
    }

    fn signin(&self, host: &str, priority: u32) -> Value {
        json!({
            "kind": "Rule",
            "match": format!("{host} && PathRegexp(`{SIGNIN_PATHS}`)"),
            "priority": priority,
            "services": [{ "name": self.signin_service, "namespace": self.signin_namespace, "port": 80 }],
        })
    }

    fn app(&self, host: &str, priority: u32) -> Value {
        json!({
            "kind": "Rule",
            "match": host,
            "priority": priority,
            "middlewares": [{ "name": self.middleware, "namespace": self.namespace }],
            "services": [{ "name": self.router_service, "namespace": self.namespace, "port": 80 }],
        })
    }

    fn attach(&self, host: &str, priority: u32) -> Value {
        let service = &self.attach_service;
        json!({
            "kind": "Rule",
            "match": host,
            "priority": priority,
            "services": [{ "name": service, "namespace": self.namespace, "port": self.attach_port }],
        })
    }

    fn object(&self, name: String, routes: &[Value], owner: Option<&Claim>) -> (String, DynamicObject) {
        let resource = resource();
        let labels = [("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned())];
        let object = DynamicObject {
            types: Some(TypeMeta { api_version: resource.api_version, kind: resource.kind }),
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some(labels.into()),
                owner_references: owner.map(|claim| vec![claim.owner_reference()]),
                ..ObjectMeta::default()
            },
            // Cloudflare ends TLS, and cloudflared speaks HTTP to this entry point.
            data: json!({ "spec": { "entryPoints": ["web"], "routes": routes } }),
        };
        (name, object)
    }
}
