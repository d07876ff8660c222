//! Events are one storage with two faces: `v1` and `events.k8s.io/v1`.

use serde_json::Value;

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

/// Turns an `events.k8s.io/v1` event into a core one.
pub fn store(event: &mut Value) {
    rename(event, RENAMED);
}

/// Turns a core event into an `events.k8s.io/v1` one.
pub fn serve(event: &mut Value) {
    rename(event, RENAMED.map(|(served, stored)| (stored, served)));
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
        let served = json!({"note": "n", "regarding": {"name": "x"}, "type": "Normal"});
        let mut event = served.clone();
        store(&mut event);
        assert_eq!(event, json!({"message": "n", "involvedObject": {"name": "x"}, "type": "Normal"}));
        serve(&mut event);
        assert_eq!(event, served);
    }
}
