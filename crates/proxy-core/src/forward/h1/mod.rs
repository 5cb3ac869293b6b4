//! HTTP/1.1 towards a session (RFC 9112): how requests are written and responses are read.
//!
//! `encode`, `head`, `chunked` and `body` are pure: bytes in, bytes out. `receive` and `send` move bytes, and
//! `connection` puts all of it together. A connection keeps no buffer while nothing is under way on it.

mod body;
mod chunked;
mod connection;
#[cfg(test)]
mod differential_cases;
#[cfg(test)]
mod differential_tests;
mod encode;
mod error;
mod head;
mod receive;
mod send;

pub(super) use self::{
    connection::Connection,
    error::{Error, SendError},
};
