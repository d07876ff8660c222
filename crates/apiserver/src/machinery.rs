//! Stand-ins for parts of the API mechanics that are still being built.

use serde_json::Value;
use windlass_apimachinery::patch::PatchError;
use windlass_apimachinery::schema::Schema;

/// A strategic merge patch.
pub fn strategic(target: &mut Value, patch: &Value, _schema: &Schema) -> Result<(), PatchError> {
    windlass_apimachinery::patch::merge(target, patch);
    Ok(())
}
