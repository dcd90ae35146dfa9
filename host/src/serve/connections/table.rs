//! Every connection of a listener: how many there are, in all and of one address, and which of them make room for others.
//!
//! A connection counts for the address of its peer until its request shows a good key; while that request runs it counts
//! for the tenant (see `tenants`), and only then it is safe. Where an address or the server has too many connections, the one
//! that is without such a request for longest is closed. One that was just accepted is never the first, whatever keys others have.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;
use tokio::sync::oneshot;

use super::address::{ClientAddress, TrustedProxies};
use super::counters::{ConnectionCounters, Refusal};

/// How many connections there may be at a time.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionsMax {
    /// In all.
    pub total: usize,
    /// Of one address, without a good key.
    pub per_address: usize,
}

/// The connections of a listener. Cheap to clone: clones share them.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: ConnectionsMax,
    proxies: TrustedProxies,
    counters: ConnectionCounters,
    table: Mutex<Table>,
}

/// One connection. It leaves the table when this is dropped.
#[derive(Debug)]
pub struct Connection {
    handle: RequestHandle,
    peer: IpAddr,
    /// Ends when the connection has to make room.
    closed: Option<oneshot::Receiver<()>>,
}

/// The connection that carries a request, in the extensions of the request.
#[derive(Debug, Clone)]
pub struct RequestHandle {
    connections: Connections,
    id: u64,
}

/// A request that runs on a connection until this is dropped.
#[derive(Debug)]
pub struct RunningRequest(RequestHandle);

/// What counts as one address: of IPv6 the first 64 bits, which one subscriber has.
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
struct Table {
    entries: HashMap<u64, Entry>,
    addresses: HashMap<AddressBlock, Share>,
    /// Connections without a request that showed a good key, those to close first in front.
    waiting: BTreeSet<Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    /// The block of the peer; none for a trusted proxy.
    peer: Option<AddressBlock>,
    /// The block it counts for now.
    counts_for: Option<AddressBlock>,
    /// Its position among the waiting, where it has no request that showed a good key.
    waits: Option<Waiting>,
    /// Tells the connection to close when it is dropped.
    _open: oneshot::Sender<()>,
}

/// Since when it waits, and its id: the order in which connections are closed.
type Waiting = (u64, u64);

#[derive(Debug, Default)]
struct Share {
    count: usize,
    waiting: BTreeSet<Waiting>,
}

impl Connections {
    /// An empty table.
    #[must_use]
    pub fn new(max: ConnectionsMax, proxies: TrustedProxies, counters: ConnectionCounters) -> Self {
        Self(Arc::new(Shared { max, proxies, counters, table: Mutex::default() }))
    }

    /// Takes a connection from `peer` in; another one that carries no request with a good key may be closed for it.
    ///
    /// # Errors
    /// Why there is no room.
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
        Ok(Connection { handle: RequestHandle { connections: self.clone(), id }, peer, closed: Some(closed) })
    }

    /// Closes the connection that is first to close, of `block` alone if there is one. Whether there was any.
    fn make_room(&self, table: &mut Table, block: Option<AddressBlock>) -> bool {
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

    /// Closes one connection that carries no request with a good key, where there is one.
    pub fn close_one(&self) {
        self.make_room(&mut self.lock(), None);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().entries.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No step of the table can fail half way.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Ends when the connection has to make room for another one. Only the first of these futures does.
    pub fn closed(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let closed = self.closed.take();
        async move {
            match closed {
                // The sender is dropped, and never sends.
                Some(closed) => drop(closed.await),
                None => std::future::pending().await,
            }
        }
    }

    /// A request with `headers` begins; who its client is, and what to keep until its answer is complete.
    ///
    /// # Errors
    /// Why the request is refused: its client's address has all it may have through trusted proxies, or the connection has
    /// to make room.
    pub fn begin(&self, headers: &HeaderMap) -> Result<(ClientAddress, RequestHandle, RunningRequest), Refusal> {
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

impl RequestHandle {
    /// The request showed a good key: it counts for its tenant and no longer for its address.
    pub fn known(&self) {
        let mut table = self.connections.lock();
        table.discount(self.id);
        table.work(self.id);
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.0.connections.lock().end(self.0.id);
    }
}

impl Table {
    fn count(&self, block: AddressBlock) -> usize {
        self.addresses.get(&block).map_or(0, |share| share.count)
    }

    fn insert(&mut self, peer: Option<AddressBlock>, open: oneshot::Sender<()>) -> u64 {
        self.next += 1;
        let id = self.next;
        self.entries.insert(id, Entry { peer, counts_for: None, waits: None, _open: open });
        self.wait(id);
        id
    }

    /// The connection carries a request of a client in `client`.
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

    /// The request has been answered. One without a good key leaves its connection where it was.
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

    /// The connection carries no request with a good key.
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

    /// The connection carries a request with a good key, and cannot be closed to make room.
    fn work(&mut self, id: u64) {
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

    /// Whether it was there.
    fn remove(&mut self, id: u64) -> bool {
        self.work(id);
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
        let closed = connection.closed.as_mut().expect("nobody took it");
        !matches!(closed.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }

    /// Makes the connection carry a request, with a good key if it is `known`.
    fn ask(connection: &Connection, known: bool) -> RunningRequest {
        let (_, handle, running) = connection.begin(&HeaderMap::new()).expect("a request");
        if known {
            handle.known();
        }
        running
    }

    #[test]
    fn the_connection_without_a_request_for_longest_makes_room() {
        let all = table(3, 3, &[]);
        let mut held: Vec<Connection> = (1..=3).map(|n| all.admit(ip(&format!("10.0.0.{n}"))).expect("room")).collect();
        let busy = ask(&held[0], true);
        let fourth = all.admit(ip("10.0.0.4")).expect("the second makes room");
        assert_eq!(held.iter_mut().map(is_closed).collect::<Vec<_>>(), [false, true, false]);
        assert!(held[1].begin(&HeaderMap::new()).is_err(), "what has to make room answers nothing");
        drop(busy);
        let _fifth = all.admit(ip("10.0.0.5")).expect("the third waits for longest");
        assert_eq!(held.iter_mut().map(is_closed).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(all.count(), 3);
        drop((held, fourth));
        assert_eq!(all.count(), 1);
    }

    #[test]
    fn where_all_carry_requests_there_is_no_room() {
        let all = table(2, 2, &[]);
        let held: Vec<Connection> = (1..=2).map(|n| all.admit(ip(&format!("10.0.0.{n}"))).expect("room")).collect();
        let _busy: Vec<RunningRequest> = held.iter().map(|connection| ask(connection, true)).collect();
        assert_eq!(all.admit(ip("10.0.0.3")).err(), Some(Refusal::Full));
    }

    #[test]
    fn an_address_has_its_share_and_takes_from_nobody_else() {
        let all = table(10, 2, &[]);
        let mut other = all.admit(ip("10.0.0.9")).expect("room");
        let mut held: Vec<Connection> = (0..2).map(|_| all.admit(ip("::ffff:10.0.0.1")).expect("room")).collect();
        let _unknown: Vec<RunningRequest> = held.iter().map(|connection| ask(connection, false)).collect();
        let _more = all.admit(ip("10.0.0.1")).expect("one of its own makes room");
        assert_eq!(held.iter_mut().map(is_closed).collect::<Vec<_>>(), [true, false], "also with a request of nobody");
        assert!(!is_closed(&mut other));
        assert_eq!(all.count(), 3);
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let all = table(10, 1, &[]);
        let mut first = all.admit(ip("2001:db8:0:1::1")).expect("room");
        let _other = all.admit(ip("2001:db8:0:2::1")).expect("another network");
        assert!(!is_closed(&mut first));
        let _neighbour = all.admit(ip("2001:db8:0:1:ffff::2")).expect("the first makes room");
        assert!(is_closed(&mut first));
    }

    #[test]
    fn a_request_with_a_good_key_does_not_count_for_its_address() {
        let all = table(10, 4, &[]);
        let held: Vec<Connection> = (0..2).map(|_| all.admit(ip("10.0.0.1")).expect("room")).collect();
        let busy: Vec<RunningRequest> = held.iter().map(|connection| ask(connection, true)).collect();
        let mut strangers: Vec<Connection> = (0..4).map(|_| all.admit(ip("10.0.0.1")).expect("room")).collect();
        drop(busy);
        let mut held = held;
        let _more = all.admit(ip("10.0.0.1")).expect("a stranger makes room");
        assert!(is_closed(&mut strangers[0]), "the one that waits for longest");
        assert!(!held.iter_mut().any(is_closed));
    }

    /// A key opens no way to hold all connections idle, and to close every new one of others with the next.
    #[test]
    fn a_connection_that_was_just_accepted_stays_whatever_keys_others_showed() {
        let all = table(4, 4, &[]);
        let held: Vec<Connection> = (0..4).map(|_| all.admit(ip("10.0.0.1")).expect("room")).collect();
        held.iter().for_each(|connection| drop(ask(connection, true)));
        let mut fresh = all.admit(ip("10.0.0.2")).expect("an idle one makes room");
        let _more: Vec<Connection> = (0..3).map(|_| all.admit(ip("10.0.0.1")).expect("idle ones make room")).collect();
        assert!(!is_closed(&mut fresh));
    }

    #[test]
    fn a_trusted_proxy_has_no_share_and_its_clients_have_one_each() {
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
        handle.known();
        let _third = held[2].begin(&from("198.51.100.2")).expect("the other request showed a good key");
        drop(first);
        let _again = held[0].begin(&from("198.51.100.1")).expect("given back");
    }

    #[test]
    fn nothing_stays_of_what_has_gone() {
        let all = table(10, 5, &["127.0.0.1"]);
        for peer in ["10.0.0.1", "::1", "127.0.0.1"] {
            let connection = all.admit(ip(peer)).expect("room");
            drop(ask(&connection, false));
            let running = ask(&connection, true);
            drop(connection);
            drop(running);
        }
        let table = all.lock();
        assert!(table.entries.is_empty() && table.addresses.is_empty() && table.waiting.is_empty(), "{table:?}");
    }
}
