//! Where addresses of Services come from: the networks of the `ServiceCIDR`
//! objects that are ready, or one that is built in.

use std::net::Ipv4Addr;
use std::ops::Range;

use serde_json::{Value, json};

use super::held::{Holding, is_held};
use crate::call::{Call, Part};
use crate::server::{Server, StartError};
use crate::status::ApiError;
use crate::write::Change;

/// The network of Services, as kube-apiserver has it by default.
const NETWORK: &str = "10.0.0.0/24";
/// The first address of [`NETWORK`], that of the API itself: given when it is named alone.
const API: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Where the objects stand.
const PREFIX: &str = "/registry/servicecidrs/";
/// The object that stands for [`NETWORK`].
const OBJECT: &str = "kubernetes";

/// The addresses of a network that can be given: not its own, not its last.
fn addresses(network: &str) -> Option<Range<u32>> {
    let (base, bits) = network.split_once('/')?;
    let (base, bits) = (base.parse::<Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?);
    // Smaller ones have no address for anybody.
    let size = 1_u32.checked_shl(32_u32.checked_sub(bits)?).filter(|size| *size >= 4)?;
    let first = u32::from(base) & !(size - 1);
    Some(first + 1..first + (size - 1))
}

/// How many addresses at the beginning are left to clients that name theirs,
/// until all others are gone.
fn named(range: &Range<u32>) -> u32 {
    let size = range.end - range.start + 2;
    if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }
}

fn ranges(call: &Call<'_>) -> Vec<Range<u32>> {
    let mut networks = Vec::new();
    let entries = call.server.inner.store.range(PREFIX, None, None, None);
    let mut entries = entries.map(|range| range.entries).unwrap_or_default();
    // Others come after the built-in one.
    entries.sort_by_key(|entry| entry.key.strip_prefix(PREFIX) != Some(OBJECT));
    for entry in entries {
        let Ok(object) = serde_json::from_slice::<Value>(&entry.value) else { continue };
        // Ready unless somebody says otherwise.
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
        if ready.is_none_or(|ready| ready["status"] == "True") {
            let cidrs = object.pointer("/spec/cidrs").and_then(Value::as_array);
            networks.extend(cidrs.into_iter().flatten().filter_map(|cidr| addresses(cidr.as_str()?)));
        }
    }
    if networks.is_empty() {
        networks.extend(addresses(NETWORK));
    }
    networks
}

/// Whether an address is in a range that can be given.
pub fn has(call: &Call<'_>, address: &str) -> bool {
    let Ok(address) = address.parse::<Ipv4Addr>() else { return false };
    ranges(call).iter().any(|range| range.contains(&u32::from(address)))
}

/// An address nobody holds.
pub fn free(call: &Call<'_>, uid: &str) -> Option<Ipv4Addr> {
    ranges(call).into_iter().find_map(|range| {
        let middle = range.start + named(&range);
        let upper = from_somewhere(uid, middle..range.end);
        let mut all = upper.chain(from_somewhere(uid, range.start..middle)).map(Ipv4Addr::from);
        all.find(|address| *address != API && !is_held(call, &Holding::address(&address.to_string())))
    })
}

/// All numbers of a range, from a place that a UID picks.
pub fn from_somewhere(uid: &str, range: Range<u32>) -> impl Iterator<Item = u32> + use<> {
    let count = range.end - range.start;
    let sum = uid.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    (0..count).map(move |step| range.start + (sum % count + step) % count)
}

/// Shows clients the network of Services, on servers whose objects of the
/// system are in the store.
///
/// # Errors
/// When the store takes no writes.
pub async fn announce(server: &Server) -> Result<(), StartError> {
    let refused = |source| StartError::Bootstrap { name: format!("servicecidrs/{OBJECT}"), source };
    Box::pin(show(server)).await.map_err(refused)
}

async fn show(server: &Server) -> Result<(), ApiError> {
    let kinds = server.kinds();
    let Some(kind) = kinds.get("networking.k8s.io", "servicecidrs") else { return Ok(()) };
    let caller = crate::bootstrap::caller();
    let mut call = Call::internal(server, &caller, kind.clone(), "", OBJECT);
    if server.inner.store.get(&call.key()).is_some() {
        return Ok(());
    }
    let mut object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": OBJECT}, "spec": {"cidrs": [NETWORK]},
    });
    call.name.clear();
    call.create(object.clone()).await?;
    OBJECT.clone_into(&mut call.name);
    call.part = Part::Status;
    "kubernetes-service-cidr-controller".clone_into(&mut call.options.field_manager);
    object["status"] = json!({"conditions": [{
        "type": "Ready", "status": "True", "lastTransitionTime": crate::rules::seconds(call.now),
        "message": "Kubernetes default Service CIDR is ready",
    }]});
    object.as_object_mut().map(|object| object.remove("spec"));
    call.change(Change::Apply(object.into())).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_addresses_but_for_their_own_and_their_last() {
        let shown = |network: &str| {
            addresses(network).map(|range| {
                let named = named(&range);
                (Ipv4Addr::from(range.start).to_string(), Ipv4Addr::from(range.end - 1).to_string(), named)
            })
        };
        let is = |first: &str, last: &str, named: u32| Some((first.to_owned(), last.to_owned(), named));
        for (network, expected) in [
            ("10.0.0.0/24", is("10.0.0.1", "10.0.0.254", 16)),
            ("10.96.0.7/12", is("10.96.0.1", "10.111.255.254", 256)),
            ("10.0.0.16/28", is("10.0.0.17", "10.0.0.30", 0)),
            ("10.0.0.4/30", is("10.0.0.5", "10.0.0.6", 0)),
            ("10.0.0.4/31", None),
            ("10.0.0.0/33", None),
            ("fd00::/64", None),
        ] {
            assert_eq!(shown(network), expected, "{network}");
        }
    }

    #[test]
    fn a_walk_meets_every_number_once() {
        for uid in ["", "a", "b1a7"] {
            let mut all: Vec<u32> = from_somewhere(uid, 5..9).collect();
            all.sort_unstable();
            assert_eq!(all, [5, 6, 7, 8], "{uid}");
        }
        assert_eq!(from_somewhere("a", 5..5).count(), 0);
    }
}
