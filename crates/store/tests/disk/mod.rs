//! A disk that forgets what was not synced, and fails when told to.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use windlass_store::StorageBackend;

/// A write to the disk that a crash may lose or tear.
#[derive(Clone, Debug)]
enum Pending {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

/// What goes wrong, counted in calls that change the disk (write, set_len, sync) from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    Nothing,
    /// The machine stops right before this call: it and all later ones fail.
    Stop(usize),
    /// The first sync from this call on fails, once, and drops what it should have kept, as
    /// Linux does: the next sync would succeed.
    FailSync(usize),
    /// A bug: the next call that changes the disk panics.
    Panic,
    /// Nothing can be changed.
    ReadOnly,
    /// The disk has no room beyond this length.
    Full(usize),
}

#[derive(Debug)]
struct State {
    /// What a crash cannot take away.
    synced: Vec<u8>,
    /// What reads see.
    current: Vec<u8>,
    pending: Vec<Pending>,
    calls: usize,
    syncs: usize,
    /// Calls that changed the disk by the time of the failed sync.
    failed: Option<usize>,
    plan: Plan,
}

/// Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>, Arc<Mutex<()>>);

fn apply(image: &mut Vec<u8>, change: &Pending) {
    match change {
        Pending::Write { offset, data } => {
            let end = offset + data.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[*offset..end].copy_from_slice(data);
        }
        Pending::Length(length) => image.resize(*length, 0),
    }
}

/// A xorshift generator: enough to choose what a crash keeps.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % end as u64).unwrap()
    }
}

const SECTOR: usize = 512;

impl Disk {
    pub fn new(plan: Plan) -> Self {
        Self::with(Vec::new(), plan)
    }

    pub fn with(image: Vec<u8>, plan: Plan) -> Self {
        Self(
            Arc::new(Mutex::new(State {
                synced: image.clone(),
                current: image,
                pending: Vec::new(),
                calls: 0,
                syncs: 0,
                failed: None,
                plan,
            })),
            Arc::default(),
        )
    }

    /// Calls that changed the disk so far.
    pub fn calls(&self) -> usize {
        self.0.lock().calls
    }

    pub fn syncs(&self) -> usize {
        self.0.lock().syncs
    }

    /// Calls that changed the disk after a sync failed; none if none failed.
    pub fn calls_since_failure(&self) -> Option<usize> {
        let state = self.0.lock();
        state.failed.map(|failed| state.calls - failed)
    }

    /// Syncs wait until this is dropped.
    pub fn hold(&self) -> impl Drop {
        self.1.lock()
    }

    pub fn plan(&self, plan: Plan) {
        self.0.lock().plan = plan;
    }

    /// What an orderly process sees.
    pub fn image(&self) -> Vec<u8> {
        self.0.lock().current.clone()
    }

    /// What is left when the power goes: all that was synced, none of the rest.
    pub fn synced(&self) -> Vec<u8> {
        self.0.lock().synced.clone()
    }

    /// What is left when the power goes: all that was synced, and of the rest some writes whole,
    /// some torn between sectors, some not at all.
    pub fn torn(&self, seed: u64) -> Vec<u8> {
        let state = self.0.lock();
        let mut chance = Chance::new(seed);
        let mut image = state.synced.clone();
        for change in &state.pending {
            match (change, chance.below(3)) {
                (_, 0) => {}
                (Pending::Write { offset, data }, 1) => {
                    for (i, sector) in data.chunks(SECTOR).enumerate() {
                        if chance.below(2) == 0 {
                            let (offset, data) = (offset + i * SECTOR, sector.to_vec());
                            apply(&mut image, &Pending::Write { offset, data });
                        }
                    }
                }
                (whole, _) => apply(&mut image, whole),
            }
        }
        image
    }
}

impl State {
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.plan {
            Plan::Stop(at) if self.calls > at => Err(io::Error::other("the machine has stopped")),
            Plan::Panic => {
                self.plan = Plan::Nothing;
                panic!("a bug in the disk")
            }
            Plan::ReadOnly => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Plan::Stop(_) | Plan::Nothing | Plan::FailSync(_) | Plan::Full(_) => Ok(()),
        }
    }

    fn room(&self, end: usize) -> io::Result<()> {
        match self.plan {
            Plan::Full(room) if end > room => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock();
        let offset = usize::try_from(offset).unwrap();
        let found = state.current.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        let len = usize::try_from(len).unwrap();
        state.call()?;
        state.room(len)?;
        let change = Pending::Length(len);
        apply(&mut state.current, &change);
        state.pending.push(change);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let _held = self.1.lock();
        let mut state = self.0.lock();
        state.call()?;
        match state.plan {
            Plan::FailSync(at) if state.calls > at => {
                state.plan = Plan::Nothing;
                state.pending.clear();
                state.failed = Some(state.calls);
                return Err(io::Error::other("bad block"));
            }
            _ => {}
        }
        state.syncs += 1;
        let State { synced, pending, .. } = &mut *state;
        for change in pending.drain(..) {
            apply(synced, &change);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        let offset = usize::try_from(offset).unwrap();
        state.call()?;
        state.room(offset + data.len())?;
        let change = Pending::Write { offset, data: data.to_vec() };
        apply(&mut state.current, &change);
        state.pending.push(change);
        Ok(())
    }
}
