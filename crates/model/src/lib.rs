//! The words of Windlass: names, versions, conditions, time. Only std and serde.
