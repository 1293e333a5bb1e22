//! One client connection: HTTP/1.1 with time limits, and a close that lets the last answer arrive.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Limits;
use super::lifecycle::Phase;
use super::service::Service;
use super::write_timeout::WriteTimeout;

/// A request's head, and the read buffer. Real heads have a few hundred bytes.
const HEAD_BYTES: usize = 64 << 10;

/// How long a refused upload may go on before the connection is reset.
const LINGER: Duration = Duration::from_secs(5);

/// Serve the connection's requests, one after the other, until either side has had enough.
pub(super) async fn serve(
    stream: TcpStream,
    service: Service,
    limits: Limits,
    mut phase: watch::Receiver<Phase>,
) {
    let io = TokioIo::new(WriteTimeout::new(stream, limits.write_timeout));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(io, service);
    let mut closing = false;
    let result = loop {
        let ended = tokio::select! {
            result = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Some(result),
            _ = phase.wait_for(|phase| *phase == Phase::Closing), if !closing => None,
        };
        if let Some(result) = ended {
            break result;
        }
        closing = true;
        Pin::new(&mut connection).graceful_shutdown();
    };
    match result {
        Ok(()) => linger(connection.into_parts().io.into_inner().into_inner()).await,
        Err(error) => tracing::debug!(%error, "connection ended"),
    }
}

/// Close without losing the answer: closing a socket with unread input resets it, and a client that
/// is still sending a refused body would see the reset instead of the 413.
async fn linger(mut stream: TcpStream) {
    let drain = async {
        stream.shutdown().await?;
        let mut sink = vec![0; 16 << 10];
        while stream.read(&mut sink).await? > 0 {}
        std::io::Result::Ok(())
    };
    // The client left first, or took too long: either way the connection is over.
    let _ = tokio::time::timeout(LINGER, drain).await;
}
