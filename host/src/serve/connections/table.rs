//! The table of a listener's connections: their number in total and by address, and the order in which they are closed to
//! make room.
//!
//! A connection counts for the address of its peer until a request with a valid key runs on it. Then it counts for the
//! tenant (see `open_requests`) and cannot be closed. If an address or the server has too many connections, the one that has
//! been without such a request for the longest time is closed. So a new connection is never the first to be closed.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;
use tokio::sync::oneshot;

use super::address::{ClientAddress, TrustedProxies};
use super::counters::{ConnectionCounters, Refusal};

/// The maximum number of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionsMax {
    /// In total.
    pub total: usize,
    /// Of one address, without a valid key.
    pub per_address: usize,
}

/// The connections of a listener. Clones share them.
#[derive(Debug, Clone)]
pub struct Connections(Arc<ConnectionsInner>);

#[derive(Debug)]
struct ConnectionsInner {
    max: ConnectionsMax,
    proxies: TrustedProxies,
    counters: ConnectionCounters,
    table: Mutex<ConnectionTable>,
}

/// A connection. Dropping it removes its entry.
#[derive(Debug)]
pub struct Connection {
    handle: ConnectionHandle,
    peer: IpAddr,
    /// Completes when the connection must close to make room.
    closed: Option<oneshot::Receiver<()>>,
}

/// The connection of a request, in the extensions of the request.
#[derive(Debug, Clone)]
pub struct ConnectionHandle {
    connections: Connections,
    id: u64,
}

/// A request that runs on a connection. It ends on drop.
#[derive(Debug)]
pub struct RunningRequest(ConnectionHandle);

/// The addresses that count as one: an IPv4 address, or an IPv6 network of 64 bits, which one subscriber has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct AddressBlock(IpAddr);

impl AddressBlock {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
            address => address,
        })
    }
}

#[derive(Debug, Default)]
struct ConnectionTable {
    entries: HashMap<u64, ConnectionEntry>,
    addresses: HashMap<AddressBlock, AddressConnections>,
    /// The connections without a request with a valid key, in the order in which they are closed.
    waiting: BTreeSet<ClosingOrder>,
    next: u64,
}

#[derive(Debug)]
struct ConnectionEntry {
    /// The block of the peer; `None` for a trusted proxy.
    peer: Option<AddressBlock>,
    /// The block for which the connection counts now.
    counts_for: Option<AddressBlock>,
    /// The position in the closing order; `None` while a request with a valid key runs.
    waits: Option<ClosingOrder>,
    /// Dropping it makes the connection close.
    _open: oneshot::Sender<()>,
}

/// The order in which connections are closed: a number that grows with time, and the id of the connection.
type ClosingOrder = (u64, u64);

#[derive(Debug, Default)]
struct AddressConnections {
    count: usize,
    waiting: BTreeSet<ClosingOrder>,
}

impl Connections {
    /// An empty table.
    #[must_use]
    pub fn new(max: ConnectionsMax, proxies: TrustedProxies, counters: ConnectionCounters) -> Self {
        Self(Arc::new(ConnectionsInner { max, proxies, counters, table: Mutex::default() }))
    }

    /// Adds a connection from `peer`. May close another connection without a request with a valid key.
    ///
    /// # Errors
    /// The reason why there is no room.
    pub fn admit(&self, peer: IpAddr) -> Result<Connection, Refusal> {
        let block = (!self.0.proxies.contains(peer)).then(|| AddressBlock::of(peer));
        let mut table = self.lock();
        if let Some(block) = block {
            while table.count(block) >= self.0.max.per_address {
                if !self.make_room(&mut table, Some(block)) {
                    return Err(Refusal::Address);
                }
            }
        }
        if table.entries.len() >= self.0.max.total && !self.make_room(&mut table, None) {
            return Err(Refusal::Full);
        }
        let (open, closed) = oneshot::channel();
        let id = table.insert(block, open);
        drop(table);
        self.0.counters.opened();
        Ok(Connection { handle: ConnectionHandle { connections: self.clone(), id }, peer, closed: Some(closed) })
    }

    /// Closes the first connection in the closing order, of `block` if given. Returns whether there was one.
    fn make_room(&self, table: &mut ConnectionTable, block: Option<AddressBlock>) -> bool {
        let waiting = match block {
            Some(block) => table.addresses.get(&block).and_then(|share| share.waiting.first()),
            None => table.waiting.first(),
        };
        let Some(&(_, id)) = waiting else { return false };
        table.remove(id);
        self.0.counters.closed();
        self.0.counters.refused(Refusal::MadeRoom);
        true
    }

    /// Closes a connection without a request with a valid key, if there is one.
    pub fn close_one(&self) {
        self.make_room(&mut self.lock(), None);
    }

    /// The number of connections.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().entries.len()
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionTable> {
        // No change of the table can panic half way.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Completes when the connection must close to make room. Only the first future does; later ones never complete.
    pub fn closed(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let closed = self.closed.take();
        async move {
            match closed {
                // The sender never sends; it is dropped.
                Some(closed) => drop(closed.await),
                None => std::future::pending().await,
            }
        }
    }

    /// Begins a request with these headers. Returns its client, the handle for its extensions, and a guard to keep until its
    /// answer is complete.
    ///
    /// # Errors
    /// `Refusal::Address` if the client's address has its maximum through trusted proxies, `Refusal::MadeRoom` if the
    /// connection must close.
    pub fn begin(&self, headers: &HeaderMap) -> Result<(ClientAddress, ConnectionHandle, RunningRequest), Refusal> {
        let client = self.handle.connections.0.proxies.client(self.peer, headers);
        let max = self.handle.connections.0.max.per_address;
        self.handle.connections.lock().begin(self.handle.id, AddressBlock::of(client.0), max)?;
        Ok((client, self.handle.clone(), RunningRequest(self.handle.clone())))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let connections = &self.handle.connections;
        if connections.lock().remove(self.handle.id) {
            connections.0.counters.closed();
        }
    }
}

impl ConnectionHandle {
    /// The request has a valid key: its connection counts for its tenant and no longer for its address.
    pub fn has_valid_key(&self) {
        let mut table = self.connections.lock();
        table.discount(self.id);
        table.protect(self.id);
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.0.connections.lock().end(self.0.id);
    }
}

impl ConnectionTable {
    fn count(&self, block: AddressBlock) -> usize {
        self.addresses.get(&block).map_or(0, |share| share.count)
    }

    fn insert(&mut self, peer: Option<AddressBlock>, open: oneshot::Sender<()>) -> u64 {
        self.next += 1;
        let id = self.next;
        self.entries.insert(id, ConnectionEntry { peer, counts_for: None, waits: None, _open: open });
        self.wait(id);
        id
    }

    /// A request of a client in the block `client` begins.
    fn begin(&mut self, id: u64, client: AddressBlock, per_address: usize) -> Result<(), Refusal> {
        let Some(entry) = self.entries.get(&id) else { return Err(Refusal::MadeRoom) };
        if entry.peer.is_none() && self.count(client) >= per_address {
            return Err(Refusal::Address);
        }
        if entry.counts_for.is_none() {
            self.count_for(id, client);
        }
        Ok(())
    }

    /// The request has ended. If it had no valid key, its connection keeps its position in the closing order.
    fn end(&mut self, id: u64) {
        let Some(entry) = self.entries.get(&id) else { return };
        let (is_proxy, had_key) = (entry.peer.is_none(), entry.waits.is_none());
        if is_proxy {
            self.discount(id);
        }
        if had_key {
            self.wait(id);
        }
    }

    /// The connection has no request with a valid key: puts it at the end of the closing order.
    fn wait(&mut self, id: u64) {
        self.next += 1;
        let since = self.next;
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let waiting = (since, id);
        entry.waits = Some(waiting);
        self.waiting.insert(waiting);
        if let Some(block) = entry.peer {
            self.count_for(id, block);
            self.addresses.entry(block).or_default().waiting.insert(waiting);
        }
    }

    /// A request with a valid key runs: removes the connection from the closing order.
    fn protect(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(waiting) = entry.waits.take() else { return };
        self.waiting.remove(&waiting);
        if let Some(share) = entry.peer.and_then(|block| self.addresses.get_mut(&block)) {
            share.waiting.remove(&waiting);
        }
    }

    fn count_for(&mut self, id: u64, block: AddressBlock) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.counts_for = Some(block);
        self.addresses.entry(block).or_default().count += 1;
    }

    fn discount(&mut self, id: u64) {
        let Some(block) = self.entries.get_mut(&id).and_then(|entry| entry.counts_for.take()) else { return };
        let Some(share) = self.addresses.get_mut(&block) else { return };
        share.count = share.count.saturating_sub(1);
        if share.count == 0 {
            self.addresses.remove(&block);
        }
    }

    /// Removes a connection. Returns whether it was there.
    fn remove(&mut self, id: u64) -> bool {
        self.protect(id);
        self.discount(id);
        self.entries.remove(&id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn table(total: usize, per_address: usize, proxies: &[&str]) -> Connections {
        let proxies = proxies.iter().map(|network| network.parse().expect("a network")).collect();
        let max = ConnectionsMax { total, per_address };
        Connections::new(max, TrustedProxies::new(proxies), ConnectionCounters::default())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn is_closed(connection: &mut Connection) -> bool {
        let closed = connection.closed.as_mut().expect("not taken");
        !matches!(closed.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }

    /// Begins a request on the connection, with a valid key if `has_key`.
    fn request(connection: &Connection, has_key: bool) -> RunningRequest {
        let (_, handle, running) = connection.begin(&HeaderMap::new()).expect("a request");
        if has_key {
            handle.has_valid_key();
        }
        running
    }

    #[test]
    fn the_connection_that_is_idle_for_longest_is_closed_to_make_room() {
        let all = table(3, 3, &[]);
        let mut held: Vec<Connection> = (1..=3).map(|n| all.admit(ip(&format!("10.0.0.{n}"))).expect("room")).collect();
        let busy = request(&held[0], true);
        let fourth = all.admit(ip("10.0.0.4")).expect("the second makes room");
        assert_eq!(held.iter_mut().map(is_closed).collect::<Vec<_>>(), [false, true, false]);
        assert!(held[1].begin(&HeaderMap::new()).is_err(), "a connection that must close answers nothing");
        drop(busy);
        let _fifth = all.admit(ip("10.0.0.5")).expect("the third waits for longest");
        assert_eq!(held.iter_mut().map(is_closed).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(all.count(), 3);
        drop((held, fourth));
        assert_eq!(all.count(), 1);
    }

    #[test]
    fn there_is_no_room_if_all_connections_have_requests() {
        let all = table(2, 2, &[]);
        let held: Vec<Connection> = (1..=2).map(|n| all.admit(ip(&format!("10.0.0.{n}"))).expect("room")).collect();
        let _busy: Vec<RunningRequest> = held.iter().map(|connection| request(connection, true)).collect();
        assert_eq!(all.admit(ip("10.0.0.3")).err(), Some(Refusal::Full));
    }

    #[test]
    fn an_address_closes_only_its_own_connections_beyond_its_maximum() {
        let all = table(10, 2, &[]);
        let mut other = all.admit(ip("10.0.0.9")).expect("room");
        let mut held: Vec<Connection> = (0..2).map(|_| all.admit(ip("::ffff:10.0.0.1")).expect("room")).collect();
        let _unknown: Vec<RunningRequest> = held.iter().map(|connection| request(connection, false)).collect();
        let _more = all.admit(ip("10.0.0.1")).expect("one of its own makes room");
        assert_eq!(
            held.iter_mut().map(is_closed).collect::<Vec<_>>(),
            [true, false],
            "also one with a request without a key"
        );
        assert!(!is_closed(&mut other));
        assert_eq!(all.count(), 3);
    }

    #[test]
    fn an_ipv6_network_of_64_bits_counts_as_one_address() {
        let all = table(10, 1, &[]);
        let mut first = all.admit(ip("2001:db8:0:1::1")).expect("room");
        let _other = all.admit(ip("2001:db8:0:2::1")).expect("another network");
        assert!(!is_closed(&mut first));
        let _neighbour = all.admit(ip("2001:db8:0:1:ffff::2")).expect("the first makes room");
        assert!(is_closed(&mut first));
    }

    #[test]
    fn a_request_with_a_valid_key_does_not_count_for_its_address() {
        let all = table(10, 4, &[]);
        let held: Vec<Connection> = (0..2).map(|_| all.admit(ip("10.0.0.1")).expect("room")).collect();
        let busy: Vec<RunningRequest> = held.iter().map(|connection| request(connection, true)).collect();
        let mut without_key: Vec<Connection> = (0..4).map(|_| all.admit(ip("10.0.0.1")).expect("room")).collect();
        drop(busy);
        let mut held = held;
        let _more = all.admit(ip("10.0.0.1")).expect("a connection without a key makes room");
        assert!(is_closed(&mut without_key[0]), "the one that is idle for longest");
        assert!(!held.iter_mut().any(is_closed));
    }

    /// Otherwise a client with a key could keep all connections idle, and each new connection of others would be closed.
    #[test]
    fn a_new_connection_is_not_closed_before_idle_ones_that_had_a_valid_key() {
        let all = table(4, 4, &[]);
        let held: Vec<Connection> = (0..4).map(|_| all.admit(ip("10.0.0.1")).expect("room")).collect();
        held.iter().for_each(|connection| drop(request(connection, true)));
        let mut fresh = all.admit(ip("10.0.0.2")).expect("an idle one makes room");
        let _more: Vec<Connection> = (0..3).map(|_| all.admit(ip("10.0.0.1")).expect("idle ones make room")).collect();
        assert!(!is_closed(&mut fresh));
    }

    #[test]
    fn the_maximum_by_address_applies_to_the_clients_of_a_trusted_proxy() {
        let all = table(10, 1, &["127.0.0.1"]);
        let held: Vec<Connection> = (0..3).map(|_| all.admit(ip("127.0.0.1")).expect("a proxy")).collect();
        let from = |client: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_static(client));
            headers
        };
        let (client, _, first) = held[0].begin(&from("198.51.100.1")).expect("its first");
        assert_eq!(client.0, ip("198.51.100.1"));
        assert_eq!(held[1].begin(&from("198.51.100.1")).map(drop).expect_err("its second"), Refusal::Address);
        let (_, handle, _second) = held[1].begin(&from("198.51.100.2")).expect("another client");
        handle.has_valid_key();
        let _third = held[2].begin(&from("198.51.100.2")).expect("the other request has a valid key");
        drop(first);
        let _again = held[0].begin(&from("198.51.100.1")).expect("released");
    }

    #[test]
    fn a_closed_connection_leaves_no_entry() {
        let all = table(10, 5, &["127.0.0.1"]);
        for peer in ["10.0.0.1", "::1", "127.0.0.1"] {
            let connection = all.admit(ip(peer)).expect("room");
            drop(request(&connection, false));
            let running = request(&connection, true);
            drop(connection);
            drop(running);
        }
        let table = all.lock();
        assert!(table.entries.is_empty() && table.addresses.is_empty() && table.waiting.is_empty(), "{table:?}");
    }
}
