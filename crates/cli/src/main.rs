//! The `windlass` binary.

#[cfg(test)]
mod envsubst;

fn main() {}
