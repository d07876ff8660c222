//! Certificates, keys and kubeconfigs.
