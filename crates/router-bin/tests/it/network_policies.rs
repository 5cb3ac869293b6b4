//! Evaluates the NetworkPolicies of deploy/install.yaml as Kubernetes documents them. The network of the test
//! cluster does not enforce them.

use std::{collections::BTreeMap, fs, net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::ContainerPort,
        networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
    serde::{Deserialize as _, de::DeserializeOwned},
};
use pod_manager::kubernetes::objects::names::{HASH_LABEL, PORT};
use serde_json::Value;

/// Where programs attach to sessions.
const ATTACH_PORT: u16 = 4096;
/// Where sessions report.
const REPORT_PORT: u16 = 3002;

type Labels = BTreeMap<String, String>;

/// Returns all objects of one kind in deploy/install.yaml.
fn installed<K: DeserializeOwned>(kind: &str) -> Vec<K> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/install.yaml");
    let text = fs::read_to_string(path).expect("the manifests");
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .filter(|object| object["kind"] == kind)
        .map(|object| serde_json::from_value(object).expect("an object of its kind"))
        .collect()
}

/// One end of a connection.
struct Endpoint {
    address: IpAddr,
    /// `None` outside the cluster, and for a node.
    pod: Option<Pod>,
}

struct Pod {
    namespace: &'static str,
    labels: Labels,
    ports: Vec<ContainerPort>,
}

fn outside(address: &str) -> Endpoint {
    Endpoint { address: address.parse().expect("an address"), pod: None }
}

fn pod(address: &str, namespace: &'static str, label: (&str, &str)) -> Endpoint {
    let labels = Labels::from([(label.0.to_owned(), label.1.to_owned())]);
    Endpoint { pod: Some(Pod { namespace, labels, ports: Vec::new() }), ..outside(address) }
}

/// Returns a Pod of the router's Deployment in a namespace.
fn router(address: &str, namespace: &'static str) -> Endpoint {
    let deployment = installed::<Deployment>("Deployment").pop().expect("a Deployment");
    let template = deployment.spec.template;
    let labels = template.metadata.and_then(|metadata| metadata.labels).expect("labels");
    let containers = template.spec.expect("a Pod's spec").containers;
    let ports = containers.into_iter().flat_map(|container| container.ports.unwrap_or_default()).collect();
    Endpoint { pod: Some(Pod { namespace, labels, ports }), ..outside(address) }
}

/// Whether a selector matches labels. A missing selector matches everything, like an empty one.
fn selects(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    let Some(selector) = selector else { return true };
    let has_all = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    has_all
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let value = labels.get(&requirement.key);
            let is_one =
                value.is_some_and(|value| requirement.values.iter().flatten().any(|one| one == value));
            match requirement.operator.as_str() {
                "In" => is_one,
                "NotIn" => !is_one,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                other => panic!("{other} is not an operator"),
            }
        })
}

/// Whether a block contains an address. It counts for Pods as well: some network plugins apply it to them.
fn is_in(block: &IPBlock, address: IpAddr) -> bool {
    let covers = |text: &String| text.parse::<IpNet>().expect("a network").contains(&address);
    covers(&block.cidr) && !block.except.iter().flatten().any(covers)
}

/// Whether a rule of a policy in `namespace` allows the other end. A rule without peers allows everybody.
fn allows_peer(peers: Option<&Vec<NetworkPolicyPeer>>, namespace: &str, other: &Endpoint) -> bool {
    let matches = |peer: &NetworkPolicyPeer| {
        if let Some(block) = &peer.ip_block {
            return is_in(block, other.address);
        }
        let Some(pod) = &other.pod else { return false };
        let namespace_labels =
            Labels::from([("kubernetes.io/metadata.name".to_owned(), pod.namespace.to_owned())]);
        let in_namespace = match &peer.namespace_selector {
            None => pod.namespace == namespace,
            some => selects(some.as_ref(), &namespace_labels),
        };
        in_namespace && selects(peer.pod_selector.as_ref(), &pod.labels)
    };
    peers.is_none_or(|peers| peers.is_empty() || peers.iter().any(matches))
}

/// Whether a rule allows a port of the endpoint `to`. A named port is one of its Pod's. A rule without ports
/// allows all.
fn allows_port(ports: Option<&Vec<NetworkPolicyPort>>, to: &Endpoint, port: u16, protocol: &str) -> bool {
    let number = i32::from(port);
    let matches = |rule: &NetworkPolicyPort| {
        rule.protocol.as_deref().unwrap_or("TCP") == protocol
            && match &rule.port {
                None => true,
                Some(IntOrString::Int(first)) => (*first..=rule.end_port.unwrap_or(*first)).contains(&number),
                Some(IntOrString::String(name)) => to.pod.iter().flat_map(|pod| &pod.ports).any(|declared| {
                    let declared_protocol = declared.protocol.as_deref().unwrap_or("TCP");
                    declared.name.as_ref() == Some(name)
                        && declared.container_port == number
                        && declared_protocol == protocol
                }),
            }
    };
    ports.is_none_or(|ports| ports.is_empty() || ports.iter().any(matches))
}

/// Whether the policies allow a connection: the egress of one end and the ingress of the other.
fn is_allowed(policies: &[NetworkPolicy], from: &Endpoint, to: &Endpoint, port: u16, protocol: &str) -> bool {
    ["Egress", "Ingress"].into_iter().all(|direction| {
        let (own, other) = if direction == "Egress" { (from, to) } else { (to, from) };
        let Some(pod) = &own.pod else { return true };
        let applicable: Vec<_> = policies
            .iter()
            .filter(|policy| policy.metadata.namespace.as_deref() == Some(pod.namespace))
            .filter_map(|policy| policy.spec.as_ref())
            .filter(|spec| selects(spec.pod_selector.as_ref(), &pod.labels))
            .filter(|spec| match &spec.policy_types {
                Some(types) => types.iter().any(|kind| kind == direction),
                None => direction == "Ingress" || spec.egress.is_some(),
            })
            .collect();
        let allows =
            |peers, ports| allows_peer(peers, pod.namespace, other) && allows_port(ports, to, port, protocol);
        applicable.is_empty()
            || applicable.iter().any(|spec| match direction {
                "Egress" => {
                    spec.egress.iter().flatten().any(|rule| allows(rule.to.as_ref(), rule.ports.as_ref()))
                }
                _ => {
                    spec.ingress.iter().flatten().any(|rule| allows(rule.from.as_ref(), rule.ports.as_ref()))
                }
            })
    })
}

fn policies() -> Vec<NetworkPolicy> {
    installed("NetworkPolicy")
}

fn session(address: &str) -> Endpoint {
    pod(address, "opencode", (HASH_LABEL, "a48da0606867"))
}

#[test]
fn a_session_reaches_dns_and_the_internet_and_nothing_inside_the_cluster() {
    let policies = policies();
    let session = session("10.244.0.5");
    let check = |name: &str, to: &Endpoint, port: u16, protocol: &str, expected: bool| {
        let is = is_allowed(&policies, &session, to, port, protocol);
        assert_eq!(is, expected, "a session to {name}, port {port} {protocol}");
        assert!(is_allowed(&[], &session, to, port, protocol), "{name}: without policies it is allowed");
    };
    // Pods may have public addresses, too: only their labels count.
    for (routers, siblings) in [("10.244.0.7", "10.244.0.6"), ("140.82.121.5", "2606:50c0:8000::1")] {
        let sibling = pod(siblings, "opencode", (HASH_LABEL, "0123456789ab"));
        check("the router's reports", &router(routers, "opencode"), REPORT_PORT, "TCP", true);
        check(
            "reports of a router elsewhere",
            &router("10.244.0.12", "elsewhere"),
            REPORT_PORT,
            "TCP",
            false,
        );
        check("reports' port of another session", &sibling, REPORT_PORT, "TCP", false);
        for port in [3000, 8080, PORT] {
            check("the router", &router(routers, "opencode"), port, "TCP", false);
            check("another session", &sibling, port, "TCP", false);
        }
    }
    let dns = pod("10.244.0.2", "kube-system", ("k8s-app", "kube-dns"));
    let other_dns = pod("10.244.0.9", "elsewhere", ("k8s-app", "kube-dns"));
    check("DNS", &dns, 53, "UDP", true);
    check("DNS", &dns, 53, "TCP", true);
    check("another port in kube-system", &dns, 443, "TCP", false);
    check("DNS of another namespace", &other_dns, 53, "UDP", false);
    for (address, expected) in [
        ("140.82.121.4", true),
        ("2606:50c0:8000::154", true),
        // Metadata services of clouds.
        ("169.254.169.254", false),
        ("fd00:ec2::254", false),
        ("168.63.129.16", false),
        ("192.0.0.192", false),
        ("100.100.100.200", false),
        // The API server's Service, nodes, reserved networks.
        ("10.96.0.1", false),
        ("172.31.255.254", false),
        ("192.168.1.1", false),
        ("198.19.0.1", false),
        ("240.0.0.1", false),
        ("fe80::1", false),
        // Addresses next to denied ones.
        ("168.63.129.17", true),
        ("192.0.1.1", true),
    ] {
        check(address, &outside(address), 443, "TCP", expected);
    }
}

#[test]
fn only_the_router_reaches_a_session_and_all_but_sessions_reach_the_router() {
    let policies = policies();
    let check = |name: &str, from: &Endpoint, to: &Endpoint, port: u16, expected: bool| {
        let is = is_allowed(&policies, from, to, port, "TCP");
        assert_eq!(is, expected, "{name}, port {port}");
        assert!(is_allowed(&[], from, to, port, "TCP"), "{name}: without policies it is allowed");
    };
    let (session, router) = (session("10.244.0.5"), router("10.244.0.7", "opencode"));
    let controller = pod("10.244.0.8", "ingress-nginx", ("app.kubernetes.io/name", "ingress-nginx"));
    let neighbour = pod("10.244.0.9", "opencode", ("app.kubernetes.io/name", "oauth2-proxy"));
    // The labels of routers and sessions count in their own namespace only.
    let impostor = self::router("10.244.0.10", "elsewhere");
    let session_elsewhere = pod("10.244.0.11", "elsewhere", (HASH_LABEL, "a48da0606867"));
    let node = outside("10.0.0.4");
    for port in [PORT, 3000] {
        check("the router to a session", &router, &session, port, true);
        check("a Pod of the namespace to a session", &neighbour, &session, port, false);
        check("a Pod of another namespace to a session", &controller, &session, port, false);
        check("a Pod labelled like the router to a session", &impostor, &session, port, false);
        check("an address to a session", &node, &session, port, false);
    }
    for port in [3000, ATTACH_PORT] {
        check("an ingress controller to the router", &controller, &router, port, true);
        check("a session to the router", &session, &router, port, false);
    }
    check("a Pod of the namespace to the router", &neighbour, &router, 3000, true);
    check("a session of another namespace to the router", &session_elsewhere, &router, 3000, false);
    // A controller in the host network has no labels; `networkPolicy.from` must list its addresses.
    check("a node's address to the router", &node, &router, 3000, false);
    for (name, from) in [("an ingress controller", &controller), ("a Pod of the namespace", &neighbour)] {
        check(name, from, &router, 8080, false);
        check(name, from, &router, REPORT_PORT, false);
    }
}
