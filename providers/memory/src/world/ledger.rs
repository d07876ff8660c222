//! The ledger on disk: rows of machines and clusters, and what lies on a machine's disk until it has booted.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use windlass_model::{Secret, Uid};
use windlass_provider::Token;
use windlass_store::{Entry, Expect, Store, Txn};

use super::WorldError;
use super::rows::{ClusterRow, MachineRow, Serving, ServingPki};

const MACHINES: &str = "machine/";
const CLUSTERS: &str = "cluster/";
const DISKS: &str = "disk/";
const PKI: &str = "pki/";

/// The ledger. Rows of machines and clusters are never deleted.
#[derive(Clone, Debug)]
pub struct Ledger(Store);

/// Changes that happen together.
#[derive(Debug, Default)]
#[must_use = "changes do nothing until they are written"]
pub struct Changes(Txn);

impl Changes {
    /// Writes a machine's row.
    pub fn machine(self, row: &MachineRow) -> Result<Self, WorldError> {
        let key = format!("{MACHINES}{}", row.token);
        self.put(&key, row)
    }

    /// Writes a cluster's row.
    pub fn cluster(self, row: &ClusterRow) -> Result<Self, WorldError> {
        let key = format!("{CLUSTERS}{}", row.token);
        self.put(&key, row)
    }

    /// Puts the bootstrap data on a machine's disk.
    pub fn disk(self, machine: &Token, data: &Secret<Vec<u8>>) -> Self {
        let value = Bytes::copy_from_slice(data.expose());
        Self(self.0.put(format!("{DISKS}{machine}"), value, Expect::Any))
    }

    /// Wipes a machine's disk, which must have something on it.
    pub fn wipe(self, machine: &Token) -> Self {
        Self(self.0.delete(format!("{DISKS}{machine}"), Expect::Any))
    }

    /// Keeps a machine's certificates.
    pub fn pki(self, cluster: &Uid, machine: &Token, pki: &ServingPki) -> Result<Self, WorldError> {
        let row = |Serving { ca, certificate, key }: &Serving| json!({"ca": ca, "certificate": certificate, "key": key.expose()});
        let etcd = pki.etcd.as_ref().map(row);
        let value = json!({"machine": machine, "apiServer": row(&pki.api_server), "etcd": etcd});
        self.put(&format!("{PKI}{cluster}/{machine}"), &value)
    }

    /// Forgets a machine's certificates, which must be there.
    pub fn forget_pki(self, cluster: &Uid, machine: &Token) -> Self {
        Self(self.0.delete(format!("{PKI}{cluster}/{machine}"), Expect::Any))
    }

    fn put(self, key: &str, row: &impl Serialize) -> Result<Self, WorldError> {
        let value = serde_json::to_vec(row).map_err(|_| WorldError::Row { key: key.to_owned() })?;
        Ok(Self(self.0.put(key, value, Expect::Any)))
    }
}

impl Ledger {
    /// The ledger in this store.
    pub fn new(store: Store) -> Self {
        Self(store)
    }

    /// Writes changes; they are on disk when this returns.
    pub async fn write(&self, Changes(changes): Changes) -> Result<(), WorldError> {
        self.0.commit(changes).await?;
        Ok(())
    }

    /// Every machine that ever was, in the order of their tokens.
    pub fn machines(&self) -> Result<Vec<MachineRow>, WorldError> {
        self.rows(MACHINES)
    }

    /// Every cluster that ever was, in the order of their tokens.
    pub fn clusters(&self) -> Result<Vec<ClusterRow>, WorldError> {
        self.rows(CLUSTERS)
    }

    /// One machine, existing or not.
    pub fn machine(&self, token: &Token) -> Result<Option<MachineRow>, WorldError> {
        self.0.get(&format!("{MACHINES}{token}")).map(|entry| row(&entry)).transpose()
    }

    /// One cluster, existing or not.
    pub fn cluster(&self, token: &Token) -> Result<Option<ClusterRow>, WorldError> {
        self.0.get(&format!("{CLUSTERS}{token}")).map(|entry| row(&entry)).transpose()
    }

    /// What lies on a machine's disk.
    pub fn disk(&self, machine: &Token) -> Option<Secret<Bytes>> {
        self.0.get(&format!("{DISKS}{machine}")).map(|entry| Secret::new(entry.value.clone()))
    }

    /// The certificates of a cluster's machines.
    pub fn pki(&self, cluster: &Uid) -> Result<BTreeMap<Token, ServingPki>, WorldError> {
        let range = self.0.range(&format!("{PKI}{cluster}/"), None, None, None)?;
        range.entries.iter().map(|entry| pki_of(entry)).collect()
    }

    fn rows<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, WorldError> {
        let range = self.0.range(prefix, None, None, None)?;
        range.entries.iter().map(|entry| row(entry)).collect()
    }
}

fn pki_of(entry: &Entry) -> Result<(Token, ServingPki), WorldError> {
    let value: Value = row(entry)?;
    let serving = |server: &str| {
        let text = |field: &str| value[server][field].as_str().map(str::to_owned);
        let (ca, certificate, key) = (text("ca")?, text("certificate")?, text("key")?);
        Some(Serving { ca, certificate, key: Secret::new(key) })
    };
    let broken = || WorldError::Row { key: entry.key.to_string() };
    let machine = Token::deserialize(&value["machine"]).map_err(|_| broken())?;
    let api_server = serving("apiServer").ok_or_else(broken)?;
    Ok((machine, ServingPki { api_server, etcd: serving("etcd") }))
}

fn row<T: DeserializeOwned>(entry: &Entry) -> Result<T, WorldError> {
    serde_json::from_slice(&entry.value).map_err(|_| WorldError::Row { key: entry.key.to_string() })
}
