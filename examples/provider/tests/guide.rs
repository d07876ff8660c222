//! `docs/writing-a-provider.md` shows this example, and names everything it should.

use std::fs;
use std::path::Path;
use std::time::Duration;

use windlass_provider::ErrorKind;
use windlass_provider::conformance::Case;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| unreachable!("{path}: {error}"))
}

fn guide() -> String {
    read("docs/writing-a-provider.md")
}

/// A text without indentation and empty lines.
fn plain(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.fold(String::from("\n"), |all, line| all + line + "\n")
}

#[test]
fn every_line_of_rust_is_taken_from_code_that_runs() {
    let sources = [
        "examples/provider/src/lib.rs",
        "examples/provider/tests/conformance.rs",
        "examples/provider/tests/manager.rs",
        "crates/controllers/tests/infrastructure/plane.rs",
    ];
    let code: String = sources.into_iter().map(|path| plain(&read(path))).collect();
    let guide = guide();
    let mut shown = 0;
    for block in guide.split("```rust\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for part in block.split("// …\n") {
            assert!(code.contains(&plain(part)), "the guide shows what is not there:\n{part}");
            shown += 1;
        }
    }
    assert_eq!(shown, 11, "parts of blocks of Rust");
}

#[test]
fn the_example_is_as_short_as_the_guide_says() {
    assert!(guide().contains("a complete one in 200 lines"));
    let lines = read("examples/provider/src/lib.rs").lines().count();
    assert!(lines <= 200, "{lines} lines");
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert_eq!(files.map(Iterator::count).unwrap_or_default(), 1, "all of it is in one file");
}

#[test]
fn every_case_and_every_kind_of_error_is_explained() {
    let guide = guide();
    for case in Case::ALL {
        assert!(guide.contains(&format!("`{}`", case.name())), "{} is not explained", case.name());
    }
    let throttled = ErrorKind::Throttled { retry_after: Duration::ZERO };
    for kind in
        [throttled, ErrorKind::OutOfCapacity, ErrorKind::Rejected, ErrorKind::NotFound, ErrorKind::Transient]
    {
        assert!(guide.contains(&format!("| `{}` |", kind.as_str())), "{} has no row", kind.as_str());
    }
}

#[test]
fn every_method_has_its_row() {
    let traits = read("crates/provider/src/machines.rs");
    let body = traits.split("pub trait Machines").nth(1).and_then(|text| text.split("\n}").next());
    let methods = body.unwrap_or_default().lines().filter_map(|line| {
        let line = line.trim().strip_prefix("async ").unwrap_or(line.trim());
        line.strip_prefix("fn ")?.split('(').next()
    });
    let methods: Vec<_> = methods.collect();
    assert_eq!(methods.len(), 7, "{methods:?}");
    for method in methods {
        assert!(guide().contains(&format!("| `{method}` |")), "{method} has no row");
    }
}
