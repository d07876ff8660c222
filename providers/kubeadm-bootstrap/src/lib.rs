//! Bootstrap data for kubeadm: renders KubeadmConfig into cloud-init.
