//! Pure decisions: observed and desired state in, actions and what they wait for out.
