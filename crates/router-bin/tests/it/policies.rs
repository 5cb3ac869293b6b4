//! What the NetworkPolicies of deploy/install.yaml mean, read as Kubernetes documents them: the network of the tests' own cluster
//! enforces none.

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

type Labels = BTreeMap<String, String>;

/// All objects of one kind in deploy/install.yaml.
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
struct End {
    address: IpAddr,
    /// `None`: outside of the cluster, or a node.
    pod: Option<Pod>,
}

struct Pod {
    namespace: &'static str,
    labels: Labels,
    ports: Vec<ContainerPort>,
}

fn outside(address: &str) -> End {
    End { address: address.parse().expect("an address"), pod: None }
}

fn pod(address: &str, namespace: &'static str, label: (&str, &str)) -> End {
    let labels = Labels::from([(label.0.to_owned(), label.1.to_owned())]);
    End { pod: Some(Pod { namespace, labels, ports: Vec::new() }), ..outside(address) }
}

/// A Pod of the Deployment, in a namespace.
fn router(address: &str, namespace: &'static str) -> End {
    let deployment = installed::<Deployment>("Deployment").pop().expect("a Deployment");
    let template = deployment.spec.template;
    let labels = template.metadata.and_then(|metadata| metadata.labels).expect("labels");
    let containers = template.spec.expect("a Pod's spec").containers;
    let ports = containers.into_iter().flat_map(|container| container.ports.unwrap_or_default()).collect();
    End { pod: Some(Pod { namespace, labels, ports }), ..outside(address) }
}

/// No selector selects everything, as an empty one does.
fn selects(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    let Some(selector) = selector else { return true };
    let has_all = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    has_all
        && selector.match_expressions.iter().flatten().all(|wanted| {
            let value = labels.get(&wanted.key);
            let is_one = value.is_some_and(|value| wanted.values.iter().flatten().any(|one| one == value));
            match wanted.operator.as_str() {
                "In" => is_one,
                "NotIn" => !is_one,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                other => panic!("{other} is no operator"),
            }
        })
}

/// A block counts for Pods as well: some networks see it so.
fn is_in(block: &IPBlock, address: IpAddr) -> bool {
    let covers = |text: &String| text.parse::<IpNet>().expect("a network").contains(&address);
    covers(&block.cidr) && !block.except.iter().flatten().any(covers)
}

/// Whether a rule of a policy in `namespace` names the other end. A rule that names nobody means everybody.
fn names(peers: Option<&Vec<NetworkPolicyPeer>>, namespace: &str, other: &End) -> bool {
    let is_named = |peer: &NetworkPolicyPeer| {
        if let Some(block) = &peer.ip_block {
            return is_in(block, other.address);
        }
        let Some(pod) = &other.pod else { return false };
        let its = Labels::from([("kubernetes.io/metadata.name".to_owned(), pod.namespace.to_owned())]);
        let is_there = match &peer.namespace_selector {
            None => pod.namespace == namespace,
            some => selects(some.as_ref(), &its),
        };
        is_there && selects(peer.pod_selector.as_ref(), &pod.labels)
    };
    peers.is_none_or(|peers| peers.is_empty() || peers.iter().any(is_named))
}

/// Whether a rule is about this port of the end that is reached. A name is one of its Pod's. A rule without ports is about all.
fn covers(ports: Option<&Vec<NetworkPolicyPort>>, to: &End, port: u16, protocol: &str) -> bool {
    let number = i32::from(port);
    let is_meant = |rule: &NetworkPolicyPort| {
        rule.protocol.as_deref().unwrap_or("TCP") == protocol
            && match &rule.port {
                None => true,
                Some(IntOrString::Int(first)) => (*first..=rule.end_port.unwrap_or(*first)).contains(&number),
                Some(IntOrString::String(name)) => to.pod.iter().flat_map(|pod| &pod.ports).any(|of| {
                    let its_protocol = of.protocol.as_deref().unwrap_or("TCP");
                    of.name.as_ref() == Some(name) && of.container_port == number && its_protocol == protocol
                }),
            }
    };
    ports.is_none_or(|ports| ports.is_empty() || ports.iter().any(is_meant))
}

/// The way out of one end, and the way into the other, must both be free.
fn is_allowed(policies: &[NetworkPolicy], from: &End, to: &End, port: u16, protocol: &str) -> bool {
    ["Egress", "Ingress"].into_iter().all(|direction| {
        let (own, other) = if direction == "Egress" { (from, to) } else { (to, from) };
        let Some(pod) = &own.pod else { return true };
        let about_it: Vec<_> = policies
            .iter()
            .filter(|policy| policy.metadata.namespace.as_deref() == Some(pod.namespace))
            .filter_map(|policy| policy.spec.as_ref())
            .filter(|spec| selects(spec.pod_selector.as_ref(), &pod.labels))
            .filter(|spec| match &spec.policy_types {
                Some(types) => types.iter().any(|it| it == direction),
                None => direction == "Ingress" || spec.egress.is_some(),
            })
            .collect();
        let passes = |peers, ports| names(peers, pod.namespace, other) && covers(ports, to, port, protocol);
        about_it.is_empty()
            || about_it.iter().any(|spec| match direction {
                "Egress" => spec.egress.iter().flatten().any(|it| passes(it.to.as_ref(), it.ports.as_ref())),
                _ => spec.ingress.iter().flatten().any(|it| passes(it.from.as_ref(), it.ports.as_ref())),
            })
    })
}

fn policies() -> Vec<NetworkPolicy> {
    installed("NetworkPolicy")
}

fn session(address: &str) -> End {
    pod(address, "opencode", (HASH_LABEL, "a48da0606867"))
}

#[test]
fn a_session_reaches_names_and_the_internet_and_nothing_inside() {
    let policies = policies();
    let session = session("10.244.0.5");
    let check = |name: &str, to: &End, port: u16, protocol: &str, expected: bool| {
        let is = is_allowed(&policies, &session, to, port, protocol);
        assert_eq!(is, expected, "a session to {name}, port {port} {protocol}");
        assert!(is_allowed(&[], &session, to, port, protocol), "{name}: it is the policies that deny");
    };
    // Pods may have addresses of the internet's, too: what they are labelled is what counts.
    for (routers, siblings) in [("10.244.0.7", "10.244.0.6"), ("140.82.121.5", "2606:50c0:8000::1")] {
        let sibling = pod(siblings, "opencode", (HASH_LABEL, "0123456789ab"));
        for port in [3000, 8080, PORT] {
            check("the router", &router(routers, "opencode"), port, "TCP", false);
            check("another session", &sibling, port, "TCP", false);
        }
    }
    let names = pod("10.244.0.2", "kube-system", ("k8s-app", "kube-dns"));
    let no_names = pod("10.244.0.9", "elsewhere", ("k8s-app", "kube-dns"));
    check("names", &names, 53, "UDP", true);
    check("names", &names, 53, "TCP", true);
    check("what else is in kube-system", &names, 443, "TCP", false);
    check("names elsewhere", &no_names, 53, "UDP", false);
    for (address, expected) in [
        ("140.82.121.4", true),
        ("2606:50c0:8000::154", true),
        // The clouds' metadata.
        ("169.254.169.254", false),
        ("fd00:ec2::254", false),
        ("168.63.129.16", false),
        ("192.0.0.192", false),
        ("100.100.100.200", false),
        // The API server's Service, nodes, and what is reserved.
        ("10.96.0.1", false),
        ("172.31.255.254", false),
        ("192.168.1.1", false),
        ("198.19.0.1", false),
        ("240.0.0.1", false),
        ("fe80::1", false),
        // Their neighbours.
        ("168.63.129.17", true),
        ("192.0.1.1", true),
    ] {
        check(address, &outside(address), 443, "TCP", expected);
    }
}

#[test]
fn a_session_is_reached_by_the_router_alone_and_the_router_by_all_but_sessions() {
    let policies = policies();
    let check = |name: &str, from: &End, to: &End, port: u16, expected: bool| {
        let is = is_allowed(&policies, from, to, port, "TCP");
        assert_eq!(is, expected, "{name}, port {port}");
        assert!(is_allowed(&[], from, to, port, "TCP"), "{name}: it is the policies that deny");
    };
    let (session, router) = (session("10.244.0.5"), router("10.244.0.7", "opencode"));
    let controller = pod("10.244.0.8", "ingress-nginx", ("app.kubernetes.io/name", "ingress-nginx"));
    let neighbour = pod("10.244.0.9", "opencode", ("app.kubernetes.io/name", "oauth2-proxy"));
    // The Deployment's labels mean the router in its own namespace alone, and so does a session's.
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
    check("an ingress controller to the router", &controller, &router, 3000, true);
    check("a Pod of the namespace to the router", &neighbour, &router, 3000, true);
    check("a session of another namespace to the router", &session_elsewhere, &router, 3000, false);
    // With the host's network, a controller has no labels here: `networkPolicy.from` is to name its addresses.
    check("a node's address to the router", &node, &router, 3000, false);
    for (name, from) in [("an ingress controller", &controller), ("a Pod of the namespace", &neighbour)] {
        check(name, from, &router, 8080, false);
    }
}
