//! The backends that this build has.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Backends by the name of their field in `spec.backend`.
pub struct Registry<P: ?Sized> {
    backends: BTreeMap<&'static str, Arc<P>>,
}

impl<P: ?Sized> Registry<P> {
    /// Adds a backend.
    #[must_use]
    pub fn with(mut self, name: &'static str, backend: Arc<P>) -> Self {
        self.backends.insert(name, backend);
        self
    }

    /// The backend of this name.
    ///
    /// # Errors
    /// What to tell people where there is none.
    pub fn get(&self, name: &str) -> Result<&Arc<P>, String> {
        self.backends.get(name).ok_or_else(|| {
            let known: Vec<_> = self.backends.keys().map(|name| format!("spec.backend.{name}")).collect();
            let known = known.join(" or ");
            if name.is_empty() {
                format!("spec.backend names no backend; set {known}")
            } else {
                format!("this build has no {name} backend; use {known}, or a build that has it")
            }
        })
    }
}

impl<P: ?Sized> Clone for Registry<P> {
    fn clone(&self) -> Self {
        Self { backends: self.backends.clone() }
    }
}

impl<P: ?Sized> Default for Registry<P> {
    fn default() -> Self {
        Self { backends: BTreeMap::new() }
    }
}

impl<P: ?Sized> fmt::Debug for Registry<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.backends.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_backend_says_what_to_do() {
        let registry = Registry::<str>::default().with("inMemory", "memory".into());
        assert_eq!(&**registry.get("inMemory").unwrap(), "memory");
        let docker = registry.get("docker").unwrap_err();
        assert!(docker.contains("no docker backend; use spec.backend.inMemory"), "{docker}");
        assert!(registry.get("").unwrap_err().ends_with("set spec.backend.inMemory"));
    }
}
