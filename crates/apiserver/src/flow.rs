//! Who may start next: fair queues in front of a few seats.
//!
//! Requests over sockets take a seat while they are worked on. There are three
//! sorts of seats, so that one sort cannot keep out another: writes and reads
//! as many as kube-apiserver's in-flight limits, lists only as many as there
//! are cores to spare, since a list keeps a core busy while it lasts. Where no
//! seat is free, requests wait in a queue of their user, and the next seat goes
//! to the user with the fewest: whoever asks for much waits behind itself.
//!
//! [`Fair`] only decides; [`Gate`] makes requests wait for its decisions.
//! Watches and other streams that last are not counted, nor are the requests of
//! this process's own controllers, which limit themselves.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Uri};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::status::ApiError;

/// How long a request waits for a seat before it is turned away.
const WAIT: Duration = Duration::from_secs(15);

/// How many requests may be worked on and wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests under way at a time.
    pub seats: usize,
    /// Requests of one user that wait.
    pub waiting_per_user: usize,
    /// Requests of all users that wait.
    pub waiting: usize,
}

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It starts.
    Start,
    /// It waits.
    Wait(Ticket),
    /// Too many wait already.
    Refuse,
}

#[derive(Debug, Default)]
struct Queue {
    running: usize,
    /// When the user last got a seat, counted in seats given.
    served: u64,
    waiting: VecDeque<Ticket>,
}

/// Decides which request starts next.
#[derive(Debug)]
pub struct Fair {
    limits: Limits,
    running: usize,
    waiting: usize,
    tickets: u64,
    seats_given: u64,
    users: HashMap<Arc<str>, Queue>,
    /// Users who wait, those with the fewest seats first, then those who have
    /// waited for one longest.
    order: BTreeSet<(usize, u64, Arc<str>)>,
}

impl Fair {
    /// Nobody runs, nobody waits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            running: 0,
            waiting: 0,
            tickets: 0,
            seats_given: 0,
            users: HashMap::new(),
            order: BTreeSet::new(),
        }
    }

    /// A request of `user` arrives.
    pub fn arrive(&mut self, user: &str) -> Arrival {
        if self.running < self.limits.seats {
            self.seat(user);
            return Arrival::Start;
        }
        let own = self.users.get(user).map_or(0, |queue| queue.waiting.len());
        if self.waiting >= self.limits.waiting || own >= self.limits.waiting_per_user {
            return Arrival::Refuse;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let name = self.name(user);
        let queue = self.users.entry(Arc::clone(&name)).or_default();
        queue.waiting.push_back(ticket);
        self.order.insert((queue.running, queue.served, name));
        self.waiting += 1;
        Arrival::Wait(ticket)
    }

    /// A request of `user` has ended; who starts in its place.
    pub fn finish(&mut self, user: &str) -> Option<(Arc<str>, Ticket)> {
        self.running = self.running.saturating_sub(1);
        if let Some((name, queue)) = self.users.get_key_value(user) {
            let name = Arc::clone(name);
            let listed = self.order.remove(&(queue.running, queue.served, Arc::clone(&name)));
            let queue = self.users.entry(Arc::clone(&name)).or_default();
            queue.running = queue.running.saturating_sub(1);
            if listed {
                self.order.insert((queue.running, queue.served, name));
            } else if queue.running == 0 {
                self.users.remove(&name);
            }
        }
        self.next()
    }

    /// A waiting request of `user` has gone away.
    pub fn give_up(&mut self, user: &str, ticket: Ticket) {
        let Some((name, queue)) = self.users.get_key_value(user) else { return };
        let (name, key) = (Arc::clone(name), (queue.running, queue.served));
        let Some(queue) = self.users.get_mut(&name) else { return };
        let before = queue.waiting.len();
        queue.waiting.retain(|waiting| *waiting != ticket);
        self.waiting -= before - queue.waiting.len();
        if queue.waiting.is_empty() {
            self.order.remove(&(key.0, key.1, Arc::clone(&name)));
            if queue.running == 0 {
                self.users.remove(&name);
            }
        }
    }

    /// Gives a free seat to a request that waits.
    fn next(&mut self) -> Option<(Arc<str>, Ticket)> {
        if self.running >= self.limits.seats {
            return None;
        }
        let (_, _, name) = self.order.pop_first()?;
        let ticket = self.users.get_mut(&name).and_then(|queue| queue.waiting.pop_front())?;
        self.waiting -= 1;
        self.seat(&name);
        if let Some(queue) = self.users.get(&name).filter(|queue| !queue.waiting.is_empty()) {
            self.order.insert((queue.running, queue.served, Arc::clone(&name)));
        }
        Some((name, ticket))
    }

    fn seat(&mut self, user: &str) {
        let name = self.name(user);
        self.running += 1;
        self.seats_given += 1;
        let queue = self.users.entry(name).or_default();
        queue.running += 1;
        queue.served = self.seats_given;
    }

    fn name(&self, user: &str) -> Arc<str> {
        self.users.get_key_value(user).map_or_else(|| Arc::from(user), |(name, _)| Arc::clone(name))
    }
}

/// What sort of seat a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reads a collection.
    List,
    /// Reads anything else.
    Read,
    /// Writes.
    Write,
    /// Lasts as long as its client wants.
    Endless,
}

impl Class {
    /// The sort of a request, told by its looks.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let path = Looks::of(uri.path());
        let reads = method == Method::GET || method == Method::HEAD;
        let watches = || path.watch || path.collection && watches(uri.query().unwrap_or_default());
        if path.lasting || (reads && watches()) {
            Self::Endless
        } else if !reads {
            Self::Write
        } else if path.collection {
            Self::List
        } else {
            Self::Read
        }
    }
}

/// What a path looks like: cheaper than `Route`, and no more is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Looks {
    /// One of the old paths of watches.
    watch: bool,
    /// Perhaps that of a collection.
    collection: bool,
    /// A subresource that is talked with for as long as its client wants.
    lasting: bool,
}

impl Looks {
    fn of(path: &str) -> Self {
        let mut parts = [""; 8];
        let mut count = 0;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let Some(place) = parts.get_mut(count) else { return Self::default() };
            *place = part;
            count += 1;
        }
        let (core, rest) = match parts.get(..count).unwrap_or_default() {
            ["api", _, rest @ ..] => (true, rest),
            ["apis", _, _, rest @ ..] => (false, rest),
            _ => return Self::default(),
        };
        let (watch, rest) = match rest {
            ["watch", watched @ ..] if !watched.is_empty() => (true, watched),
            _ => (false, rest),
        };
        let rest = match rest {
            ["namespaces", _, "status" | "finalize", ..] if core => rest,
            ["namespaces", _, inner @ ..] if !inner.is_empty() => inner,
            _ => rest,
        };
        let lasting = matches!(rest, [_, _, "portforward" | "exec" | "attach" | "log" | "proxy"]);
        Self { watch, collection: rest.len() == 1, lasting }
    }
}

/// Whether a query asks for a watch.
fn watches(query: &str) -> bool {
    query.split('&').any(|pair| match pair.split_once('=') {
        None => pair == "watch",
        Some((key, value)) => key == "watch" && crate::request::truthy(value),
    })
}

impl From<TooMany> for ApiError {
    fn from(TooMany: TooMany) -> Self {
        Self::too_many_requests()
    }
}

/// The gates of a server.
#[derive(Debug)]
pub struct Flow {
    lists: Arc<Gate>,
    reads: Arc<Gate>,
    writes: Arc<Gate>,
}

impl Flow {
    /// Gates for a machine with so many cores.
    pub fn new(cores: usize) -> Self {
        let gate = |seats, waiting_per_user| {
            Arc::new(Gate::new(Limits { seats, waiting_per_user, waiting: 8 * waiting_per_user }))
        };
        // kube-apiserver's defaults: 400 requests that read, 200 that write.
        Self {
            lists: gate(cores.saturating_sub(1).max(1), 256),
            reads: gate(400, 1024),
            writes: gate(200, 1024),
        }
    }

    /// Waits for a seat; none is needed for streams that last.
    ///
    /// # Errors
    /// When too many wait, or none was free for too long.
    pub async fn enter(&self, class: Class, user: &str) -> Result<Option<Seat>, TooMany> {
        let gate = match class {
            Class::List => &self.lists,
            Class::Read => &self.reads,
            Class::Write => &self.writes,
            Class::Endless => return Ok(None),
        };
        gate.enter(user).await.map(Some)
    }

    /// Works on a request in its seat, which is free again afterwards.
    pub async fn seated<T>(&self, class: Class, seat: Option<Seat>, work: impl Future<Output = T>) -> T {
        if class != Class::List {
            let _seat = seat;
            return work.await;
        }
        let aside = Arc::clone(&self.reads);
        LISTING.scope(Listing { seat: Mutex::new(seat), aside }, work).await
    }
}

/// A list that is worked on.
#[derive(Debug)]
struct Listing {
    seat: Mutex<Option<Seat>>,
    /// Where there are seats enough to wait in.
    aside: Arc<Gate>,
}

tokio::task_local! {
    static LISTING: Listing;
}

/// Waits for something that takes others, not this core: a revision to come, a
/// webhook to answer. A list gives up its seat meanwhile, since there are few,
/// and waits among the reads.
///
/// # Errors
/// Those of the wait; when there is no seat to wait in or to go on.
pub async fn standing<T, E: From<TooMany>>(wait: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let left = LISTING.try_with(|list| Some((list.seat.lock().take()?, Arc::clone(&list.aside))));
    let Some((seat, aside)) = left.ok().flatten() else { return wait.await };
    let (gate, user) = (Arc::clone(&seat.gate), Arc::clone(&seat.user));
    drop(seat);
    let beside = aside.enter(&user).await?;
    // An error takes no work.
    let come = wait.await?;
    drop(beside);
    let seat = gate.enter(&user).await?;
    LISTING.with(|list| *list.seat.lock() = Some(seat));
    Ok(come)
}

/// Too many requests are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// Makes requests wait for their seats.
#[derive(Debug)]
pub struct Gate(Mutex<Desk>);

#[derive(Debug)]
struct Desk {
    fair: Fair,
    calls: HashMap<Ticket, oneshot::Sender<()>>,
}

/// A seat; it is given up when dropped.
#[derive(Debug)]
pub struct Seat {
    gate: Arc<Gate>,
    user: Arc<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gate.release(&self.user);
    }
}

/// A place in a queue; it is given up when dropped.
struct Place<'a> {
    gate: &'a Gate,
    user: Arc<str>,
    ticket: Ticket,
    called: oneshot::Receiver<()>,
    seated: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.seated {
            return;
        }
        let mut desk = self.gate.0.lock();
        if desk.calls.remove(&self.ticket).is_some() {
            desk.fair.give_up(&self.user, self.ticket);
        } else {
            // It was called in the same moment: the seat goes on to the next.
            drop(desk);
            self.gate.release(&self.user);
        }
    }
}

impl Gate {
    /// A gate with all seats free.
    pub fn new(limits: Limits) -> Self {
        Self(Mutex::new(Desk { fair: Fair::new(limits), calls: HashMap::new() }))
    }

    /// Waits for a seat.
    ///
    /// # Errors
    /// When too many wait, or none was free for too long.
    pub async fn enter(self: &Arc<Self>, user: &str) -> Result<Seat, TooMany> {
        let user: Arc<str> = Arc::from(user);
        let mut place = {
            let mut desk = self.0.lock();
            match desk.fair.arrive(&user) {
                Arrival::Start => return Ok(Seat { gate: Arc::clone(self), user }),
                Arrival::Refuse => return Err(TooMany),
                Arrival::Wait(ticket) => {
                    let (call, called) = oneshot::channel();
                    desk.calls.insert(ticket, call);
                    Place { gate: self, user: Arc::clone(&user), ticket, called, seated: false }
                }
            }
        };
        match tokio::time::timeout(WAIT, &mut place.called).await {
            Ok(Ok(())) => {
                place.seated = true;
                Ok(Seat { gate: Arc::clone(self), user })
            }
            Ok(Err(_)) | Err(_) => Err(TooMany),
        }
    }

    fn release(&self, user: &str) {
        let mut desk = self.0.lock();
        let mut ended = Arc::<str>::from(user);
        // Who is called and has just gone away has left the seat.
        while let Some((next, ticket)) = desk.fair.finish(&ended) {
            let Some(call) = desk.calls.remove(&ticket) else { return };
            if call.send(()).is_ok() {
                return;
            }
            ended = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { seats: 2, waiting_per_user: 3, waiting: 5 };

    /// Plays `a` (arrives) and `a.` (one of a's ends); shows what happened.
    fn play(fair: &mut Fair, script: &str) -> String {
        let mut out = Vec::new();
        for word in script.split(' ') {
            match word.strip_suffix('.') {
                Some(user) => match fair.finish(user) {
                    Some((next, Ticket(number))) => out.push(format!("{next}{number}")),
                    None => out.push("-".to_owned()),
                },
                None => out.push(match fair.arrive(word) {
                    Arrival::Start => "start".to_owned(),
                    Arrival::Wait(Ticket(number)) => format!("#{number}"),
                    Arrival::Refuse => "no".to_owned(),
                }),
            }
        }
        out.join(" ")
    }

    #[test]
    fn the_user_with_the_fewest_seats_is_next() {
        for (script, expected) in [
            ("a a a a b a. b.", "start start #1 #2 #3 b3 a1"),
            ("a a b c a. a.", "start start #1 #2 b1 c2"),
            ("a b a b a. b.", "start start #1 #2 a1 b2"),
            ("a a a a a a b b b b", "start start #1 #2 #3 no #4 #5 no no"),
            ("a a. a. b", "start - - start"),
        ] {
            assert_eq!(play(&mut Fair::new(LIMITS), script), expected, "{script}");
        }
    }

    #[test]
    fn nothing_is_left_of_those_who_have_gone() {
        let mut fair = Fair::new(LIMITS);
        play(&mut fair, "a b c d");
        fair.give_up("c", Ticket(1));
        assert_eq!(play(&mut fair, "a. b. d."), "d2 - -");
        assert!(fair.users.is_empty() && fair.order.is_empty());
        assert_eq!((fair.running, fair.waiting), (0, 0));
    }

    #[test]
    fn a_quiet_client_waits_for_one_request_at_most() {
        // A noisy client keeps all seats and its queue full, each of its requests
        // lasting ten ticks; a quiet one asks every seventh tick.
        let mut fair = Fair::new(Limits { seats: 4, waiting_per_user: 100, waiting: 1000 });
        let mut running: Vec<(u64, Arc<str>)> = Vec::new();
        let mut asked: HashMap<Ticket, u64> = HashMap::new();
        let mut waits = Vec::new();
        for now in 0..10_000_u64 {
            let (ended, going): (Vec<_>, Vec<_>) = running.into_iter().partition(|(until, _)| *until <= now);
            running = going;
            for (_, user) in ended {
                if let Some((next, ticket)) = fair.finish(&user) {
                    waits.extend(asked.remove(&ticket).map(|since| now - since));
                    running.push((now + 10, next));
                }
            }
            while fair.users.get("noisy").is_none_or(|queue| queue.waiting.len() < 100) {
                if fair.arrive("noisy") == Arrival::Start {
                    running.push((now + 10, Arc::from("noisy")));
                }
            }
            if now % 7 == 0 {
                match fair.arrive("quiet") {
                    Arrival::Start => running.push((now + 10, Arc::from("quiet"))),
                    Arrival::Wait(ticket) => {
                        asked.insert(ticket, now);
                    }
                    Arrival::Refuse => panic!("the quiet client was refused"),
                }
            }
        }
        waits.sort_unstable();
        let p99 = waits[waits.len() * 99 / 100];
        assert!(waits.len() > 1000 && p99 <= 10, "p99 {p99} of {}", waits.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_calls_in_turn_and_turns_away_late() {
        let gate = Arc::new(Gate::new(Limits { seats: 1, waiting_per_user: 1, waiting: 10 }));
        let first = gate.enter("a").await.unwrap();
        let other = Arc::clone(&gate);
        let mut waiting = tokio::task::JoinSet::new();
        waiting.spawn(async move { other.enter("b").await.map(|_| ()) });
        tokio::task::yield_now().await;
        assert_eq!(gate.enter("b").await.unwrap_err(), TooMany);
        drop(first);
        assert_eq!(waiting.join_next().await.unwrap().unwrap(), Ok(()));
        // Nobody lets go: turned away after a while, and nothing is left behind.
        let held = gate.enter("a").await.unwrap();
        assert_eq!(gate.enter("b").await.unwrap_err(), TooMany);
        drop(held);
        assert!(gate.enter("c").await.is_ok());
        assert!(gate.0.lock().fair.users.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_waits_for_others_leaves_its_seat() {
        let flow = Flow::new(1);
        let seat = flow.enter(Class::List, "a").await.unwrap();
        let (come, coming) = oneshot::channel();
        let list = async {
            let came = standing(async { coming.await.map_err(|_| TooMany) }).await;
            // It sits again: nobody else gets a seat.
            (came, flow.enter(Class::List, "b").await.map(|_| ()))
        };
        let other = async {
            let seat = flow.enter(Class::List, "b").await;
            come.send(()).unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            seat.map(|_| ())
        };
        let (listed, other) = tokio::join!(flow.seated(Class::List, seat, list), other);
        assert_eq!((listed, other), ((Ok(()), Err(TooMany)), Ok(())));
        assert!(flow.enter(Class::List, "c").await.is_ok());
        assert!(flow.reads.0.lock().fair.users.is_empty(), "nothing is left of the waiting");
    }

    #[test]
    fn requests_are_sorted_by_their_looks() {
        for (line, expected) in [
            ("GET /api/v1/namespaces/a/pods", Class::List),
            ("GET /api/v1/pods?limit=5", Class::List),
            ("GET /api/v1/namespaces/a/pods/x", Class::Read),
            ("GET /api/v1/namespaces/a/pods?watch=1", Class::Endless),
            ("GET /api/v1/namespaces/a/pods?watch=false", Class::List),
            ("GET /api/v1/namespaces/a/pods/x/log", Class::Endless),
            ("POST /api/v1/namespaces/a/pods/x/portforward", Class::Endless),
            ("GET /apis/apps/v1/deployments", Class::List),
            ("GET /apis/apps/v1", Class::Read),
            ("GET /readyz", Class::Read),
            ("DELETE /api/v1/namespaces/a/pods", Class::Write),
            ("POST /api/v1/namespaces?watch=1", Class::Write),
            ("GET /api/v1/watch/pods", Class::Endless),
            ("GET /api/v1/watch/namespaces/a/pods/x", Class::Endless),
            ("GET /api/v1/namespaces", Class::List),
            ("GET /api/v1/namespaces/a", Class::Read),
            ("GET /api/v1/namespaces/a/status", Class::Read),
            // Only looks as if it lasted.
            ("GET /api/v1/namespaces/watch/pods", Class::List),
            ("POST /api/v1/namespaces/watch/pods", Class::Write),
            ("PUT /api/v1/namespaces/a/configmaps/proxy", Class::Write),
            ("GET /api/v1/namespaces/a/configmaps/log", Class::Read),
            ("GET /api/v1/namespaces/a/pods/x?watch=1", Class::Read),
            ("GET /exec", Class::Read),
            ("GET /a/b/c/d/e/f/g/h/i", Class::Read),
        ] {
            let (method, uri) = line.split_once(' ').unwrap();
            assert_eq!(Class::of(&method.parse().unwrap(), &uri.parse().unwrap()), expected, "{line}");
        }
    }
}
