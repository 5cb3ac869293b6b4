//! The settings of the Kubernetes backend.

use std::collections::BTreeMap;

use pod_manager::kubernetes::{ContainerResources, KubernetesSettings, objects::patch::PodPatch};

use super::reader::{Reader, list};
use crate::io_error;

const IMAGE_EXAMPLE: &str = "registry.example.org/opencode-session:1.0";

impl Reader<'_> {
    /// Reads the settings of the backend. `host` is the name of this machine.
    pub(super) fn kubernetes(&mut self, host: Option<&str>) -> KubernetesSettings {
        let image = self.required_image("OPENCODE_IMAGE");
        let pod_name = self.layers.chosen("POD_NAME").or(host).unwrap_or("opencode-router");
        let settings = KubernetesSettings::new(&image);
        let mut settings = KubernetesSettings {
            namespace: self.namespace("OPENCODE_NAMESPACE").unwrap_or_default(),
            image_pull_secret: self.object_name("IMAGE_PULL_SECRET_NAME"),
            storage_class: self.object_name("STORAGE_CLASS"),
            storage_size: self.quantity("STORAGE_SIZE"),
            api_key_secret: self.object_name("API_KEY_SECRET_NAME").unwrap_or_default(),
            config_map: self.object_name("CONFIG_MAP_NAME").unwrap_or_default(),
            user_namespaces: self.switch("USER_NAMESPACES"),
            pod_metrics: self.switch("POD_METRICS"),
            resources: ContainerResources {
                requests: self.resources("SESSION_REQUESTS"),
                limits: self.resources("SESSION_LIMITS"),
            },
            ephemeral_storage: self.quantity_or_zero("EPHEMERAL_STORAGE_SIZE"),
            chromium_image: self.image("CHROMIUM_IMAGE"),
            router_url: self.router_url("OPENCODE_ROUTER_URL"),
            // Unique per process: a restarted router must not take the old one's Lease for its own.
            identity: format!("{pod_name}-{:08x}", rand::random::<u32>()),
            ..settings
        };
        settings.pod_patch = self.patch("POD_PATCH_FILE", &settings);
        settings
    }

    fn patch(&mut self, name: &'static str, settings: &KubernetesSettings) -> Option<PodPatch> {
        let path = self.layers.chosen(name)?;
        let problem = match std::fs::read_to_string(path) {
            Err(error) => format!("names {path}, which can't be read: {}", io_error::describe(&error)),
            Ok(text) => match PodPatch::parse(&text, settings) {
                Ok(patch) => return Some(patch),
                Err(error) => format!("names {path}, which can't be applied to a session's Pod: {error}"),
            },
        };
        self.problem(name, &problem, "/etc/opencode-router/pod-patch.yaml");
        None
    }
    /// Reads the address at which Pods reach the router, without a slash at its end.
    fn router_url(&mut self, name: &'static str) -> Option<String> {
        let text = self.layers.text(name)?;
        let valid = text.parse::<http::Uri>().is_ok_and(|url| {
            matches!(url.scheme_str(), Some("http" | "https")) && url.path() == "/" && url.query().is_none()
        });
        if !valid {
            let problem = "must be an http or https URL without a path";
            self.problem(name, problem, "http://opencode-router.opencode.svc:3002");
        }
        Some(text.trim_end_matches('/').to_owned())
    }

    /// Reads the reference of an image, which has no default. The cluster checks the rest.
    fn required_image(&mut self, name: &'static str) -> String {
        self.image(name).unwrap_or_else(|| {
            let problem = "is not set; on Kubernetes it must name the image of the sessions";
            self.problem(name, problem, IMAGE_EXAMPLE);
            String::new()
        })
    }

    /// Reads the reference of an image, if it is set.
    fn image(&mut self, name: &'static str) -> Option<String> {
        let text = self.layers.text(name)?;
        if text.contains(char::is_whitespace) {
            self.problem(name, "contains a space; it must name an image", IMAGE_EXAMPLE);
        }
        Some(text.to_owned())
    }

    /// Reads the name of an object (an RFC 1123 subdomain).
    fn object_name(&mut self, name: &'static str) -> Option<String> {
        let text = self.layers.text(name)?;
        if text.len() > 253 || !text.split('.').all(is_label) {
            let problem = format!(
                "is {text:?}, which is not an object's name: lower-case letters, digits, `-` and `.`"
            );
            self.problem(name, &problem, "opencode-keys");
        }
        Some(text.to_owned())
    }

    /// Reads the name of a namespace (an RFC 1123 label).
    fn namespace(&mut self, name: &'static str) -> Option<String> {
        let text = self.layers.text(name)?;
        if !is_label(text) {
            let problem = format!(
                "is {text:?}, which is not a namespace's name: at most 63 lower-case letters, digits and `-`"
            );
            self.problem(name, &problem, "opencode");
        }
        Some(text.to_owned())
    }

    fn quantity(&mut self, name: &'static str) -> String {
        let text = self.text(name);
        if !is_quantity(text) {
            self.problem(name, &format!("is {text:?}, which is not a Kubernetes quantity"), "10Gi");
        }
        text.to_owned()
    }

    /// A quantity; `None` for `0`, which lifts the limit.
    fn quantity_or_zero(&mut self, name: &'static str) -> Option<String> {
        (self.text(name) != "0").then(|| self.quantity(name))
    }

    fn resources(&mut self, name: &'static str) -> BTreeMap<String, String> {
        let text = self.text(name);
        if text.eq_ignore_ascii_case("none") {
            return BTreeMap::new();
        }
        let mut resources = BTreeMap::new();
        for part in list(text) {
            match part.split_once('=').map(|(name, quantity)| (name.trim(), quantity.trim())) {
                Some((resource, quantity)) if is_resource(resource) && is_quantity(quantity) => {
                    resources.insert(resource.to_owned(), quantity.to_owned());
                }
                _ => {
                    let problem = format!("contains {part:?}, which is not a resource with a quantity");
                    self.problem(name, &problem, "cpu=500m,memory=1Gi");
                }
            }
        }
        resources
    }
}

fn is_label(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether `text` names a resource: `cpu`, `memory`, `nvidia.com/gpu`.
fn is_resource(text: &str) -> bool {
    let (domain, name) = text.rsplit_once('/').unwrap_or(("x", text));
    domain.split('.').all(is_label) && is_label(&name.to_ascii_lowercase().replace(['.', '_'], "-"))
}

/// Whether `text` is a positive decimal with a suffix of Kubernetes quantities.
fn is_quantity(text: &str) -> bool {
    let digits = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let is_suffix = matches!(
        suffix,
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"
    );
    let is_exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|power| power.parse::<i8>().is_ok());
    number.parse::<f64>().is_ok_and(|number| number > 0.0) && (is_suffix || is_exponent)
}
