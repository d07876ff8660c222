//! The simulated cloud: machines, nodes and workload clusters that live in this process.
