//! Objects in the versions in which webhooks want to be shown them.

use std::sync::Arc;

use serde_json::Value;

use super::review::Form;
use crate::call::{Call, Part};
use crate::kinds::{Kind, Subresource};
use crate::scale;
use crate::status::ApiError;

/// One version in which a resource is served.
#[derive(Clone)]
pub struct Served {
    kind: Arc<Kind>,
    version: usize,
}

impl Served {
    /// The version in which a call was made.
    pub fn of(call: &Call<'_>) -> Self {
        Self { kind: Arc::clone(&call.kind), version: call.served }
    }

    /// What a call is about, in this version.
    pub fn form(&self, call: &Call<'_>) -> Form<'_> {
        let version = self.kind.versions[self.version].name.as_str();
        let form = Form {
            group: &self.kind.group,
            version,
            kind: &self.kind.kind,
            resource: &self.kind.plural,
            kind_group: &self.kind.group,
            kind_version: version,
        };
        if call.part == Part::Scale {
            return Form { kind: "Scale", kind_group: "autoscaling", kind_version: "v1", ..form };
        }
        match call.subresource {
            Some(Subresource { kind, group_version: (kind_group, kind_version), .. }) if !kind.is_empty() => {
                Form { kind, kind_group, kind_version, ..form }
            }
            _ => form,
        }
    }

    /// The other versions in which the same objects are served.
    pub fn others(&self, call: &Call<'_>) -> Vec<Self> {
        let kinds = call.server.kinds();
        let same = kinds.iter().filter(|kind| kind.prefix == self.kind.prefix && !kind.hook.is_virtual());
        same.flat_map(|kind| (0..kind.versions.len()).map(|version| Self { kind: Arc::clone(kind), version }))
            .filter(|served| !served.is(self))
            .collect()
    }

    /// Gives an object the defaults of this version.
    pub fn default(&self, object: &mut Value) {
        self.kind.default(&self.kind.versions[self.version], object);
    }

    fn is(&self, other: &Self) -> bool {
        self.version == other.version && Arc::ptr_eq(&self.kind, &other.kind)
    }

    fn api_version(&self) -> String {
        self.kind.api_version(&self.kind.versions[self.version].name)
    }
}

/// What a webhook is shown: an object as it is and as it was, in one version.
#[derive(Clone)]
pub struct View {
    /// Null for the end of an object.
    pub object: Value,
    /// Null for new ones.
    pub old: Value,
    /// The version of both.
    pub served: Served,
}

impl View {
    /// What a call shows of an object: of a scale, the scale.
    ///
    /// # Errors
    /// 500 for a scale that is none.
    pub fn of(call: &Call<'_>, object: Option<&Value>, old: Option<&Value>) -> Result<Self, ApiError> {
        let (mut shown, mut before) = (object.cloned().unwrap_or_default(), old.cloned().unwrap_or_default());
        if call.part == Part::Scale {
            for value in [&mut shown, &mut before].into_iter().filter(|value| value.is_object()) {
                *value = scale::before(&call.kind, call.version(), value)?;
            }
        }
        Ok(Self { object: shown, old: before, served: Served::of(call) })
    }

    /// Brings the object into another version of its resource, with what it was.
    ///
    /// # Errors
    /// 500 when it cannot be converted.
    pub async fn turn(&mut self, call: &Call<'_>, to: &Served) -> Result<(), ApiError> {
        if !self.served.is(to) && call.part != Part::Scale {
            let version = to.api_version();
            for object in [&mut self.old, &mut self.object].into_iter().filter(|object| object.is_object()) {
                let server = call.server;
                *object = server.in_version(&self.served.kind, &to.kind, &version, object.take()).await?;
            }
        }
        self.served = to.clone();
        Ok(())
    }

    /// Whether this is the view of a version.
    pub fn is_in(&self, served: &Served) -> bool {
        self.served.is(served)
    }
}
