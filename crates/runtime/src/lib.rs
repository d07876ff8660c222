//! The controller loop: queue, cache, writes, conditions, events, lease, clock, metrics.
