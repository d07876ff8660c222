//! A Kubernetes-style API for one's own kinds: durable, with watch, apply, admission of schemas, Tables and OpenAPI.
//!
//! ```text
//! cargo run --release -p windlass-apiserver --example apiserver -- api.redb 127.0.0.1:7443 secret crontabs.yaml
//! kubectl --server https://127.0.0.1:7443 --insecure-skip-tls-verify --token secret get crontabs
//! ```

use std::error::Error;

use tokio_util::sync::CancellationToken;
use windlass_apiserver::{Server, UserInfo, self_signed};
use windlass_store::{Engine, Options};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, address, token, definitions @ ..] = arguments.as_slice() else {
        return Err("usage: apiserver FILE ADDRESS TOKEN [DEFINITION.yaml…]".into());
    };
    let engine = Engine::open(file.as_ref(), Options::default())?;
    let admin = UserInfo::admin("admin");
    let server = Server::builder(engine.store("api")).system().token(token, admin).start().await?;
    for path in definitions {
        let definition = serde_saphyr::from_str(&std::fs::read_to_string(path)?)?;
        server.install_crds(&[definition]).await?;
    }
    let stop = CancellationToken::new();
    let listener = tokio::net::TcpListener::bind(address).await?;
    let serving = server.serve(listener, self_signed(&["localhost", "127.0.0.1"])?, stop.clone());
    let signal = async { tokio::signal::ctrl_c().await.map(|()| stop.cancel()) };
    tokio::join!(serving, signal).1?;
    server.stop().await;
    Ok(engine.close().await?)
}
