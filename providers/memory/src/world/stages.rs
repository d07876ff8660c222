//! What a machine's row says about its boot, as conditions. Pure.

use windlass_model::{Condition, Status, Time};
use windlass_provider::{Address, AddressKind, Instance, InstanceState};

use super::rows::MachineRow;

/// The machine runs.
pub const VM: &str = "VMProvisioned";
/// It is a node of its cluster.
pub const NODE: &str = "NodeProvisioned";
/// Its etcd member runs.
pub const ETCD: &str = "EtcdProvisioned";
/// Its API server answers.
pub const API_SERVER: &str = "APIServerProvisioned";

/// The stages of a control plane machine and of a worker.
pub fn of(control_plane: bool) -> &'static [&'static str] {
    if control_plane { &[VM, NODE, ETCD, API_SERVER] } else { &[VM, NODE] }
}

/// The provider id of the machine `name`.
pub fn provider_id(name: &str) -> String {
    format!("in-memory://{name}")
}

/// A machine as its provider sees it.
pub fn instance(row: &MachineRow, now: Time) -> Instance {
    let running = row.vm_due() <= now;
    let address = |kind, address: &str| Address { kind, address: address.to_owned() };
    let addresses =
        vec![address(AddressKind::Hostname, &row.name), address(AddressKind::InternalIP, &row.address)];
    Instance {
        provider_id: provider_id(&row.name),
        state: if running { InstanceState::Running } else { InstanceState::Pending },
        addresses: if running { addresses } else { vec![] },
        failure_domain: row.failure_domain.clone(),
        conditions: conditions(row, now),
        next_change: row.next_due(now).map(|due| due.until(now)),
    }
}

fn conditions(row: &MachineRow, now: Time) -> Vec<Condition> {
    let running = row.vm_due() <= now;
    let vm = if running { up(VM) } else { waiting(VM, "StartupTimeout") };
    let node = match (running, row.joined, &row.refusal) {
        (false, _, _) => waiting(NODE, VM),
        (true, Some(_), _) => up(NODE),
        (true, None, Some(refusal)) => {
            Condition::new(NODE, Status::False, refusal.reason()).because(refusal.to_string())
        }
        (true, None, None) => waiting(NODE, "StartupTimeout"),
    };
    let carried = |kind: &'static str, since: Option<Time>| match (running, row.joined, since) {
        (false, _, _) => waiting(kind, VM),
        (true, None, _) => waiting(kind, NODE),
        (true, Some(_), None) => waiting(kind, "StartupTimeout"),
        (true, Some(_), Some(_)) => up(kind),
    };
    let mut conditions = vec![vm, node];
    if row.control_plane {
        conditions.extend([carried(ETCD, row.etcd), carried(API_SERVER, row.api_server)]);
    }
    conditions
}

fn up(kind: &'static str) -> Condition {
    Condition::new(kind, Status::True, "Provisioned")
}

fn waiting(kind: &'static str, on: &str) -> Condition {
    Condition::new(kind, Status::False, format!("WaitingFor{on}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use windlass_model::{Key, Uid};
    use windlass_provider::Token;

    use super::*;
    use crate::boot::Refusal;
    use crate::world::delays::Delays;

    /// A machine made at second 0 whose stages take 2 s each.
    fn row(control_plane: bool) -> MachineRow {
        let two = Duration::from_secs(2);
        MachineRow {
            token: Token::of(&Uid::from("t")),
            owner: Key::new("default", "m"),
            cluster: Uid::from("c"),
            name: "m".to_owned(),
            version: "v1.35.0".to_owned(),
            control_plane,
            failure_domain: None,
            address: "10.0.0.1".to_owned(),
            created: Time::from_secs(0),
            delays: Delays { vm: two, node: two, api_server: two, etcd: two },
            joined: None,
            node: None,
            etcd: None,
            api_server: None,
            refusal: None,
            deleted: None,
        }
    }

    /// Conditions in the recording's words, `+` where true.
    fn told(row: &MachineRow, second: i64) -> String {
        let words = conditions(row, Time::from_secs(second)).into_iter().map(|condition| {
            if condition.is_true() { "+".to_owned() } else { condition.reason.replace("WaitingFor", "") }
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_boot_of_a_control_plane_machine_reads_as_upstreams() {
        let mut row = row(true);
        let at = Time::from_secs;
        assert_eq!(told(&row, 1), "StartupTimeout VMProvisioned VMProvisioned VMProvisioned");
        assert_eq!(row.next_due(at(1)), Some(at(2)));
        assert_eq!(told(&row, 2), "+ StartupTimeout NodeProvisioned NodeProvisioned");
        assert_eq!(row.next_due(at(2)), Some(at(4)));
        row.joined = Some(at(4));
        assert_eq!(told(&row, 4), "+ + StartupTimeout StartupTimeout");
        assert_eq!(row.next_due(at(4)), Some(at(6)));
        (row.etcd, row.api_server) = (Some(at(6)), Some(at(6)));
        assert_eq!(told(&row, 6), "+ + + +");
        assert_eq!(row.next_due(at(6)), None);
    }

    #[test]
    fn a_refused_worker_says_why_and_waits_for_nothing() {
        let mut row = row(false);
        row.refusal = Some(Refusal::CACertHashMismatch);
        assert_eq!(told(&row, 4), "+ CACertHashMismatch");
        assert_eq!(row.next_due(Time::from_secs(4)), None);
    }
}
