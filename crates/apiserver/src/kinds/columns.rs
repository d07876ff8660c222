//! Table columns: JSON paths of custom kinds, computed cells of built-in ones.

use jiff::Timestamp;
use serde_json::{Value, json};

use windlass_apimachinery::table::Path;

use super::cells;

/// One column of a table, after `Name`.
#[derive(Clone, Debug)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// OpenAPI type of the cells; `date` is shown as an age.
    pub kind: String,
    /// OpenAPI format.
    pub format: String,
    /// Description.
    pub description: String,
    /// 0 is always shown, more only in wide output. Columns of less are not
    /// declared: rows have their cells, as some of upstream's do.
    pub priority: i64,
    /// Where cells come from.
    pub cell: Cell,
}

/// Where the cells of a column come from.
#[derive(Clone, Debug)]
pub enum Cell {
    /// A JSON path in Kubernetes' dialect.
    Path(Path),
    /// Computed from the object.
    Computed(fn(&Value, Timestamp) -> Value),
}

impl Cell {
    /// Cells of a JSON path; definitions with others are refused.
    pub fn path(text: &str) -> Self {
        Self::Path(Path::parse(text).unwrap_or_default())
    }
}

impl Column {
    /// A column of a compiled-in kind.
    pub(super) fn computed(
        name: &str,
        kind: &str,
        priority: i64,
        cell: fn(&Value, Timestamp) -> Value,
    ) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            format: String::new(),
            description: String::new(),
            priority,
            cell: Cell::Computed(cell),
        }
    }

    /// The only column of a custom kind that defines none.
    pub fn created() -> Self {
        let cell = Cell::path(".metadata.creationTimestamp");
        Self {
            kind: "date".to_owned(),
            cell,
            description: "When the object was created.".to_owned(),
            ..Self::age()
        }
    }

    /// The `Age` column.
    pub fn age() -> Self {
        Self::computed("Age", "string", 0, |object, now| {
            json!(age(object.pointer("/metadata/creationTimestamp"), now))
        })
    }
}

/// How long ago a time was, as `kubectl` prints it.
pub fn age(time: Option<&Value>, now: Timestamp) -> String {
    let time = time.and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    match time {
        Some(time) => windlass_apimachinery::table::age(now.as_second() - time.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// Columns as `data/columns.txt` has them.
pub(super) fn of(group: &str, kind: &str) -> Vec<Column> {
    let text = include_str!("../../data/columns.txt");
    let heading = format!("={group} {kind}");
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    let mut columns: Vec<Column> = lines
        .take_while(|line| !line.starts_with('='))
        .filter_map(|line| {
            let mut parts = line.split('\t');
            let (name, of, format) = (parts.next()?, parts.next()?, parts.next()?);
            Some(Column {
                name: name.to_owned(),
                kind: of.to_owned(),
                format: format.to_owned(),
                description: String::new(),
                priority: parts.next()?.parse().ok()?,
                cell: cells::of(kind, name).map_or(Cell::Path(Path::default()), Cell::Computed),
            })
        })
        .collect();
    if columns.is_empty() {
        columns = vec![Column::age()];
    }
    // The name comes first by itself; of Events it comes last.
    if columns[0].name == "Name" {
        columns.remove(0);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_its_cells() {
        let text = include_str!("../../data/columns.txt");
        for heading in text.lines().filter_map(|line| line.strip_prefix('=')) {
            let (group, kind) = heading.split_once(' ').unwrap();
            for column in of(group, kind) {
                assert!(matches!(column.cell, Cell::Computed(_)), "{heading}: {}", column.name);
            }
        }
    }
}
