//! Labels, annotations, finalizers, taints, field managers, condition types and reasons.
