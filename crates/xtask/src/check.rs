//! `cargo xtask check`, `cargo xtask test` and `cargo xtask nightly`.

use anyhow::{Result, bail};

use crate::command::{answers, now, print, run, run_with, say};
use crate::{generate, layers, links};

/// Everything that needs no test run, cheapest first.
pub fn run_checks() -> Result<()> {
    run("cargo", &["fmt", "--all", "--check"])?;
    layers::check()?;
    links::check()?;
    generate::run(true)?;
    deny()?;
    run("cargo", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// Licences, bans and sources always; advisories where their database can be reached.
fn deny() -> Result<()> {
    if !answers("cargo", &["deny", "--version"]) {
        if std::env::var("CI").is_ok_and(|value| value == "true") {
            bail!("cargo-deny is missing; `cargo install cargo-deny --locked`");
        }
        say(
            "skipped: licences, bans and sources (cargo-deny is missing; `cargo install cargo-deny --locked`)",
        );
        return Ok(());
    }
    run("cargo", &["deny", "--all-features", "check", "licenses", "bans", "sources"])?;
    if answers("cargo", &["deny", "fetch", "db"]) {
        run("cargo", &["deny", "check", "advisories"])?;
    } else {
        say("skipped: advisories (their database cannot be reached)");
    }
    Ok(())
}

/// Controllers in Go work our server for so long.
pub fn churn(seconds: u64) -> Result<()> {
    let test = ["test", "--package", "windlass-tests", "--test", "go_clients", "--", "--nocapture"];
    run_with(&[("WINDLASS_CHURN_SECONDS", &seconds.to_string()), ("CI", "true")], "cargo", &test)
}

/// All tests of the workspace.
pub fn test(rest: &[String]) -> Result<()> {
    let mut args = vec!["test"];
    // Who names packages means those.
    if !rest.iter().any(|word| word == "-p" || word.starts_with("--package")) {
        args.push("--workspace");
    }
    args.extend(rest.iter().map(String::as_str));
    run("cargo", &args)
}

/// What nightly runs: a name, variables of the environment, and a task of `cargo xtask`.
type Long = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

const LONG: &[Long] = &[
    ("every crash", &[], &["sim", "--exhaustive"]),
    ("200 seeds", &[], &["sim", "--seeds", "200"]),
    ("hostile inputs", &[], &["fuzz", "--seconds", "120"]),
    (
        "200 kills of the store and of the server",
        &[("WINDLASS_STORE_KILLS", "200"), ("WINDLASS_KILLS", "200")],
        &["test", "-p", "windlass-store", "-p", "windlass-apiserver", "--test", "process", "--test", "kill"],
    ),
    ("controllers in Go", &[], &["churn", "--seconds", "600"]),
    ("50 clusters", &[], &["bench", "clusters", "--n", "50", "--enforce"]),
    ("the API server beside kube-apiserver", &[], &["bench", "apiserver", "--enforce"]),
    ("webhooks of a real API server", &[], &["webhooks"]),
    ("kubectl and Helm beside a real API server", &[], &["differential", "record-transcripts", "--drift"]),
    ("real clusters", &[], &["e2e", "docker"]),
    ("creation beside the floor", &[], &["e2e", "docker", "--floor"]),
];

/// The long checks, optimised: every crash of every scenario, many seeds, hostile inputs, many kills, the benchmarks'
/// bounds, real clusters and their creation beside the floor. All of them run, whatever the others say; their results
/// are printed last.
pub fn nightly() -> Result<()> {
    let xtask = ["run", "--quiet", "--release", "--package", "xtask", "--"];
    let mut lines = Vec::new();
    let mut failed = 0;
    for (what, variables, task) in LONG {
        let start = now();
        let result = run_with(variables, "cargo", &[&xtask, *task].concat());
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        failed += usize::from(result.is_err());
        lines.push(format!("{verdict:<7} {:>6.0} s  {what}", start.elapsed().as_secs_f64()));
    }
    print(&lines.join("\n"));
    if failed > 0 {
        bail!("{failed} of {} failed", lines.len());
    }
    Ok(())
}
