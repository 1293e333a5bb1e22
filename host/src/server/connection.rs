//! One client connection: HTTP/1.1 with time limits, and a close that lets the last answer arrive.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Limits;
use super::client_stream::ClientStream;
use super::lifecycle::Phase;
use super::places::Place;
use super::service::Service;

/// A request's head, and the read buffer. Real heads have a few hundred bytes.
const HEAD_BYTES: usize = 64 << 10;

/// The time a refused upload may go on before the connection is reset.
const LINGER: Duration = Duration::from_secs(5);

/// Serve the connection's requests, one after the other, until either side has had enough, or its
/// place is needed for another one while the client is silent.
pub(super) async fn serve(
    stream: TcpStream,
    service: Service,
    limits: Limits,
    phase: watch::Receiver<Phase>,
    place: Place,
) {
    tokio::select! {
        // What the client has sent is read before it is called silent.
        biased;
        () = converse(stream, service, limits, phase, &place) => {}
        () = place.given_up() => tracing::debug!("connection given up for another one"),
    }
}

async fn converse(
    stream: TcpStream,
    service: Service,
    limits: Limits,
    mut phase: watch::Receiver<Phase>,
    place: &Place,
) {
    let client = place.client();
    let stream = ClientStream::new(stream, client.clone(), limits.write_timeout);
    let mut connection = http1::Builder::new()
        // It would also end connections that are kept for a further request.
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut alarm = pin!(sleep(limits.idle_timeout));
    let mut closing = false;
    let result = loop {
        let ended = tokio::select! {
            result = poll_fn(|cx| {
                if let Poll::Ready(result) = connection.poll_without_shutdown(cx) {
                    return Poll::Ready(Some(result));
                }
                // Looked up after each step, since each may have changed it.
                let Some(deadline) = client.deadline(&limits) else {
                    return Poll::Pending;
                };
                if alarm.deadline() != deadline {
                    alarm.as_mut().reset(deadline);
                }
                alarm.as_mut().poll(cx).map(|()| None)
            }) => match result {
                Some(result) => Some(result),
                None => return tracing::debug!("connection closed: its client sends nothing"),
            },
            _ = phase.wait_for(|phase| *phase == Phase::Closing), if !closing => None,
        };
        if let Some(result) = ended {
            break result;
        }
        closing = true;
        Pin::new(&mut connection).graceful_shutdown();
    };
    match result {
        Ok(()) => {
            let stream = connection.into_parts().io.into_inner();
            client.answered();
            linger(stream.into_inner()).await;
        }
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
