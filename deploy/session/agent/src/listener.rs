//! Sockets that listen, from `/proc/net/tcp` and `/proc/net/tcp6`.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

const BUFFER_BYTES: usize = 512;

/// A TCP socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// The address that it is bound to.
    pub address: IpAddr,
    /// The socket's inode, by which its process is found. No two sockets have the same one at a time.
    pub inode: u64,
}

/// Returns the sockets that listen in this network namespace, in order.
#[must_use]
pub fn listeners() -> Vec<Listener> {
    let mut all: Vec<Listener> = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().flat_map(read).collect();
    all.sort_unstable();
    all
}

/// Reads the sockets that listen, which come first in the table. The rest is not read: on a busy machine it
/// takes the kernel tens of milliseconds.
fn read(path: &str) -> Vec<Listener> {
    let Ok(file) = fs::File::open(path) else { return Vec::new() };
    // The kernel makes no more lines than fit.
    let lines = BufReader::with_capacity(BUFFER_BYTES, file).lines().map_while(Result::ok);
    lines.skip(1).map_while(|line| parse(&line)).collect()
}

/// Parses a line of the table: `sl local_address rem_address st … uid timeout inode …`, addresses as
/// hexadecimal words in the machine's byte order.
fn parse(line: &str) -> Option<Listener> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    let words: Vec<[u8; 4]> = address
        .as_bytes()
        .chunks(8)
        .map(|word| {
            let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
            Some(word.to_ne_bytes())
        })
        .collect::<Option<_>>()?;
    let address = match *words.as_slice() {
        [word] => Ipv4Addr::from(word).into(),
        [a, b, c, d] => {
            let mut bytes = [0; 16];
            for (target, word) in bytes.chunks_mut(4).zip([a, b, c, d]) {
                target.copy_from_slice(&word);
            }
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(Listener { port: u16::from_str_radix(port, 16).ok()?, address, inode })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_the_table_is_parsed() {
        let four = "   0: 0100007F:1435 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 \
                    12345 1 0000000000000000 100 0 0 10 0";
        let listener = parse(four).unwrap();
        assert_eq!(listener, Listener { port: 5173, address: Ipv4Addr::LOCALHOST.into(), inode: 12345 });
        let six = "   1: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A \
                   00000000:00000000 00:00000000 00000000  1000        0 77 1 0000000000000000 100 0 0 10 0";
        assert_eq!(
            parse(six).unwrap(),
            Listener { port: 8080, address: Ipv6Addr::LOCALHOST.into(), inode: 77 }
        );
        let connected = four.replace(" 0A ", " 01 ");
        let heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        assert_eq!((parse(&connected), parse(heading), parse("")), (None, None, None));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_socket_that_listens_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = TcpListener::bind(address) else { continue };
            let address = socket.local_addr().unwrap();
            let found = listeners();
            let found = found.iter().find(|found| found.port == address.port()).unwrap();
            assert_eq!(found.address, address.ip());
            assert!(crate::socket_inodes(std::process::id()).contains(&found.inode));
        }
    }
}
