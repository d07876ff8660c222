//! Reaching workload clusters: kubeconfigs, connections, nodes, etcd.
