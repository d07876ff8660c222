//! The part of etcd's gRPC API that managers of members use, as messages.
//!
//! Field numbers and method names are those of etcd's `api/etcdserverpb/rpc.proto` (v3.6; the same since v3.4
//! for everything here). Servers of simulated clusters answer with the same messages.

use prost::Message;

/// Methods, as paths of requests (services `etcdserverpb.Cluster` and `etcdserverpb.Maintenance`).
pub mod method {
    /// [`MemberListRequest`](super::MemberListRequest) to [`Members`](super::Members).
    pub const MEMBER_LIST: &str = "/etcdserverpb.Cluster/MemberList";
    /// [`MemberRemoveRequest`](super::MemberRemoveRequest) to [`Members`](super::Members).
    pub const MEMBER_REMOVE: &str = "/etcdserverpb.Cluster/MemberRemove";
    /// [`AlarmRequest`](super::AlarmRequest) to [`AlarmResponse`](super::AlarmResponse).
    pub const ALARM: &str = "/etcdserverpb.Maintenance/Alarm";
    /// [`StatusRequest`](super::StatusRequest) to [`StatusResponse`](super::StatusResponse).
    pub const STATUS: &str = "/etcdserverpb.Maintenance/Status";
    /// [`MoveLeaderRequest`](super::MoveLeaderRequest) to [`MoveLeaderResponse`](super::MoveLeaderResponse).
    pub const MOVE_LEADER: &str = "/etcdserverpb.Maintenance/MoveLeader";
}

/// `ResponseHeader`: who answered.
#[derive(Clone, PartialEq, Message)]
pub struct ResponseHeader {
    /// Id of the cluster.
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    /// Id of the member that answers.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// Revision of the key-value store.
    #[prost(int64, tag = "3")]
    pub revision: i64,
    /// Raft term.
    #[prost(uint64, tag = "4")]
    pub raft_term: u64,
}

/// `Member`.
#[derive(Clone, PartialEq, Message)]
pub struct Member {
    /// Its id.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name; empty until it has started.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Where its peers reach it.
    #[prost(string, repeated, tag = "3")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    #[prost(string, repeated, tag = "4")]
    pub client_urls: Vec<String>,
    /// Whether it does not vote yet.
    #[prost(bool, tag = "5")]
    pub is_learner: bool,
}

/// `MemberListRequest`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct MemberListRequest {
    /// Whether the answer must be the quorum's, not only the asked member's.
    #[prost(bool, tag = "1")]
    pub linearizable: bool,
}

/// `MemberListResponse` and `MemberRemoveResponse`, which are alike.
#[derive(Clone, PartialEq, Message)]
pub struct Members {
    /// Who answered.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// All members, after the change if one was asked for.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<Member>,
}

/// `MemberRemoveRequest`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct MemberRemoveRequest {
    /// The member to remove.
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// `MoveLeaderRequest`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct MoveLeaderRequest {
    /// The member that shall lead.
    #[prost(uint64, tag = "1")]
    pub target_id: u64,
}

/// `MoveLeaderResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct MoveLeaderResponse {
    /// Who answered.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
}

/// `AlarmType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AlarmType {
    /// Any alarm, in questions.
    None = 0,
    /// The space quota is used up.
    NoSpace = 1,
    /// The data are damaged.
    Corrupt = 2,
}

/// `AlarmRequest`; its action is always `GET`, which is 0.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct AlarmRequest {
    /// `AlarmAction`: 0 lists, 1 raises, 2 clears.
    #[prost(int32, tag = "1")]
    pub action: i32,
    /// The member; 0 for all.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// The alarm.
    #[prost(enumeration = "AlarmType", tag = "3")]
    pub alarm: i32,
}

/// `AlarmMember`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct AlarmMember {
    /// Who complains.
    #[prost(uint64, tag = "1")]
    pub member_id: u64,
    /// About what.
    #[prost(enumeration = "AlarmType", tag = "2")]
    pub alarm: i32,
}

/// `AlarmResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct AlarmResponse {
    /// Who answered.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The alarms that are active.
    #[prost(message, repeated, tag = "2")]
    pub alarms: Vec<AlarmMember>,
}

/// `StatusRequest`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct StatusRequest {}

/// `StatusResponse`, without what only etcd 3.6 says.
#[derive(Clone, PartialEq, Message)]
pub struct StatusResponse {
    /// Who answered.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Version of etcd.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Size of the database on disk, in bytes.
    #[prost(int64, tag = "3")]
    pub db_size: i64,
    /// Id of the leader; 0 for none.
    #[prost(uint64, tag = "4")]
    pub leader: u64,
    /// Raft index that is committed.
    #[prost(uint64, tag = "5")]
    pub raft_index: u64,
    /// Raft term.
    #[prost(uint64, tag = "6")]
    pub raft_term: u64,
    /// Raft index that is applied.
    #[prost(uint64, tag = "7")]
    pub raft_applied_index: u64,
    /// What the member complains about.
    #[prost(string, repeated, tag = "8")]
    pub errors: Vec<String>,
    /// Size of what is in use of the database, in bytes.
    #[prost(int64, tag = "9")]
    pub db_size_in_use: i64,
    /// Whether the member does not vote yet.
    #[prost(bool, tag = "10")]
    pub is_learner: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tag and length written out, so that a wrong field number shows.
    #[test]
    fn field_numbers_are_etcds() {
        let member = Member {
            id: 1,
            name: "n".to_owned(),
            peer_urls: vec!["p".to_owned()],
            client_urls: vec!["c".to_owned()],
            is_learner: true,
        };
        let list = Members { header: None, members: vec![member] };
        let bytes = [0x12, 13, 0x08, 1, 0x12, 1, b'n', 0x1a, 1, b'p', 0x22, 1, b'c', 0x28, 1];
        assert_eq!(list.encode_to_vec(), bytes);
        assert_eq!(Members::decode(bytes.as_slice()).unwrap(), list);

        let status = [0x12, 1, b'v', 0x18, 5, 0x20, 7, 0x42, 1, b'e', 0x48, 3, 0x50, 1, 0x5a, 1, b'x'];
        let status = StatusResponse::decode(status.as_slice()).unwrap();
        assert_eq!((status.version.as_str(), status.db_size, status.leader), ("v", 5, 7));
        assert_eq!(
            (status.errors, status.db_size_in_use, status.is_learner),
            (vec!["e".to_owned()], 3, true)
        );

        let alarm = AlarmMember::decode([0x08, 9, 0x10, 2].as_slice()).unwrap();
        assert_eq!((alarm.member_id, alarm.alarm()), (9, AlarmType::Corrupt));
        assert_eq!(MoveLeaderRequest { target_id: 3 }.encode_to_vec(), [0x08, 3]);
        assert_eq!(MemberListRequest { linearizable: true }.encode_to_vec(), [0x08, 1]);
    }
}
