//! A backend that says what a test has it say, piece by piece, and keeps every byte that it hears.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Says what a backend does next.
#[derive(Clone, Debug)]
pub enum Act {
    /// It sends these bytes.
    Say(Vec<u8>),
    /// It does nothing for so long.
    Wait(Duration),
    /// It ends the connection.
    Leave,
}

/// Holds one request as it came: head and body, with the chunks of the body joined.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The request line and the headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Serves HTTP/1.1 on one port, by a script.
pub struct Backend {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
    requests: Arc<Mutex<Vec<Heard>>>,
    task: JoinHandle<()>,
}

/// Returns the acts of a plain answer of JSON.
pub fn plain(body: &str) -> Vec<Act> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    vec![Act::Say(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes())]
}

/// Returns the acts of an answer of events that comes in these pieces, and has no end yet.
pub fn begun_stream<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Act> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
    let chunk = |piece: &[u8]| {
        let size = format!("{:x}\r\n", piece.len());
        [Act::Say([size.as_bytes(), piece, b"\r\n"].concat()), Act::Wait(Duration::from_millis(1))]
    };
    [Act::Say(head.into())].into_iter().chain(pieces.flat_map(chunk)).collect()
}

/// Returns the acts of an answer of events that comes in these pieces.
pub fn stream<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Act> {
    let mut acts = begun_stream(pieces);
    acts.push(Act::Say(b"0\r\n\r\n".to_vec()));
    acts
}

impl Backend {
    /// Starts one that answers each request as `script` says.
    pub async fn start(script: impl Fn(&Heard) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let requests = Arc::<Mutex<Vec<Heard>>>::default();
        let (all, heard, script) = (connections.clone(), requests.clone(), Arc::new(script));
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let mut kept = all.lock();
                let number = kept.len();
                kept.push(Vec::new());
                drop(kept);
                let (all, heard, script) = (all.clone(), heard.clone(), script.clone());
                tokio::spawn(async move {
                    serve(connection, &*script, |bytes, request| {
                        let mut all = all.lock();
                        all[number].extend_from_slice(bytes);
                        if let Some(request) = request {
                            heard.lock().push(request);
                        }
                    })
                    .await;
                });
            }
        });
        Self { address, connections, requests, task }
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns every byte that came, by connection.
    pub fn connections(&self) -> Vec<Vec<u8>> {
        self.connections.lock().clone()
    }

    /// Returns every request that came whole.
    pub fn requests(&self) -> Vec<Heard> {
        self.requests.lock().clone()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({})", self.address)
    }
}

/// Answers the requests of one connection; `note` is told of all bytes, and of each request.
async fn serve(
    mut connection: TcpStream,
    script: &(impl Fn(&Heard) -> Vec<Act> + ?Sized),
    note: impl Fn(&[u8], Option<Heard>),
) {
    let mut received = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        while let Some((heard, length)) = parse(&received) {
            received.drain(..length);
            note(&[], Some(heard.clone()));
            for act in script(&heard) {
                match act {
                    Act::Leave => return,
                    Act::Say(bytes) => {
                        if connection.write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                    Act::Wait(time) => sleep(time).await,
                }
            }
        }
        let count = connection.read(&mut buffer).await.unwrap_or_default();
        if count == 0 {
            return;
        }
        note(&buffer[..count], None);
        received.extend_from_slice(&buffer[..count]);
    }
}

/// Returns the request at the beginning of the bytes, and how many they are, once it is whole.
fn parse(bytes: &[u8]) -> Option<(Heard, usize)> {
    let start = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..start]).into_owned();
    let lower = head.to_ascii_lowercase();
    let rest = &bytes[start..];
    if lower.contains("\r\ntransfer-encoding: chunked") {
        let (body, length) = joined(rest)?;
        return Some((Heard { head, body }, start + length));
    }
    let length = lower
        .split("\r\ncontent-length: ")
        .nth(1)
        .map_or("0", |after| after.split("\r\n").next().unwrap_or_default());
    let length: usize = length.parse().ok()?;
    let body = rest.get(..length)?.to_vec();
    Some((Heard { head, body }, start + length))
}

/// Joins chunks (RFC 9112 §7.1); also says how many bytes they are, once they are whole.
fn joined(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = bytes.get(at..)?.windows(2).position(|window| window == b"\r\n")?;
        let size = str::from_utf8(bytes.get(at..at + line)?).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        at += line + 2;
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
        if size == 0 {
            return Some((body, at));
        }
    }
}
