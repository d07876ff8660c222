//! Volumes and their classes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Compute, flag, joined, len, list, modes, or, text};

pub(super) fn storage(kind: &str, heading: &str) -> Option<Compute> {
    match (kind, heading) {
        ("PersistentVolume" | "PersistentVolumeClaim", "Status") => cell!(o => {
            let deleting = o.pointer("/metadata/deletionTimestamp").is_some();
            if deleting { "Terminating".to_owned() } else { text(o, "/status/phase") }
        }),
        ("PersistentVolumeClaim", "Volume") => cell!(o => text(o, "/spec/volumeName")),
        ("PersistentVolumeClaim", "Capacity") => cell!(o => text(o, "/status/capacity/storage")),
        ("PersistentVolumeClaim", "Access Modes") => cell!(o => modes(o, "/status/accessModes")),
        ("PersistentVolume", "Capacity") => cell!(o => text(o, "/spec/capacity/storage")),
        ("PersistentVolume", "Access Modes") => cell!(o => modes(o, "/spec/accessModes")),
        ("PersistentVolume", "Reclaim Policy") => cell!(o => text(o, "/spec/persistentVolumeReclaimPolicy")),
        ("PersistentVolume", "Claim") => cell!(o => {
            let name = text(o, "/spec/claimRef/name");
            if name.is_empty() { name } else { format!("{}/{name}", text(o, "/spec/claimRef/namespace")) }
        }),
        ("PersistentVolume", "Reason") => cell!(o => text(o, "/status/reason")),
        (_, "StorageClass") => cell!(o => text(o, "/spec/storageClassName")),
        (_, "VolumeAttributesClass") => cell!(o => or(text(o, "/spec/volumeAttributesClassName"), "<unset>")),
        (_, "VolumeMode") => cell!(o => or(text(o, "/spec/volumeMode"), "<unset>")),
        ("StorageClass", "Provisioner") => cell!(o => text(o, "/provisioner")),
        ("StorageClass", "ReclaimPolicy") => cell!(o => text(o, "/reclaimPolicy")),
        ("StorageClass", "VolumeBindingMode") => cell!(o => text(o, "/volumeBindingMode")),
        ("StorageClass", "AllowVolumeExpansion") => cell!(o => flag(o, "/allowVolumeExpansion")),
        ("CSIDriver", "AttachRequired") => cell!(o => flag(o, "/spec/attachRequired")),
        ("CSIDriver", "PodInfoOnMount") => cell!(o => flag(o, "/spec/podInfoOnMount")),
        ("CSIDriver", "StorageCapacity") => cell!(o => flag(o, "/spec/storageCapacity")),
        ("CSIDriver", "TokenRequests") => {
            cell!(o => or(joined(list(o, "/spec/tokenRequests"), "/audience"), "<unset>"))
        }
        ("CSIDriver", "RequiresRepublish") => cell!(o => flag(o, "/spec/requiresRepublish")),
        ("CSIDriver", "Modes") => cell!(o => joined(list(o, "/spec/volumeLifecycleModes"), "")),
        ("CSINode", "Drivers") => cell!(o => len(o, "/spec/drivers")),
        ("VolumeAttachment", "Attacher") => cell!(o => text(o, "/spec/attacher")),
        ("VolumeAttachment", "PV") => cell!(o => text(o, "/spec/source/persistentVolumeName")),
        ("VolumeAttachment", "Node") => cell!(o => text(o, "/spec/nodeName")),
        ("VolumeAttachment", "Attached") => cell!(o => flag(o, "/status/attached")),
        ("VolumeAttributesClass", "DriverName") => cell!(o => text(o, "/driverName")),
        _ => None,
    }
}
