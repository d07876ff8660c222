//! The controller beside a management plane and a workload cluster, both in memory.

mod crashes;
mod data;
mod plane;
mod pools;
mod schema;
mod standalone;
