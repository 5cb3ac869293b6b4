//! The public host names of one session's dev servers: `5173-<rest>`, `8080-<rest>`.

/// The lowest port of a dev server.
const MIN_PORT: u16 = 1024;

/// Returns the port of the dev server that `other` names, if it is a server of the session that `own` is the
/// host of. `own` is the `host[:port]` of the server on `port`.
pub(crate) fn port_of_sibling(own: &str, port: u16, other: &str) -> Option<u16> {
    let rest = rest_of(own, port)?;
    let (digits, other_rest) = other.split_once('-')?;
    let sibling = parse_port(digits)?;
    (without_default_port(other_rest).eq_ignore_ascii_case(without_default_port(rest))).then_some(sibling)
}

/// Returns the host of the session's dev server on another port.
pub(crate) fn sibling_host(own: &str, port: u16, other: u16) -> Option<String> {
    let rest = rest_of(own, port)?;
    (other >= MIN_PORT).then(|| format!("{other}-{rest}"))
}

/// Returns what all hosts of the session's dev servers have in common.
fn rest_of(own: &str, port: u16) -> Option<&str> {
    let (digits, rest) = own.split_once('-')?;
    (parse_port(digits)? == port).then_some(rest)
}

/// Whether two `host[:port]` are the same, with or without a protocol's default port.
pub(crate) fn same_host(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
        || without_default_port(one).eq_ignore_ascii_case(without_default_port(other))
}

fn without_default_port(host: &str) -> &str {
    host.strip_suffix(":443").or_else(|| host.strip_suffix(":80")).unwrap_or(host)
}

/// Returns the `host[:port]` of an origin or of an absolute address.
pub(crate) fn authority_of(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    rest.split(['/', '?', '#']).next()
}

/// Returns the path of an absolute address with what follows it.
pub(crate) fn path_of(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    Some(rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]))
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|&port| plain && port >= MIN_PORT)
}
