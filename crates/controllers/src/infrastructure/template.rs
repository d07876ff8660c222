//! The controller of templates of infrastructure machines: what a machine of them will offer, for an
//! autoscaler that scales up from zero.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::Value;
use windlass_provider::Machines;
use windlass_runtime::{Cached, Controller, ManagementError, Outcome, Pass, StepError, Watches};

use super::{Registry, scene};

/// A kind of templates of infrastructure machines.
pub trait TemplateKind: Send + Sync + 'static {
    /// Its objects.
    type Object: Cached;
    /// Lower-case name of the controller.
    const NAME: &'static str;

    /// The backend its machines ask for, and the backend's own part of their spec.
    fn backend(object: &Self::Object) -> (&'static str, Value);

    /// Sets `status.capacity`.
    fn set_capacity(object: &mut Self::Object, capacity: BTreeMap<String, String>);
}

/// Looks after the templates of one kind.
#[derive(Debug)]
pub struct TemplateController<K> {
    backends: Registry<dyn Machines>,
    kind: PhantomData<fn() -> K>,
}

/// Which step of a pass failed.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum TemplateError {
    /// The status could not be written.
    #[error("cannot report the template's capacity")]
    Report(#[source] ManagementError),
}

impl StepError for TemplateError {
    fn step(&self) -> &'static str {
        self.into()
    }
}

impl<K: TemplateKind> TemplateController<K> {
    /// A controller over these backends.
    pub fn new(backends: Registry<dyn Machines>) -> Self {
        Self { backends, kind: PhantomData }
    }
}

impl<K: TemplateKind> Controller for TemplateController<K> {
    type Object = K::Object;
    type Error = TemplateError;
    const NAME: &'static str = K::NAME;

    fn watches(&self, _: &mut Watches<'_, Self>) {}

    async fn reconcile(&self, object: Arc<K::Object>, pass: &Pass) -> Result<Outcome, TemplateError> {
        let (name, spec) = K::backend(&object);
        let provider = self.backends.get(name).ok().filter(|_| !scene::is_deleting(&*object));
        let capacity = provider.map(|provider| provider.capacity(&spec)).unwrap_or_default();
        if !capacity.is_empty() {
            let mut after = (*object).clone();
            K::set_capacity(&mut after, capacity);
            pass.management.update_status(&*object, &after).await.map_err(TemplateError::Report)?;
        }
        Ok(Outcome::Rest)
    }
}
