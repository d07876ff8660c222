//! Owners of an object seen through its `scale`, and back.

use serde_json::{Map, Value};

use super::entries::{self, Entry, Operation};
use crate::fields::{Path, PathElement, Set};

/// The version of every scale.
const SCALE: &str = "autoscaling/v1";

/// Where the replicas of a kind stand.
#[derive(Clone, Copy, Debug)]
pub struct Scaled<'a> {
    /// The version of the request for the object.
    pub api_version: &'a str,
    /// Each version's path to the replicas, as `.spec.replicas`; none for a
    /// version without a scale.
    pub paths: &'a [(String, Option<String>)],
}

fn path_of(text: &str) -> Path {
    Path(text.split('.').filter(|name| !name.is_empty()).map(PathElement::field).collect())
}

fn just(path: &Path) -> Set {
    let mut set = Set::new();
    set.insert(path);
    set
}

impl Scaled<'_> {
    /// The path in a version: nothing for versions that are not there.
    #[expect(clippy::option_option, reason = "a version without a path differs from no such version")]
    fn path(&self, version: &str) -> Option<Option<Path>> {
        let (_, path) = self.paths.iter().find(|(known, _)| known == version)?;
        Some(path.as_deref().map(path_of))
    }

    /// The `managedFields` of the scale: owners of the replicas, and of nothing else.
    pub fn of_scale(&self, object: &Value) -> Value {
        let replicas = path_of(".spec.replicas");
        let owners = entries::read(Some(object)).into_iter().filter_map(|mut entry| {
            let path = self.path(&entry.api_version)??;
            entry.set.contains(&path).then(|| {
                entry.set = just(&replicas);
                SCALE.clone_into(&mut entry.api_version);
                entry.changed();
                entry
            })
        });
        list(owners.collect())
    }

    /// The `managedFields` of the object after its scale changed. Owners that
    /// are new come without a time, as kube-apiserver has it.
    pub fn of_object(&self, object: &Value, scale: &Value) -> Value {
        let parents = entries::read(Some(object));
        let mut scales = entries::read(Some(scale));
        let mut out = Vec::with_capacity(parents.len() + 1);
        for mut parent in parents.clone() {
            let Some(path) = self.path(&parent.api_version) else { continue };
            if let Some(path) = path.filter(|path| parent.set.contains(path)) {
                // Updates are told apart by their version too, which for the
                // scale is another: they come anew below.
                match scales.iter().position(|scale| parent.same_manager(scale)) {
                    Some(at) => {
                        scales.remove(at);
                    }
                    None => parent.subtract(&just(&path)),
                }
            }
            out.push(parent);
        }
        let replicas = path_of(".spec.replicas");
        let Some(Some(path)) = self.path(self.api_version) else { return list(out) };
        for mut scale in scales {
            if !scale.set.contains(&replicas) {
                continue;
            }
            let former = parents.iter().find(|parent| parent.same_manager(&scale));
            scale.time = former.and_then(|former| former.time.clone());
            if scale.operation == Operation::Apply {
                out.retain(|entry: &Entry| !entry.same_manager(&scale));
            }
            scale.set = just(&path);
            self.api_version.clone_into(&mut scale.api_version);
            scale.changed();
            out.push(scale);
        }
        list(out)
    }
}

/// The list, or null when it is empty.
fn list(owners: Vec<Entry>) -> Value {
    let mut object = Value::Object(Map::new());
    entries::write(&mut object, owners);
    object["metadata"]["managedFields"].take()
}
