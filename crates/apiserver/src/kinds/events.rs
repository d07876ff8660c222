//! Events are one storage with two faces: `v1` and `events.k8s.io/v1`.

use serde_json::Value;

/// How the served form of a kind differs from the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// Only `apiVersion` differs.
    ApiVersion,
    /// Served as `events.k8s.io/v1`, stored as core `v1` events.
    Events,
}

/// Served name, stored name.
const RENAMED: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingController", "reportingComponent"),
];

impl Conversion {
    /// Turns a served object into the stored form.
    pub fn store(self, object: &mut Value, api_version: &str) {
        if self == Self::Events {
            rename(object, RENAMED);
        }
        object["apiVersion"] = Value::from(api_version);
    }

    /// Turns a stored object into the served form.
    pub fn serve(self, object: &mut Value, api_version: &str) {
        if self == Self::Events {
            rename(object, RENAMED.map(|(served, stored)| (stored, served)));
        }
        object["apiVersion"] = Value::from(api_version);
    }
}

fn rename(object: &mut Value, names: [(&str, &str); 7]) {
    let Some(map) = object.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_survives_both_ways() {
        let served = json!({"apiVersion": "events.k8s.io/v1", "note": "n", "regarding": {"name": "x"}, "type": "Normal"});
        let mut event = served.clone();
        Conversion::Events.store(&mut event, "v1");
        assert_eq!(
            event,
            json!({"apiVersion": "v1", "message": "n", "involvedObject": {"name": "x"}, "type": "Normal"})
        );
        Conversion::Events.serve(&mut event, "events.k8s.io/v1");
        assert_eq!(event, served);
    }
}
