//! What all services share: a listener that can go away and come back, a record of every request,
//! and faults on demand.
//!
//! Connections are served by hyper itself rather than by `axum::serve`, because only there can a
//! request end in a closed connection instead of a response.

mod fault;
mod recorded;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tower::ServiceExt;

pub use fault::Fault;
pub use recorded::Recorded;

/// Serves a router over HTTP/1.1 on one port; clones are handles on the same service.
#[derive(Clone)]
pub(crate) struct Service(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    fault: Mutex<Option<Fault>>,
    in_progress: AtomicUsize,
    listening: tokio::sync::Mutex<Option<Listening>>,
    most_at_once: AtomicUsize,
    received: AtomicUsize,
    requests: Mutex<VecDeque<Recorded>>,
    router: Router,
}

/// A request that has arrived and is not answered yet; it ends when this is dropped.
struct InProgress<'a>(&'a Inner);

struct Listening {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Ends a connection without an answer.
#[derive(Debug)]
pub(crate) struct Closed;

impl Service {
    /// Listens on `address`, at any free port for 0.
    pub(crate) async fn start(router: Router, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let service = Self(Arc::new(Inner {
            address: listener.local_addr()?,
            fault: Mutex::default(),
            in_progress: AtomicUsize::default(),
            listening: tokio::sync::Mutex::default(),
            most_at_once: AtomicUsize::default(),
            received: AtomicUsize::default(),
            requests: Mutex::default(),
            router,
        }));
        *service.0.listening.lock().await = Some(service.listen(listener));
        Ok(service)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.0.requests.lock().iter().cloned().collect()
    }

    pub(crate) fn received(&self) -> usize {
        self.0.received.load(Ordering::Relaxed)
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.0.most_at_once.load(Ordering::Relaxed)
    }

    pub(crate) fn fault(&self, fault: Fault) {
        *self.0.fault.lock() = Some(fault);
    }

    pub(crate) fn heal(&self) {
        *self.0.fault.lock() = None;
    }

    pub(crate) async fn stop(&self) {
        if let Some(Listening { stop, task }) = self.0.listening.lock().await.take() {
            // Neither can fail in a way that leaves the port open.
            let _ = stop.send(());
            let _ = task.await;
        }
    }

    pub(crate) async fn resume(&self) -> io::Result<()> {
        let mut listening = self.0.listening.lock().await;
        if listening.is_none() {
            let listener = TcpListener::bind(self.0.address).await?;
            *listening = Some(self.listen(listener));
        }
        Ok(())
    }

    fn listen(&self, listener: TcpListener) -> Listening {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(self.clone().accept(listener, stopped));
        Listening { stop, task }
    }

    async fn accept(self, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => {
                    // A connection that failed before it was accepted is its client's loss.
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(self.clone().converse(stream));
                    }
                }
            }
        }
        drop(listener);
        // A kept-alive connection would make a stopped service look alive.
        connections.shutdown().await;
    }

    async fn converse(self, stream: TcpStream) {
        // Frames of a stream must leave one by one.
        let _ = stream.set_nodelay(true);
        let service = service_fn(|request| self.answer(request));
        // An error here is a client that left, or a `Fault::Close`.
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let _ = connection.with_upgrades().await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response, Closed> {
        let _in_progress = InProgress::begin(&self.0);
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Closed)?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let body = body.to_bytes();
        self.record(Recorded::new(&head, &body, &trailers));
        let fault = self.0.fault.lock().clone();
        match fault {
            None => {}
            Some(Fault::Body { status, content_type, body }) => {
                return Ok(fault::exactly(status, &content_type, body));
            }
            Some(Fault::Changed(members)) => {
                return fault::changed(self.honestly(head, body).await, members).await;
            }
            Some(Fault::Close) => return Err(Closed),
            Some(Fault::Delay(delay)) => sleep(delay).await,
            Some(Fault::Garbage) => return Ok(fault::garbage()),
            Some(Fault::Giant(bytes)) => return Ok(fault::giant(bytes)),
            Some(Fault::Hang) => pending().await,
            Some(Fault::Pieces { status, headers, pieces }) => {
                return Ok(fault::pieces(status, headers, pieces));
            }
            Some(Fault::RetryAfter { status, after }) => {
                return Ok(fault::retry_after(status, after));
            }
            Some(Fault::Status(status)) => return Ok(fault::empty(status)),
            Some(Fault::Truncated) => {
                return fault::truncated(self.honestly(head, body).await).await;
            }
        }
        Ok(self.honestly(head, body).await)
    }

    async fn honestly(&self, head: Parts, body: Bytes) -> Response {
        let request = Request::from_parts(head, Body::from(body));
        self.0.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
    }

    fn record(&self, request: Recorded) {
        self.0.received.fetch_add(1, Ordering::Relaxed);
        let mut requests = self.0.requests.lock();
        if requests.len() == REMEMBERED {
            requests.pop_front();
        }
        requests.push_back(request);
    }
}

impl<'a> InProgress<'a> {
    fn begin(service: &'a Inner) -> Self {
        let count = service.in_progress.fetch_add(1, Ordering::Relaxed) + 1;
        service.most_at_once.fetch_max(count, Ordering::Relaxed);
        Self(service)
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.0.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Service").field(&self.0.address).finish()
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is closed without an answer")
    }
}

impl std::error::Error for Closed {}

/// More than any test sends, and little enough for a benchmark to run for hours.
const REMEMBERED: usize = 10_000;

/// Gives a type with a field `service: Service` the methods that every service has.
macro_rules! serve {
    ($name:ident) => {
        impl $name {
            /// Returns the address that it listens on, or did until it was stopped.
            pub fn address(&self) -> std::net::SocketAddr {
                self.service.address()
            }

            /// Returns the requests that arrived, oldest first: the latest 10 000, faults or not.
            pub fn requests(&self) -> Vec<crate::Recorded> {
                self.service.requests()
            }

            /// Returns how many requests have come, of which [`Self::requests`] has the last 10,000.
            pub fn received(&self) -> usize {
                self.service.received()
            }

            /// Returns the largest number of requests that were ever in progress at the same time.
            pub fn most_at_once(&self) -> usize {
                self.service.most_at_once()
            }

            /// Answers every request with `fault` until [`Self::heal`].
            pub fn fault(&self, fault: crate::Fault) {
                self.service.fault(fault);
            }

            /// Answers honestly again. A request that hangs already keeps hanging.
            pub fn heal(&self) {
                self.service.heal();
            }

            /// Closes the listener and every connection; new ones are refused from now on.
            pub async fn stop(&self) {
                self.service.stop().await;
            }

            /// Listens on the same port again, if it was stopped.
            ///
            /// # Errors
            /// Fails when somebody else has taken the port meanwhile.
            pub async fn resume(&self) -> std::io::Result<()> {
                self.service.resume().await
            }
        }
    };
}
pub(crate) use serve;
