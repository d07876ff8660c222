//! The kubeadm control plane: certificates, machines, etcd members.
