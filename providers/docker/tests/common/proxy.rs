//! A socket before the engine's, where requests and answers get lost.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use windlass_provider::conformance::Trouble;
use windlass_runtime::Tasks;

/// The engine's socket, as `DOCKER_HOST` has it.
pub fn engine() -> String {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned()
}

/// What runs in the background for as long as a provider lives: it would make the numbers of exchanges a matter
/// of luck.
const BACKGROUND: [&str; 2] = ["/events", "/exec"];

/// The wire between a provider and the engine.
#[derive(Clone)]
pub struct Proxy {
    pub socket: PathBuf,
    state: Arc<Mutex<State>>,
    _folder: Arc<tempfile::TempDir>,
}

#[derive(Default)]
struct State {
    trouble: Option<Trouble>,
    exchanges: usize,
    struck: bool,
}

/// What becomes of one exchange.
enum Fate {
    Pass,
    Drop,
    Answerless,
    Refuse(&'static str),
}

impl Proxy {
    pub fn start(tasks: &Tasks) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let proxy = Self { socket, state: Arc::default(), _folder: Arc::new(folder) };
        let (this, spawner) = (proxy.clone(), tasks.spawner());
        tasks.spawn("proxy", async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let this = this.clone();
                // What breaks here is what was meant to break.
                spawner.spawn("exchange", async move { drop(this.exchange(client).await) });
            }
        });
        proxy
    }

    /// As `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    pub fn afflict(&self, trouble: Trouble) {
        *self.state.lock() = State { trouble: Some(trouble), ..State::default() };
    }

    pub fn relieve(&self) -> bool {
        std::mem::take(&mut *self.state.lock()).struck
    }

    fn fate(&self, head: &str) -> Fate {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let mut state = self.state.lock();
        let Some(trouble) = state.trouble else { return Fate::Pass };
        let background = BACKGROUND.iter().any(|part| path.contains(part));
        let nth = state.exchanges;
        state.exchanges += usize::from(!background);
        let fate = match trouble {
            Trouble::CutBefore(at) if !background && nth == at => Fate::Drop,
            Trouble::CutAfter(at) if !background && nth == at => Fate::Answerless,
            Trouble::CutBefore(_) | Trouble::CutAfter(_) => return Fate::Pass,
            Trouble::Unreachable => Fate::Drop,
            Trouble::Throttling => Fate::Refuse("429 Too Many Requests"),
            Trouble::Denied => Fate::Refuse("403 Forbidden"),
        };
        state.struck |= !background;
        fate
    }

    /// One connection, which the provider's client uses for one request.
    async fn exchange(&self, mut client: UnixStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        until_end_of_head(&mut client, &mut head).await?;
        let fate = self.fate(&String::from_utf8_lossy(&head));
        match fate {
            Fate::Drop => return Ok(()),
            Fate::Refuse(status) => {
                let body = "{\"message\":\"refused by the test\"}";
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
                     connection: close\r\n\r\n{body}"
                );
                return client.write_all(answer.as_bytes()).await;
            }
            Fate::Pass | Fate::Answerless => {}
        }
        let mut engine = UnixStream::connect(engine()).await?;
        engine.write_all(&head).await?;
        if matches!(fate, Fate::Pass) {
            return tokio::io::copy_bidirectional(&mut client, &mut engine).await.map(drop);
        }
        let (mut from_client, _to_client) = client.split();
        let (mut from_engine, mut to_engine) = engine.split();
        let mut answer = Vec::new();
        tokio::select! {
            done = until_end_of_head(&mut from_engine, &mut answer) => done,
            // The request is over before its answer is.
            copied = tokio::io::copy(&mut from_client, &mut to_engine) => copied.map(drop),
        }
    }
}

async fn until_end_of_head(
    from: &mut (impl AsyncReadExt + Unpin),
    head: &mut Vec<u8>,
) -> std::io::Result<()> {
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if from.read_buf(head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
