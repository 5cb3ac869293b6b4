//! The variables of the host names.

use session_key::HostScheme;

use super::{model::Names, reader::Reader};

impl Reader<'_> {
    pub(super) fn names(&mut self, port: u16, on_kubernetes: bool) -> Names {
        let domain = self.layers.text("ROUTER_DOMAIN").map(str::to_ascii_lowercase);
        if on_kubernetes && domain.is_none() {
            self.problem(
                "ROUTER_DOMAIN",
                "is not set; on Kubernetes it must be the host name at which browsers reach the router",
                "opencode.example.org",
            );
        }
        let host = domain.as_deref().map_or("localhost", |domain| domain.split(':').next().unwrap_or(domain));
        let is_local = host == "localhost" || host.ends_with(".localhost");
        let proto = match self.layers.text("ROUTER_PROTO") {
            None if is_local => "http",
            None => "https",
            Some(_) => self.choice("ROUTER_PROTO", &[("https", "https"), ("http", "http")]),
        };
        let suffix = self.text("ROUTE_SUFFIX").to_owned();
        let attach_prefix = self.text("ATTACH_ROUTE_PREFIX").to_owned();
        let site = self.layers.text("SITE_HOST").map(str::to_owned);
        let external_domain =
            self.layers.text("OPENCODE_ROUTER_EXTERNAL_DOMAIN").map(str::to_ascii_lowercase);
        let names = Names { proto, domain, external_domain, site, suffix, attach_prefix };
        // The parts are checked one after the other, so that the problem names the one at fault.
        let domain = names.domain.clone().unwrap_or_else(|| "localhost".to_owned());
        if let Err(error) = HostScheme::new(&domain, "", "attach-") {
            self.problem("ROUTER_DOMAIN", &format!("is invalid ({error})"), "opencode-router.example.org");
        } else if let Err(error) = HostScheme::new(&domain, &names.suffix, "attach-") {
            self.problem("ROUTE_SUFFIX", &format!("is invalid ({error})"), "-oc");
        } else if let Err(error) = names.scheme(port.max(1)) {
            self.problem("ATTACH_ROUTE_PREFIX", &format!("is invalid ({error})"), "attach-");
        } else if !names.has_valid_site(port.max(1)) {
            let problem = "is not a host name of the site: it must be ROUTER_DOMAIN, or a name below it that is \
                           no session's";
            self.problem("SITE_HOST", problem, "code.example.org");
        } else if let Err(error) = names.session_addresses(port.max(1)) {
            let problem = format!("is invalid ({error})");
            self.problem("OPENCODE_ROUTER_EXTERNAL_DOMAIN", &problem, "opencode-router.example.org");
        }
        names
    }
}
