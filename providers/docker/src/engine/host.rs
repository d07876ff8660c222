//! Where the engine is: as the `docker` command finds it.

use std::env;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Where the engine listens unless something else is said.
const SOCKET: &str = "unix:///var/run/docker.sock";

/// `DOCKER_HOST`, else the endpoint of the current context, else the default socket.
pub(super) fn default() -> String {
    let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    given("DOCKER_HOST").or_else(|| of_context(given("DOCKER_CONTEXT"))).unwrap_or_else(|| SOCKET.to_owned())
}

#[derive(Deserialize)]
struct Settings {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

#[derive(Deserialize)]
struct Context {
    #[serde(rename = "Endpoints")]
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Endpoint,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "Host")]
    host: String,
}

/// The endpoint of a context of the `docker` command, whose store names folders by the hash of a context's name.
fn of_context(name: Option<String>) -> Option<String> {
    let folder = env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| env::home_dir().map(|home| home.join(".docker")))?;
    let name = name.or_else(|| {
        let settings = fs::read(folder.join("config.json")).ok()?;
        serde_json::from_slice::<Settings>(&settings).ok()?.current_context
    })?;
    if name == "default" {
        return None;
    }
    let hash = hex::encode(Sha256::digest(name.as_bytes()));
    let context = fs::read(folder.join("contexts/meta").join(hash).join("meta.json")).ok()?;
    serde_json::from_slice::<Context>(&context).ok().map(|context| context.endpoints.docker.host)
}

/// The machine of an engine that is reached over the network.
pub(super) fn remote(host: &str) -> Option<&str> {
    let rest = ["tcp://", "http://", "https://"].iter().find_map(|scheme| host.strip_prefix(scheme))?;
    let authority = rest.split('/').next().unwrap_or(rest);
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    (!matches!(name, "localhost" | "127.0.0.1" | "::1")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_on_another_machine_is_told_from_one_here() {
        for (host, machine) in [
            ("unix:///var/run/docker.sock", None),
            ("tcp://localhost:2375", None),
            ("tcp://127.0.0.1:2375", None),
            ("tcp://[::1]:2375", None),
            ("tcp://build.example.com:2375", Some("build.example.com")),
            ("http://10.0.0.7", Some("10.0.0.7")),
            ("tcp://[fd00::7]:2375/", Some("fd00::7")),
        ] {
            assert_eq!(remote(host), machine, "{host}");
        }
    }
}
