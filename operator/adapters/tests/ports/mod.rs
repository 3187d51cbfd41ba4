//! Ports of 127.0.0.1 for the servers of a test.

use std::net::{TcpListener, UdpSocket};
use std::sync::Mutex;

/// Ports below those that connections are made from (32768 on, by the kernel's default): one of those that was free a moment
/// ago may be somebody's when a server wants it.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A TCP port that nobody else who asks here is given while this process runs.
///
/// Taken means: the UDP port of the same number is bound, which no server of a test needs. That holds between processes, and
/// ends with this one however it ends.
pub(crate) fn free_port() -> u16 {
    static TAKEN: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let first = PORTS.start + (std::process::id() % u32::from(PORTS.end - PORTS.start)) as u16;
    for port in (first..PORTS.end).chain(PORTS.start..first) {
        let Ok(taken) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            TAKEN.lock().unwrap().push(taken);
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}
