//! Cluster API types (v1beta2), their CRDs and their admission rules.
