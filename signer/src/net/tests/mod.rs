//! Real TLS on loopback: who gets in, what arrives, what is dropped.

mod fixtures;
mod handshake;
mod hostile_peer;
mod protocol;
mod requests;
mod transport;
