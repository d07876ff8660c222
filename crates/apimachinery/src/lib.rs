//! API mechanics: schemas, defaulting, validation, patches, field ownership, selectors, tables.
