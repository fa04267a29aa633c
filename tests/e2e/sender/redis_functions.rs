//! The Redis functions that the sender calls: which commands wait while they are missing, how to load them, and which
//! failures they survive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bus::Priority;
use proto::v1::{OutboundMedia, SendCommand, outbound_media::Source, send_command::Content};
use servers::{RedisOptions, RedisServer};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::files::{bytes, redis, redis_at, stored};
use crate::harness::outbound::{Outbound, RunningMedia, RunningSender, text};
use crate::harness::secured::root;
use crate::harness::{Program, eventually, run_cli_with};

fn jpeg() -> Vec<u8> {
    bytes(b"\xff\xd8\xff\xe0", 70_000)
}

/// A command with a file, to a different customer.
fn with_file(command_id: &str, recipient: &str, source: Source, content_type: &str) -> SendCommand {
    let image = OutboundMedia {
        source: Some(source),
        content_type: content_type.to_owned(),
        ..OutboundMedia::default()
    };
    let mut command = text(0, command_id, recipient, "");
    command.content = Some(Content::Image(image));
    command
}

async fn upload(media: &RunningMedia) -> String {
    stored(&media.url, "image", "image/jpeg", jpeg()).await["id"].as_str().unwrap().to_owned()
}

async fn outcome(outbound: &Outbound, command_id: &str) -> &'static str {
    outbound.result(command_id).await.outcome().as_str_name()
}

/// Readiness of the sender for the functions, as soon as it is known.
async fn said(sender: &RunningSender, is_well: bool) -> String {
    eventually("the sender says how it is with the functions", || async {
        let answers = sender.context.readiness.check();
        let (_, state) = answers.into_iter().find(|(name, _)| *name == "redis functions")?;
        (state.is_ok() == is_well).then(|| state.err().unwrap_or_default())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_functions_stored_files_wait_until_setup_has_loaded_them() {
    let outbound = Outbound::start(&[50]).await;
    let (media, sender) = (outbound.media().await, outbound.sender().await);
    let id = upload(&media).await;
    assert!(redis(&outbound, &[b"FUNCTION", b"FLUSH"]).await.starts_with("+OK"));
    let told = said(&sender, false).await;
    assert!(told.contains("lacks the functions of this version: run `imchannel setup`"), "{told}");

    let source = Source::MediaId(id);
    outbound.publish(Priority::Interactive, &with_file("stored", "4915110001", source, "")).await;
    // Commands that need no function are sent after it: text, and a file inside the command.
    outbound.publish(Priority::Interactive, &text(0, "text", "4915110002", "hello")).await;
    let source = Source::Data(jpeg().into());
    outbound.publish(Priority::Interactive, &with_file("inline", "4915110003", source, "image/jpeg")).await;
    for command_id in ["text", "inline"] {
        assert_eq!(outcome(&outbound, command_id).await, "SEND_OUTCOME_ACCEPTED", "{command_id}");
    }
    assert_eq!(outbound.results().await.len(), 2, "the stored file did not wait");
    // Two files, each with its metadata, and the set of unfetched files: no attempt leaves another file.
    let keys = redis(&outbound, &[b"DBSIZE"]).await;
    assert!(keys.starts_with(":4") || keys.starts_with(":5"), "{keys}");

    let nats = outbound.installation.nats.url();
    let silent = run_cli_with(&nats, "imchannel", &["setup"], &[]).await;
    let told = String::from_utf8(silent.stdout).unwrap();
    assert!(
        told.contains("functions of Redis were not loaded") && told.contains("IMCHANNEL_REDIS_URL"),
        "{told}"
    );
    let url = outbound.redis.url();
    let fixed = run_cli_with(&nats, "imchannel", &["setup"], &[("IMCHANNEL_REDIS_URL", url.as_str())]).await;
    assert!(fixed.status.success(), "{}", String::from_utf8_lossy(&fixed.stderr));
    assert_eq!(outcome(&outbound, "stored").await, "SEND_OUTCOME_ACCEPTED");
    said(&sender, true).await;
    let names = eventually("both files were fetched, with the names of their commands", || async {
        let fetches = outbound.fetches().await;
        let named = |command: &str| fetches.iter().any(|fetch| fetch.command_id == command);
        (named("stored") && named("inline")).then_some(())
    });
    names.await;
}

/// An unreachable Redis shows nothing about its functions: the sender stays ready, and text is sent, even if Redis
/// never responded.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_without_redis_is_ready_and_sends_text() {
    let mut outbound = Outbound::start(&[50]).await;
    outbound.redis.stop().await;
    let sender = outbound.sender().await;
    outbound.publish(Priority::Interactive, &text(0, "text", "4915110002", "hello")).await;
    assert_eq!(outcome(&outbound, "text").await, "SEND_OUTCOME_ACCEPTED");
    assert!(sender.context.readiness.is_ready());
    // It starts empty: this Redis has no persistence.
    outbound.redis.start_again().await.unwrap();
    said(&sender, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_outlive_that_all_files_are_flushed() {
    let outbound = Outbound::start(&[50]).await;
    let (media, sender) = (outbound.media().await, outbound.sender().await);
    let gone = upload(&media).await;
    assert!(redis(&outbound, &[b"FLUSHALL"]).await.starts_with("+OK"));
    let source = Source::MediaId(gone);
    outbound.publish(Priority::Interactive, &with_file("gone", "4915110001", source, "")).await;
    assert_eq!(outbound.result("gone").await.error.unwrap().code, "MEDIA_NOT_FOUND");
    let source = Source::MediaId(upload(&media).await);
    outbound.publish(Priority::Interactive, &with_file("stored", "4915110001", source, "")).await;
    assert_eq!(outcome(&outbound, "stored").await, "SEND_OUTCOME_ACCEPTED");
    said(&sender, true).await;
}

/// Redis reads functions back from its log, also from a rewritten one.
#[tokio::test(flavor = "multi_thread")]
async fn functions_outlive_a_kill_of_redis_with_a_log_that_was_rewritten() {
    let folder = tempfile::TempDir::new().unwrap();
    let acl = folder.path().join("users.acl");
    std::fs::write(&acl, "user default on nopass allkeys allchannels allcommands\n").unwrap();
    let options = RedisOptions {
        folder: folder.path().join("redis"),
        config: Some(root().join("deploy/redis/redis.conf")),
        args: vec!["--aclfile".to_owned(), acl.to_string_lossy().into_owned()],
    };
    let mut server = RedisServer::start_with(options).await.unwrap();
    crate::harness::outbound::load_functions(&server.url()).await;
    for rewrites in [false, true] {
        if rewrites {
            redis_at(&server, &[b"BGREWRITEAOF"]).await;
            eventually("the log was rewritten", || async {
                let info = redis_at(&server, &[b"INFO", b"persistence"]).await;
                let is_done =
                    info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0");
                (is_done && info.contains("aof_last_bgrewrite_status:ok")).then_some(())
            })
            .await;
        }
        let called = redis_at(&server, &[b"FCALL", b"imchannel_v1_loaded", b"0"]).await;
        assert!(called.starts_with(":1"), "{called}");
        server.stop().await;
        server.start_again().await.unwrap();
    }
    let called = redis_at(&server, &[b"FCALL", b"imchannel_v1_loaded", b"0"]).await;
    assert!(called.starts_with(":1"), "{called}");
}

/// Forwards connections to a port that can be changed; existing ones stay at the old one.
async fn relay(to: Arc<AtomicU16>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let port = to.load(Ordering::Relaxed);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    url
}

/// The name points to another server from now on, and the old one is its replica: writes on its connections fail.
#[tokio::test(flavor = "multi_thread")]
async fn the_sender_goes_on_at_a_replica_that_took_over() {
    let outbound = Outbound::start(&[50]).await;
    let media = outbound.media().await;
    let primary = outbound.redis.port().to_string();
    let replica = RedisServer::start_with(RedisOptions {
        folder: outbound.installation.folder().join("replica"),
        config: None,
        args: vec!["--replicaof".to_owned(), format!("127.0.0.1 {primary}")],
    });
    let replica = replica.await.unwrap();
    let place = Arc::new(AtomicU16::new(outbound.redis.port()));
    let url = relay(Arc::clone(&place)).await;
    let mut sender: Program = outbound.sender_program(&[("IMCHANNEL_REDIS_URL", url.as_str())]);
    let ids = [upload(&media).await, upload(&media).await];
    let send = async |command_id: &str, id: &str| {
        let source = Source::MediaId(id.to_owned());
        outbound.publish(Priority::Interactive, &with_file(command_id, "4915110001", source, "")).await;
        outcome(&outbound, command_id).await
    };
    assert_eq!(send("before", &ids[0]).await, "SEND_OUTCOME_ACCEPTED");
    eventually("the replica has the file and the functions", || async {
        let key = format!("IMChannel:MultimediaMessage:{}", ids[1]);
        let file = redis_at(&replica, &[b"EXISTS", key.as_bytes()]).await;
        let called = redis_at(&replica, &[b"FCALL", b"imchannel_v1_loaded", b"0"]).await;
        (file.starts_with(":1") && called.starts_with(":1")).then_some(())
    })
    .await;
    assert!(redis_at(&replica, &[b"REPLICAOF", b"NO", b"ONE"]).await.starts_with("+OK"));
    place.store(replica.port(), Ordering::Relaxed);
    let to = replica.port().to_string();
    assert!(redis(&outbound, &[b"REPLICAOF", b"127.0.0.1", to.as_bytes()]).await.starts_with("+OK"));
    assert_eq!(send("after", &ids[1]).await, "SEND_OUTCOME_ACCEPTED");
    let about = format!("{{IMChannel:MultimediaMessage:{}}}:meta", ids[1]);
    let named = redis_at(&replica, &[b"HGET", about.as_bytes(), b"command"]).await;
    assert!(named.contains("after"), "{named}");
    assert!(sender.stop().await);
}
