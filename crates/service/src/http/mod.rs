//! An HTTP/1.1 server that resists slow clients and too many clients: it limits connections, request heads
//! and idle time. A stop lets every request in progress receive its response.

pub mod addresses;
pub mod caller;
mod connections;
pub mod drain_body;
pub mod failures;
mod handler;
mod in_flight;
pub mod limits;
mod linger;
mod options;
mod port;
mod requests;
pub mod timeouts;

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::addresses::Addresses;
pub use self::caller::Caller;
pub use self::handler::Handler;
pub use self::options::{DRAIN_DELAY, HttpLimits, HttpServer, read_drain_delay};
use self::port::Port;

/// Serves until `stop` and the drain delay after it, then finishes the requests in progress within `grace`.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: H,
    server: HttpServer,
    stop: CancellationToken,
    grace: Duration,
) {
    let drain_delay = server.drain_delay;
    let mut port = Port::new(handler, server);
    let closing = async {
        stop.cancelled().await;
        tokio::time::sleep(drain_delay).await;
    };
    tokio::select! {
        () = closing => {}
        () = port.accept(&listener) => {}
    }
    drop(listener);
    port.end(grace).await;
}
