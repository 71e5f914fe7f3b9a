//! A small HTTP server on a thread of its own: whoever stalls it, floods it or sends it nonsense
//! holds up nothing else, and takes no more memory than is said here.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::TcpListener;
use std::pin::pin;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};

use super::exposition::Format;
use super::shared::Shared;
use crate::system::privileges;

/// Most connections at a time. When one more comes the oldest is cut off: a scrape is over in
/// milliseconds, the oldest of so many is one that stalls.
const MOST_CONNECTIONS: usize = 64;
/// For a whole connection, which is one request: its head, and the answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the head of the request.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of the head, and of the buffer of each connection.
const MOST_HEAD: usize = 16 * 1024;
/// Most header fields.
const MOST_FIELDS: usize = 64;
/// When no connection can be taken, for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);
/// The server stands behind what traces.
const NICE: libc::c_int = 10;
/// Figures are new every second; older ones mean that tracer is stuck.
const STALE: Duration = Duration::from_secs(10);

/// The thread, until it is told to stop.
pub(super) struct Server {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Starts to answer. The listener must not block.
    ///
    /// # Errors
    /// The thread can't be started, or has no event loop.
    pub(super) fn start(listener: TcpListener, shared: Shared) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .context("cannot start the server's event loop")?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("tracer-metrics".to_owned())
            .spawn(move || {
                // It talks to strangers. Sets the priority back as well.
                if let Err(error) = privileges::drop_all_in_this_thread() {
                    log::warn!("--metrics: {error:#}");
                }
                // SAFETY: takes plain numbers; who 0 is the calling thread (setpriority(2)).
                unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        result = serve(listener, shared) => {
                            if let Err(error) = result {
                                log::error!("--metrics: {error}; nobody is served any more");
                            }
                        }
                    }
                });
            })
            .context("cannot start the server's thread")?;
        Ok(Self { stop, thread })
    }

    /// Stops; waits for the thread until `deadline` at most.
    pub(super) fn stop(self, deadline: Instant) {
        let _ = self.stop.send(());
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

async fn serve(listener: TcpListener, shared: Shared) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut tasks = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => {
                oldest_first.retain(|task| !task.is_finished());
                continue;
            }
        };
        let Ok((stream, _)) = stream else {
            // Out of descriptors or memory, or the peer has gone: nothing that ends a server.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if oldest_first.len() >= MOST_CONNECTIONS {
            oldest_first.retain(|task| !task.is_finished());
        }
        if oldest_first.len() >= MOST_CONNECTIONS
            && let Some(oldest) = oldest_first.pop_front()
        {
            oldest.abort();
        }
        oldest_first.push_back(tasks.spawn(connection(stream, shared.clone())));
    }
}

/// One connection, one request.
async fn connection(stream: tokio::net::TcpStream, shared: Shared) {
    let service = service_fn(move |request| {
        let response = answer(&request, &shared);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .keep_alive(false)
        .max_headers(MOST_FIELDS)
        .max_buf_size(MOST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // Whatever the peer did wrong is the peer's to see.
    let _ = tokio::time::timeout(PATIENCE, pin!(connection)).await;
}

const INDEX: &str = "<!DOCTYPE html><html lang=\"en\"><head><title>tracer</title></head><body>\
    <h1>tracer</h1><p><a href=\"/metrics\">/metrics</a>: figures for Prometheus</p>\
    <p><a href=\"/healthz\">/healthz</a>: whether they are fresh</p></body></html>\n";

fn answer(request: &Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/" | "/metrics" | "/healthz") {
        return plain(StatusCode::NOT_FOUND, "there is nothing here; figures are at /metrics\n");
    }
    // hyper leaves the body out for HEAD.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => {
            let accept = request.headers().get_all(ACCEPT).iter();
            let accept: Vec<_> = accept.filter_map(|value| value.to_str().ok()).collect();
            figures(Format::accepted(&accept.join(",")), shared)
        }
        "/healthz" => match shared.age() {
            Some(age) if age < STALE => plain(StatusCode::OK, "ok\n"),
            _ => plain(StatusCode::SERVICE_UNAVAILABLE, "tracer does not get on\n"),
        },
        _ => with_type("text/html; charset=utf-8", Bytes::from_static(INDEX.as_bytes())),
    }
}

fn figures(format: Format, shared: &Shared) -> Response<Full<Bytes>> {
    let Some(text) = shared.text(format) else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "no figures yet\n");
    };
    let mut response = with_type(format.content_type(), text);
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = with_type("text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    response
}

fn with_type(media: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
