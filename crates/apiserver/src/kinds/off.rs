//! Fields behind features that Kubernetes 1.35 has, but does not turn on:
//! what a client says in them is dropped.

use serde_json::Value;

/// Paths into objects of `resource.k8s.io`, by kind; `*` stands for all items
/// of a list and all values of a map.
const OFF: &[(&str, &[&str])] = &[
    ("DeviceClass", &["spec.extendedResourceName"]),
    (
        "ResourceClaim",
        &[
            "spec.devices.requests.*.exactly.tolerations",
            "spec.devices.requests.*.exactly.capacity",
            "spec.devices.requests.*.firstAvailable.*.tolerations",
            "spec.devices.requests.*.firstAvailable.*.capacity",
            "spec.devices.constraints.*.distinctAttribute",
            "status.allocation.devices.results.*.tolerations",
            "status.allocation.devices.results.*.bindingConditions",
            "status.allocation.devices.results.*.bindingFailureConditions",
            "status.allocation.devices.results.*.shareID",
            "status.allocation.devices.results.*.consumedCapacity",
            "status.devices.*.shareID",
        ],
    ),
    (
        "ResourceClaimTemplate",
        &[
            "spec.spec.devices.requests.*.exactly.tolerations",
            "spec.spec.devices.requests.*.exactly.capacity",
            "spec.spec.devices.requests.*.firstAvailable.*.tolerations",
            "spec.spec.devices.requests.*.firstAvailable.*.capacity",
            "spec.spec.devices.constraints.*.distinctAttribute",
        ],
    ),
    (
        "ResourceSlice",
        &[
            "spec.sharedCounters",
            "spec.perDeviceNodeSelection",
            "spec.devices.*.taints",
            "spec.devices.*.consumesCounters",
            "spec.devices.*.nodeName",
            "spec.devices.*.nodeSelector",
            "spec.devices.*.allNodes",
            "spec.devices.*.bindsToNode",
            "spec.devices.*.bindingConditions",
            "spec.devices.*.bindingFailureConditions",
            "spec.devices.*.allowMultipleAllocations",
            "spec.devices.*.capacity.*.requestPolicy",
        ],
    ),
];

/// Drops what belongs to features that are off.
pub fn drop_disabled(group: &str, kind: &str, object: &mut Value) {
    if group != "resource.k8s.io" {
        return;
    }
    let paths = OFF.iter().filter(|(of, _)| *of == kind).flat_map(|(_, paths)| *paths);
    for path in paths {
        remove(object, path);
    }
}

fn remove(at: &mut Value, path: &str) {
    match path.split_once('.') {
        None => {
            at.as_object_mut().map(|map| map.remove(path));
        }
        Some(("*", rest)) => match at {
            Value::Array(items) => items.iter_mut().for_each(|item| remove(item, rest)),
            Value::Object(map) => map.values_mut().for_each(|value| remove(value, rest)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        },
        Some((name, rest)) => {
            if let Some(child) = at.get_mut(name) {
                remove(child, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_off_is_dropped_wherever_it_stands() {
        let device = |more: Value| {
            let mut device = json!({"name": "d", "capacity": {"m": {"value": "1"}}});
            device.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"spec": {"driver": "x", "devices": [device, {"name": "e"}]}})
        };
        let mut slice =
            device(json!({"taints": [{}], "capacity": {"m": {"value": "1", "requestPolicy": {}}}}));
        slice["spec"]["sharedCounters"] = json!([]);
        let mut same = slice.clone();
        drop_disabled("resource.k8s.io", "ResourceSlice", &mut slice);
        assert_eq!(slice, device(json!({})));
        let before = same.clone();
        drop_disabled("example.dev", "ResourceSlice", &mut same);
        assert_eq!(same, before);
    }
}
