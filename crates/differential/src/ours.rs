//! Our server, in this process, behind a real socket.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::crypto::SecureRandom;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use windlass_apiserver::{Access, Announced, Server, UserInfo};
use windlass_store::Engine;

use crate::hook::Hook;
use crate::target::{Target, USERS};
use crate::trust::{Trust, now};

/// Ours answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(8);

/// A server of ours; it stops with [`Ours::stop`].
pub struct Ours {
    /// What scripts are played against.
    pub target: Arc<Target>,
    server: Server,
    tasks: JoinSet<()>,
}

impl Ours {
    /// Starts a server over a store in memory.
    ///
    /// # Errors
    /// When it cannot start or there is no port.
    pub async fn start() -> Result<Self> {
        let trust = Arc::new(Trust::new()?);
        let hook = Arc::new(Hook::start(&trust).await?);
        let random: &'static dyn SecureRandom = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        let mut builder = Server::builder(Engine::memory().store("differential"))
            .clock(Arc::new(now))
            .random(Arc::new(move |bytes: &mut [u8]| {
                random.fill(bytes).expect("the operating system has randomness");
            }));
        for (token, name, group) in USERS {
            let user = UserInfo { uid: name.to_owned(), ..UserInfo::new(name, &[group]) };
            builder = builder.token(token, user);
        }
        let server = builder.access(Access::default()).start().await.context("our server does not start")?;
        // As in the real one: what was before the scripts is forgotten.
        server.store().compact(server.store().revision());
        let pair = trust.server(&[])?;
        let tls = windlass_apiserver::tls(&pair.certificate, &pair.key, trust.ca())?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        server.announce(Announced { ca: trust.ca().to_owned(), address }).await;
        let mut tasks = JoinSet::new();
        let serving = server.clone();
        tasks.spawn(async move { serving.serve(listener, tls, CancellationToken::new()).await });
        let target = Arc::new(Target { address, trust, hook, patience: PATIENCE, real: false });
        Ok(Self { target, server, tasks })
    }

    /// Ends it.
    pub async fn stop(mut self) {
        self.server.stop().await;
        self.tasks.shutdown().await;
    }
}
