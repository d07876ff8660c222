//! Runs the commands of a transcript.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use tokio::process::Command;

use super::Printed;
use super::clients::Clients;
use super::normalise::Normaliser;
use super::notation::{Step, Transcript, trim};
use crate::client::Client;
use crate::target::{Target, USERS};

/// No command may take longer.
const PATIENCE: Duration = Duration::from_secs(90);

/// Plays one transcript in a folder of its own, with the files of `tests/transcripts/files`.
///
/// # Errors
/// When its namespace cannot be made, or a command does not end.
pub async fn play(target: &Target, clients: &Clients, transcript: &Transcript) -> Result<Printed> {
    let home = tempfile::Builder::new().prefix("transcript-").tempdir()?;
    let home = home.path();
    let work = home.join("work");
    copy(&super::folder().join("files"), &work)?;
    let programs = home.join("bin");
    std::fs::create_dir(&programs)?;
    link(&clients.kubectl, &programs.join("kubectl"))?;
    link(&clients.helm, &programs.join("helm"))?;
    std::fs::write(home.join("kubeconfig"), kubeconfig(target, &transcript.name))?;
    if transcript.namespace {
        namespace(target, &transcript.name).await?;
    }
    let mut normaliser = Normaliser::new(&work)?;
    let mut printed = Vec::new();
    for step in &transcript.steps {
        let lines = run(home, &work, &transcript.name, step).await;
        let lines = lines.with_context(|| format!("cannot run {}", step.command))?;
        let mut lines = normaliser.apply(&lines).lines().map(str::to_owned).collect();
        trim(&mut lines);
        printed.push(lines);
    }
    Ok(printed)
}

/// What a command prints: standard output, then standard error, then its code.
async fn run(home: &Path, work: &Path, namespace: &str, step: &Step) -> Result<String> {
    let child = Command::new("sh")
        .arg("-c")
        .arg(&step.command)
        .current_dir(work)
        .env_clear()
        .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", home.join("bin").display()))
        .env("HOME", home)
        .env("KUBECONFIG", home.join("kubeconfig"))
        .env("NS", namespace)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let Ok(output) = tokio::time::timeout(PATIENCE, child.wait_with_output()).await else {
        bail!("it does not end within {PATIENCE:?}");
    };
    let output = output?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        let _ = writeln!(text, "! {line}");
    }
    match output.status.code() {
        Some(0) => {}
        Some(code) => {
            let _ = writeln!(text, "[exit {code}]");
        }
        None => text.push_str("[killed]\n"),
    }
    Ok(text)
}

/// Makes the namespace, and waits for what every namespace is furnished with.
async fn namespace(target: &Target, name: &str) -> Result<()> {
    let mut client = Client::new(target.address, Arc::clone(&target.trust));
    let request = |method: &str, path: &str, body: String| {
        http::Request::builder()
            .method(method)
            .uri(format!("https://{}/api/v1/namespaces{path}", target.address))
            .header("authorization", format!("Bearer {}", USERS[0].0))
            .header("content-type", "application/json")
            .body(Full::<Bytes>::from(body))
    };
    let body = serde_json::json!({"metadata": {"name": name}}).to_string();
    let made = client.send(None, false, request("POST", "", body)?).await?;
    if !made.status.is_success() {
        bail!("cannot create the namespace {name}: {}", String::from_utf8_lossy(&made.body));
    }
    for object in ["configmaps/kube-root-ca.crt", "serviceaccounts/default"] {
        let wait = async {
            let path = format!("/{name}/{object}");
            while !client.send(None, false, request("GET", &path, String::new())?).await?.status.is_success()
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.with_context(|| format!("there is no {object} in {name}"))??;
    }
    Ok(())
}

/// A context for each user; the administrator's is the current one.
fn kubeconfig(target: &Target, namespace: &str) -> String {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(target.trust.ca());
    let list =
        |of: &dyn Fn(&(&str, &str, &str)) -> String| USERS.iter().map(of).collect::<Vec<_>>().join(", ");
    let contexts = list(&|(_, user, _)| {
        format!("{{name: {user}, context: {{cluster: c, user: {user}, namespace: {namespace}}}}}")
    });
    let users = list(&|(token, user, _)| format!("{{name: {user}, user: {{token: {token}}}}}"));
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {}\n\
         clusters: [{{name: c, cluster: {{server: 'https://{}', certificate-authority-data: {ca}}}}}]\n\
         contexts: [{contexts}]\nusers: [{users}]\n",
        USERS[0].1, target.address,
    )
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn link(program: &Path, to: &Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink(std::path::absolute(program)?, to)?)
}

#[cfg(not(unix))]
fn link(program: &Path, to: &Path) -> Result<()> {
    Ok(std::fs::copy(program, to).map(|_| ())?)
}
