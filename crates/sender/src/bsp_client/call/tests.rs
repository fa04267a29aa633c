//! Calls on connections that the server closes at random moments. A call that is reported as unsent has written no
//! byte.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::bsp_client::client;

const CALLS: usize = 600;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// Bytes that the server has read on all connections.
type Seen = Arc<Mutex<Vec<u8>>>;

/// Number of calls by outcome.
#[derive(Debug, Default)]
struct Ends {
    answered: usize,
    unsent: HashSet<String>,
    unknown: usize,
}

/// Reads for `until`. Returns whether a whole call arrived.
async fn read_for(stream: &mut TcpStream, seen: &Seen, until: Duration) -> bool {
    let deadline = Instant::now() + until;
    let mut call = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(Ok(count @ 1..)) = timeout_at(deadline, stream.read(&mut piece)).await {
        seen.lock().unwrap().extend_from_slice(&piece[..count]);
        call.extend_from_slice(&piece[..count]);
        if call.ends_with(b"END") {
            return true;
        }
    }
    false
}

/// Answers calls and closes each connection 0 to 3 ms after an answer. `is_hasty` closes some without waiting for a
/// call.
async fn serve(is_hasty: bool) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let all = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&all);
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let hasty = Duration::from_micros(fastrand::u64(0..200));
                let limit = if is_hasty && fastrand::bool() { hasty } else { Duration::from_secs(10) };
                if !read_for(&mut stream, &seen, limit).await {
                    return;
                }
                let _ = stream.write_all(ANSWER).await;
                tokio::time::sleep(Duration::from_micros(fastrand::u64(0..3_000))).await;
                // Reads what arrives after the last answer, and does not answer it.
                read_for(&mut stream, &seen, Duration::ZERO).await;
            });
        }
    });
    (address, seen)
}

/// Makes calls one after another, at most a millisecond apart.
async fn call_often(address: SocketAddr, idle_timeout: Duration) -> Ends {
    service::process::install_crypto_provider();
    let client = client::client(None, idle_timeout).unwrap();
    let mut ends = Ends::default();
    for number in 0..CALLS {
        let id = format!("<call-{number}>");
        let call = client.post(format!("http://{address}/")).body(format!("{id}END"));
        match exchange(call, None).await {
            Ok(_) => ends.answered += 1,
            Err(CallResult::NotConnected) => drop(ends.unsent.insert(id)),
            Err(_) => ends.unknown += 1,
        }
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..1_000))).await;
    }
    ends
}

fn assert_unsent(ends: &Ends, seen: &Seen) {
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    for id in &ends.unsent {
        assert!(!seen.contains(id.as_str()), "{id} was reported as unsent, but the server read it");
    }
    for number in 0..CALLS {
        let id = format!("<call-{number}>");
        assert!(seen.matches(&id).count() <= 1, "{id} was written twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_written_once_and_called_unsent_only_where_no_byte_of_it_was_written() {
    let (address, seen) = serve(true).await;
    let ends = call_often(address, Duration::from_secs(4)).await;
    println_ends("hasty, 4 s", &ends);
    assert_unsent(&ends, &seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_used_once_do_not_break_under_calls() {
    let (address, seen) = serve(false).await;
    let reused = call_often(address, Duration::from_secs(4)).await;
    println_ends("closes 0 to 3 ms after each answer, idle 4 s", &reused);
    let used_once = call_often(address, Duration::ZERO).await;
    println_ends("closes 0 to 3 ms after each answer, idle 0", &used_once);
    assert_eq!((used_once.answered, used_once.unknown), (CALLS, 0), "{used_once:?}");
    assert!(reused.unknown > 0, "no call was interrupted, so the test proves nothing: {reused:?}");
    drop(seen);
}

/// The monotonic clock of a suspended machine stops, so only the wall clock shows that the deadline has passed.
#[tokio::test]
async fn a_request_is_not_written_after_its_deadline_by_the_wall_clock() {
    let (address, seen) = serve(false).await;
    service::process::install_crypto_provider();
    let client = client::client(None, Duration::from_secs(4)).unwrap();
    let call = |id: &str| exchange(client.post(format!("http://{address}/")).body(format!("{id}END")), None);
    let soon = Moment::now().plus(Duration::from_secs(10));
    assert!(by_deadline(soon, call("<in time>")).await.is_ok());
    let passed = Moment { unix_ms: Moment::now().unix_ms - 1, ..soon };
    let end = by_deadline(passed, call("<too late>")).await;
    assert!(matches!(end, Err(CallResult::Indeterminate(Reason::TimedOut))), "{end:?}");
    // It passes while the exchange waits for its connection.
    let during = Moment { unix_ms: Moment::now().unix_ms + 50, ..soon };
    let end = by_deadline(during, async {
        while !during.has_come_at(Moment::now()) {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        call("<suspended>").await
    })
    .await;
    assert!(matches!(end, Err(CallResult::Indeterminate(Reason::TimedOut))), "{end:?}");
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    assert!(
        seen.contains("<in time>") && !seen.contains("<too late>") && !seen.contains("<suspended>"),
        "{seen}"
    );
}

#[expect(clippy::print_stderr, reason = "prints the measured share of interrupted calls")]
fn println_ends(what: &str, ends: &Ends) {
    let (unsent, unknown) = (ends.unsent.len(), ends.unknown);
    eprintln!("{what}: {CALLS} calls, {} answered, {unsent} unsent, {unknown} unknown", ends.answered);
}
