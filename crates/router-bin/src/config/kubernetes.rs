//! What an operator says about sessions on Kubernetes.

use std::collections::BTreeMap;

use pod_manager::kubernetes::{ContainerResources, KubernetesSettings, objects::patch::PodPatch};

use super::values::{Reader, list};
use crate::start::plain;

impl Reader<'_> {
    /// The settings of the backend. `host` names this machine.
    pub(super) fn kubernetes(&mut self, host: Option<&str>) -> KubernetesSettings {
        let image = self.image("OPENCODE_IMAGE");
        let holder = self.layers.chosen("POD_NAME").or(host).unwrap_or("opencode-router");
        let settings = KubernetesSettings::new(&image);
        let mut settings = KubernetesSettings {
            namespace: self.label("OPENCODE_NAMESPACE").unwrap_or_default(),
            image_pull_secret: self.name("IMAGE_PULL_SECRET_NAME"),
            storage_class: self.name("STORAGE_CLASS"),
            storage_size: self.quantity("STORAGE_SIZE"),
            api_key_secret: self.name("API_KEY_SECRET_NAME").unwrap_or_default(),
            config_map: self.name("CONFIG_MAP_NAME").unwrap_or_default(),
            user_namespaces: self.switch("USER_NAMESPACES"),
            resources: ContainerResources {
                requests: self.resources("SESSION_REQUESTS"),
                limits: self.resources("SESSION_LIMITS"),
            },
            // A process that comes after this one is another holder.
            identity: format!("{holder}-{:08x}", rand::random::<u32>()),
            ..settings
        };
        settings.pod_patch = self.patch("POD_PATCH_FILE", &settings);
        settings
    }

    fn patch(&mut self, name: &'static str, settings: &KubernetesSettings) -> Option<PodPatch> {
        let path = self.layers.chosen(name)?;
        let problem = match std::fs::read_to_string(path) {
            Err(error) => format!("names {path}, which can't be read: {}", plain(&error)),
            Ok(text) => match PodPatch::parse(&text, settings) {
                Ok(patch) => return Some(patch),
                Err(error) => format!("names {path}, which can't be laid over a session's Pod: {error}"),
            },
        };
        self.wrong(name, &problem, "/etc/opencode-router/pod-patch.yaml");
        None
    }

    fn image(&mut self, name: &'static str) -> String {
        let text = self.text(name);
        if text.is_empty() || text.contains(char::is_whitespace) {
            let what = if text.is_empty() { "is not set" } else { "holds a space" };
            let what = format!("{what}: on Kubernetes it names the image that sessions run");
            self.wrong(name, &what, "registry.example.org/opencode-session:1.0");
        }
        text.to_owned()
    }

    /// A name as most objects have it (RFC 1123, with dots).
    fn name(&mut self, name: &'static str) -> Option<String> {
        let text = self.layers.text(name)?;
        if text.len() > 253 || !text.split('.').all(is_label) {
            let what = format!("is {text:?}, which is no object's name: small letters, digits, `-` and `.`");
            self.wrong(name, &what, "opencode-keys");
        }
        Some(text.to_owned())
    }

    /// A name as namespaces have it (without dots).
    fn label(&mut self, name: &'static str) -> Option<String> {
        let text = self.layers.text(name)?;
        if !is_label(text) {
            let what = format!(
                "is {text:?}, which is no namespace's name: at most 63 small letters, digits and `-`"
            );
            self.wrong(name, &what, "opencode");
        }
        Some(text.to_owned())
    }

    fn quantity(&mut self, name: &'static str) -> String {
        let text = self.text(name);
        if !is_quantity(text) {
            self.wrong(name, &format!("is {text:?}, which is no quantity of Kubernetes"), "10Gi");
        }
        text.to_owned()
    }

    fn resources(&mut self, name: &'static str) -> BTreeMap<String, String> {
        let text = self.text(name);
        if text.eq_ignore_ascii_case("none") {
            return BTreeMap::new();
        }
        let mut found = BTreeMap::new();
        for part in list(text) {
            match part.split_once('=').map(|(name, quantity)| (name.trim(), quantity.trim())) {
                Some((resource, quantity)) if is_resource(resource) && is_quantity(quantity) => {
                    found.insert(resource.to_owned(), quantity.to_owned());
                }
                _ => {
                    let what = format!("holds {part:?}, which is no resource with a quantity");
                    self.wrong(name, &what, "cpu=500m,memory=1Gi");
                }
            }
        }
        found
    }
}

fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// `cpu`, `memory`, `nvidia.com/gpu`.
fn is_resource(text: &str) -> bool {
    let (domain, name) = text.rsplit_once('/').unwrap_or(("x", text));
    domain.split('.').all(is_label) && is_label(&name.to_ascii_lowercase().replace(['.', '_'], "-"))
}

/// A positive decimal with one of Kubernetes' suffixes.
fn is_quantity(text: &str) -> bool {
    let digits = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let known = matches!(
        suffix,
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"
    );
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|power| power.parse::<i8>().is_ok());
    number.parse::<f64>().is_ok_and(|number| number > 0.0) && (known || exponent)
}
