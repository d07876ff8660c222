//! `cargo xtask bench apiserver`: our API server beside kube-apiserver and etcd, on one machine, in one run.
//!
//! Both are loaded over HTTPS by the same program (`tests/go/cmd/loader`), once with client-go and once with plain
//! HTTP, first one server and then the other; both are durable. CPU times are read from `/proc` between the phases.

mod loader;
mod process;
mod subject;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::command::{run, say};
use loader::{Loader, Run};
use subject::Subject;
use table::{Figures, Side};

/// The verbs that are measured, in the order in which an object lives.
pub(super) const VERBS: [&str; 5] = ["create", "get", "patch", "apply", "delete"];

/// Load this API server and kube-apiserver with etcd, and print the ratios
#[derive(Args)]
pub struct ApiServer {
    /// Objects that each verb is done to
    #[arg(long, default_value_t = 10_000)]
    objects: usize,
    /// Requests at a time
    #[arg(long, default_value_t = 64)]
    workers: usize,
    /// Machines that are kept for the memory figure
    #[arg(long, default_value_t = 20_000)]
    machines: usize,
    /// Measure only our own server
    #[arg(long)]
    ours: bool,
    /// Measure this server (a build of the example `apiserver`) instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Version of kube-apiserver
    #[arg(long, default_value = "1.35.4")]
    version: String,
    /// Write the figures as JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Fail if a figure misses the bound that `docs/performance.md` promises
    #[arg(long)]
    enforce: bool,
}

impl ApiServer {
    /// Runs the measurement.
    pub fn run(&self) -> Result<()> {
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => build()?,
        };
        let programs = crate::node_image::programs(&self.version)?;
        let folder = std::env::temp_dir().join(format!("windlass-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let result = self.measure(&folder, &binary, &programs);
        // The folder holds nothing that the report does not.
        let _ = std::fs::remove_dir_all(&folder);
        let figures = result?;
        crate::command::print(&table::render(&figures));
        if let Some(path) = &self.json {
            std::fs::write(path, serde_json::to_string_pretty(&figures)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if self.enforce { table::enforce(&figures) } else { Ok(()) }
    }

    fn measure(&self, folder: &Path, binary: &Path, programs: &Path) -> Result<Figures> {
        let loader = Loader::build(folder)?;
        let kubectl = programs.join("kubectl");
        let upstream = if self.ours {
            None
        } else {
            let subject = Subject::upstream(&folder.join("upstream"), programs)?;
            Some(self.side(subject, &loader, &kubectl)?)
        };
        let ours = Subject::ours(&folder.join("ours"), binary)?;
        Ok(Figures { objects: self.objects, upstream, ours: self.side(ours, &loader, &kubectl)? })
    }

    /// All figures of one server.
    fn side(&self, mut subject: Subject, loader: &Loader, kubectl: &Path) -> Result<Side> {
        let mut side = Side { name: subject.name.to_owned(), ..Side::default() };
        say(&format!("{}: starting", subject.name));
        self.started(&mut subject, loader)?;
        side.idle_rss_mib = subject.rss_mib();
        for client in ["client-go", "raw"] {
            say(&format!("{}: {} objects, {client}", subject.name, self.objects));
            let run = self.plan(client, self.workers, &VERBS);
            side.verbs.insert(client.to_owned(), loader.run(&subject, &run)?);
        }
        say(&format!("{}: one worker", subject.name));
        let few = Run { objects: self.objects / 10, ..self.plan("client-go", 1, &["create", "delete"]) };
        side.verbs.insert("client-go, one worker".to_owned(), loader.run(&subject, &few)?);
        say(&format!("{}: 1,000 watchers", subject.name));
        side.watch = loader.run(&subject, &self.plan("raw", self.workers, &["watch"]))?.remove("watch");
        say(&format!("{}: lists, and a start with {} objects", subject.name, self.objects));
        let lists = loader.run(&subject, &self.plan("raw", self.workers, &["create", "list"]))?;
        side.list = lists.get("list").cloned();
        side.start_seconds = self.restarted(&mut subject, loader)?;
        say(&format!("{}: {} machines", subject.name, self.machines));
        subject.define(kubectl)?;
        let kept = Run { objects: self.machines, ..self.plan("raw", self.workers, &["machines"]) };
        loader.run(&subject, &kept)?;
        std::thread::sleep(Duration::from_secs(3));
        side.machines_rss_mib = subject.rss_mib();
        self.restarted(&mut subject, loader)?;
        side.machines_rss_restarted_mib = subject.rss_mib();
        Ok(side)
    }

    fn plan<'a>(&self, client: &'a str, workers: usize, phases: &'a [&'a str]) -> Run<'a> {
        Run { client, workers, objects: self.objects, phases }
    }

    fn started(&self, subject: &mut Subject, loader: &Loader) -> Result<f64> {
        let ready = self.plan("raw", 1, &["ready"]);
        loader.run_from(subject, &ready, Subject::start)
    }

    /// Stops the server and starts it again; the seconds until it answers.
    fn restarted(&self, subject: &mut Subject, loader: &Loader) -> Result<f64> {
        subject.stop()?;
        self.started(subject, loader)
    }
}

/// Builds the example server in the release profile.
fn build() -> Result<PathBuf> {
    say("building the server");
    let arguments =
        ["build", "--release", "--quiet", "--package", "windlass-apiserver", "--example", "apiserver"];
    run("cargo", &arguments)?;
    let built = super::plane::binary();
    Ok(built.with_file_name("examples").join("apiserver"))
}
