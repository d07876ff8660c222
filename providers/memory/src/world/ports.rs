//! Which port belongs to which cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use windlass_provider::Token;

use super::WorldError;

/// The ports of one world. A port stays its cluster's until the cluster is deleted.
#[derive(Debug)]
pub struct Ports {
    range: RangeInclusive<u16>,
    /// Whether ports are real: in a simulation nothing listens.
    listen: bool,
    taken: BTreeSet<u16>,
    /// Ports proposed to clusters that do not exist yet; forgotten with the process.
    proposed: BTreeMap<Token, Held>,
}

/// A port that is kept for somebody, with the socket that keeps it.
#[derive(Debug)]
pub struct Held {
    /// Its number.
    pub port: u16,
    /// The socket; `None` where ports are not real, or somebody else has it.
    pub socket: Option<TcpListener>,
}

impl Ports {
    /// No port is taken.
    pub fn new(range: RangeInclusive<u16>, listen: bool) -> Self {
        Self { range, listen, taken: BTreeSet::new(), proposed: BTreeMap::new() }
    }

    /// Gives a cluster the port it had before. Another program may have it meanwhile: then there is no
    /// socket yet.
    pub fn restore(&mut self, port: u16) -> Held {
        self.taken.insert(port);
        Held { port, socket: self.bind(port).ok().flatten() }
    }

    /// Proposes a port to a cluster to come, the same one every time.
    ///
    /// # Errors
    /// [`WorldError::NoPort`] where all are taken.
    pub fn propose(&mut self, token: &Token) -> Result<u16, WorldError> {
        if let Some(held) = self.proposed.get(token) {
            return Ok(held.port);
        }
        let held = self.next()?;
        let port = held.port;
        self.proposed.insert(token.clone(), held);
        Ok(port)
    }

    /// Gives a port to a cluster: the wished one where it is free, else the next free one.
    ///
    /// # Errors
    /// [`WorldError::NoPort`] where all are taken.
    pub fn take(&mut self, token: &Token, wish: Option<u16>) -> Result<Held, WorldError> {
        let proposed = self.proposed.remove(token);
        let held = match (wish, proposed) {
            (Some(port), Some(held)) if held.port == port => held,
            (Some(port), _) if self.is_free(port) => match self.bind(port) {
                Ok(socket) => Held { port, socket },
                Err(_) => self.next()?,
            },
            (None, Some(held)) => held,
            (Some(_) | None, _) => self.next()?,
        };
        self.taken.insert(held.port);
        Ok(held)
    }

    /// Frees the port of a deleted cluster.
    pub fn free(&mut self, port: u16) {
        self.taken.remove(&port);
    }

    /// The wish for a port was given up.
    pub fn withdraw(&mut self, token: &Token) {
        self.proposed.remove(token);
    }

    fn is_free(&self, port: u16) -> bool {
        !self.taken.contains(&port) && !self.proposed.values().any(|held| held.port == port)
    }

    /// The first free port of the range that can be bound.
    fn next(&self) -> Result<Held, WorldError> {
        self.range
            .clone()
            .filter(|port| self.is_free(*port))
            .find_map(|port| Some(Held { port, socket: self.bind(port).ok()? }))
            .ok_or_else(|| WorldError::NoPort { first: *self.range.start(), last: *self.range.end() })
    }

    /// A listening socket on a port of the loopback interface.
    fn bind(&self, port: u16) -> std::io::Result<Option<TcpListener>> {
        if !self.listen {
            return Ok(None);
        }
        let socket = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        socket.set_nonblocking(true)?;
        Ok(Some(socket))
    }
}

#[cfg(test)]
mod tests {
    use windlass_model::Uid;

    use super::*;

    fn token(name: &str) -> Token {
        Token::of(&Uid::from(name))
    }

    #[test]
    fn ports_are_given_in_order_kept_and_given_back() {
        let mut ports = Ports::new(20_000..=20_002, false);
        assert_eq!(ports.propose(&token("a")).unwrap(), 20_000);
        assert_eq!(ports.propose(&token("a")).unwrap(), 20_000, "the same one again");
        assert_eq!(ports.take(&token("b"), None).unwrap().port, 20_001, "20000 is proposed to another");
        assert_eq!(ports.take(&token("c"), Some(20_000)).unwrap().port, 20_002, "a wish is not a right");
        assert_eq!(ports.take(&token("a"), Some(20_000)).unwrap().port, 20_000);
        assert!(ports.take(&token("d"), None).is_err(), "all are taken");
        ports.free(20_001);
        assert_eq!(ports.take(&token("d"), None).unwrap().port, 20_001);
    }

    #[test]
    fn a_wish_outside_the_range_is_fulfilled_if_it_is_free() {
        let mut ports = Ports::new(20_000..=20_002, false);
        assert_eq!(ports.take(&token("a"), Some(6443)).unwrap().port, 6443);
        assert_eq!(ports.take(&token("b"), Some(6443)).unwrap().port, 20_000);
    }

    #[test]
    fn ports_of_other_programs_are_skipped() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let mut ports = Ports::new(port..=port, true);
        assert!(ports.propose(&token("a")).is_err());
        drop(other);
        assert_eq!(ports.propose(&token("a")).unwrap(), port);
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err(), "a proposed port is held");
    }
}
