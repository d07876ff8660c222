//! The door of a workload cluster: its port on the loopback interface.

use std::net::Ipv4Addr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use windlass_apiserver::Server;

use super::ports::Held;
use super::rows::ServingPki;
use super::site::Site;

/// How often a port that another program has taken is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Serves the cluster's API on its port whenever it is open; while it is closed, connections end at once.
pub(super) async fn listen(site: Weak<Site>, held: Held, mut open: watch::Receiver<bool>) {
    let Held { port, mut socket } = held;
    loop {
        let listener = match socket.take() {
            Some(socket) => TcpListener::from_std(socket),
            None => TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await,
        };
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(port, %error, "a workload cluster cannot listen; stop the program on its port");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        if !wait_until_open(&listener, &mut open).await {
            return;
        }
        let Some((server, tls)) = site.upgrade().and_then(|site| parts(&site, site.pki()?.as_ref())) else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let shutdown = CancellationToken::new();
        let closed = async {
            let _ = open.wait_for(|open| !open).await;
            shutdown.cancel();
        };
        tokio::join!(server.serve(listener, tls, shutdown.clone()), closed);
    }
}

/// Hangs up on everybody until the cluster opens; `false` if it never will.
async fn wait_until_open(listener: &TcpListener, open: &mut watch::Receiver<bool>) -> bool {
    loop {
        tokio::select! {
            biased;
            opened = open.wait_for(|open| *open) => return opened.is_ok(),
            accepted = listener.accept() => drop(accepted),
        }
    }
}

/// The API server and its TLS, as kubeadm would have set it up.
pub(super) fn parts(site: &Site, pki: &ServingPki) -> Option<(Server, Arc<rustls::ServerConfig>)> {
    let server = site.open_server()?;
    let pki = &pki.api_server;
    match windlass_apiserver::tls(&pki.certificate, pki.key.expose(), &pki.ca) {
        Ok(tls) => Some((server, tls)),
        Err(error) => {
            tracing::error!(cluster = %site.cluster(), %error, "a workload cluster has unusable certificates");
            None
        }
    }
}
