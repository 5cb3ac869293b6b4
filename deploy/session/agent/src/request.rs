//! The head of a request.

use std::{
    io::{self, Read},
    net::TcpStream,
    time::Duration,
};

const MAX_HEAD_BYTES: usize = 4096;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A tunnel to a port.
    Tunnel(u16),
    /// The ports that listen.
    Ports,
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) target: Target,
    token: Option<String>,
}

impl Request {
    /// Reads a head, and nothing of what follows it.
    ///
    /// # Errors
    /// `InvalidData` if it is not a head.
    pub(crate) fn read(client: &mut TcpStream) -> io::Result<Self> {
        client.set_read_timeout(Some(HEAD_TIMEOUT))?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            head.push(byte[0]);
            if head.len() > MAX_HEAD_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let head = String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData)?;
        Self::parse(&head).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        if words.next()? != "HTTP/1.1" || words.next().is_some() {
            return None;
        }
        let target = match (method, target.strip_prefix("localhost:")) {
            ("CONNECT", Some(port)) => Target::Tunnel(port.parse().ok()?),
            ("GET", _) if target == "/ports" => Target::Ports,
            _ => Target::Unknown,
        };
        let token = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
            let is_authorization = name.eq_ignore_ascii_case("authorization")
                || name.eq_ignore_ascii_case("proxy-authorization");
            is_authorization.then(|| value.trim().strip_prefix("Bearer ").map(str::to_owned)).flatten()
        });
        Some(Self { target, token })
    }

    /// Whether the request has this token. The time it takes does not depend on where they differ.
    pub(crate) fn has_token(&self, token: &str) -> bool {
        let given = self.token.as_deref().unwrap_or_default().as_bytes();
        let difference = given.iter().zip(token.as_bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        !token.is_empty() && given.len() == token.len() && std::hint::black_box(difference) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_parsed() {
        let target = |head: &str| Request::parse(head).map(|request| request.target);
        assert_eq!(target("CONNECT localhost:5173 HTTP/1.1\r\n\r\n"), Some(Target::Tunnel(5173)));
        assert_eq!(target("GET /ports HTTP/1.1\r\n\r\n"), Some(Target::Ports));
        assert_eq!(target("CONNECT 10.0.0.1:5173 HTTP/1.1\r\n\r\n"), Some(Target::Unknown));
        assert_eq!(target("GET / HTTP/1.1\r\n\r\n"), Some(Target::Unknown));
        assert_eq!(target("CONNECT localhost:99999 HTTP/1.1\r\n\r\n"), None);
        assert_eq!(target("GET /ports\r\n\r\n"), None);
        assert_eq!(target(""), None);
    }

    #[test]
    fn only_the_whole_token_counts() {
        let request = |line: &str| Request::parse(&format!("GET /ports HTTP/1.1\r\n{line}\r\n\r\n")).unwrap();
        assert!(request("authorization: Bearer secret").has_token("secret"));
        assert!(request("Proxy-Authorization:Bearer secret").has_token("secret"));
        for line in
            ["X: y", "Authorization: Bearer secre", "Authorization: Bearer secret2", "Authorization: secret"]
        {
            assert!(!request(line).has_token("secret"), "{line}");
        }
        assert!(!request("Authorization: Bearer ").has_token(""));
    }
}
