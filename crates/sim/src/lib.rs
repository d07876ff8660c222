//! The whole system in one thread under paused time, with crashes at every effect.
