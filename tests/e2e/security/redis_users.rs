//! The users of `deploy/redis/users.acl` can access files and nothing else, on a real server with this file.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::eventually;
use crate::harness::secured::Secured;
use crate::harness::secured_channel::CHANNEL;

/// Sends a command to Redis as a user; returns the first line of the response.
async fn ask_redis(secured: &Secured, user: &str, question: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", secured.redis.port())).await.unwrap();
    if user != "default" {
        let password = match user {
            "probe" => "none".to_owned(),
            user => secured.secret(&format!("redis/{user}.password")),
        };
        stream.write_all(format!("AUTH {user} {password}\r\n").as_bytes()).await.unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"+OK\r\n", "{user} cannot log in");
    }
    stream.write_all(format!("{question}\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_users_reach_files_and_nothing_else() {
    let secured = Secured::start().await;
    let file = "IMChannel:MultimediaMessage:0190";
    let all = ["media", "sender", "eraser", "provisioner", "operator", "probe", "default"];
    secured.cli("provisioner", &["setup"]).await;
    let name_file = |key: &str| format!("FCALL imchannel_v1_set_field_of_file 1 {key} command c");
    let load = "FUNCTION LOAD \"#!lua name=x\\nredis.register_function('x', function() return 1 end)\"";
    let rights: [(String, &[&str]); 28] = [
        ("PING".to_owned(), &["media", "sender", "eraser", "provisioner", "operator", "probe"]),
        (format!("STRLEN {file}"), &["media", "sender"]),
        (format!("HSET {{{file}}}:meta tenant t"), &["media", "sender"]),
        (format!("ZADD {file} 1 x"), &["media", "sender"]),
        (format!("ZREM {file} x"), &["media", "sender", "eraser"]),
        (format!("UNLINK {file}"), &["media", "sender", "eraser"]),
        (format!("ZRANGE {file} 0 -1"), &["media"]),
        ("FCALL imchannel_v1_loaded 0".to_owned(), &["sender"]),
        (name_file(&format!("{{{file}}}:meta")), &["sender"]),
        (name_file("other"), &[]),
        // A script may run forever, and Redis does nothing else during that time.
        (format!("EVAL \"return redis.call('HSET', KEYS[1], 'a', 'b')\" 1 {{{file}}}:meta"), &[]),
        ("EVAL_RO \"return 1\" 0".to_owned(), &[]),
        ("EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0".to_owned(), &[]),
        ("SCRIPT LOAD \"return 1\"".to_owned(), &[]),
        ("SCRIPT KILL".to_owned(), &[]),
        (load.to_owned(), &["provisioner"]),
        ("FUNCTION LIST".to_owned(), &["provisioner", "operator"]),
        ("FUNCTION STATS".to_owned(), &["operator"]),
        ("FUNCTION DELETE imchannel_v1".to_owned(), &[]),
        ("FUNCTION FLUSH".to_owned(), &[]),
        ("FUNCTION RESTORE x".to_owned(), &[]),
        ("GETRANGE other 0 1".to_owned(), &[]),
        ("SET other value".to_owned(), &[]),
        ("KEYS *".to_owned(), &[]),
        ("FLUSHALL".to_owned(), &[]),
        ("CONFIG SET maxmemory-policy allkeys-lru".to_owned(), &[]),
        ("INFO server".to_owned(), &["operator"]),
        ("ACL LIST".to_owned(), &[]),
    ];
    for (question, allowed) in &rights {
        for user in all {
            let answer = ask_redis(&secured, user, question).await;
            assert_eq!(!answer.starts_with('-'), allowed.contains(&user), "{user}: {question}: {answer}");
        }
    }
    // No function hangs that could be ended.
    assert!(ask_redis(&secured, "operator", "FUNCTION KILL").await.starts_with("-NOTBUSY"));
    for user in ["media", "sender", "provisioner", "probe", "default"] {
        let answer = ask_redis(&secured, user, "FUNCTION KILL").await;
        assert!(answer.starts_with("-NO") && !answer.starts_with("-NOTBUSY"), "{user}: {answer}");
    }
}

/// Only the provisioner can load such a function. The operator can end it, so Redis need not be restarted.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_ends_a_function_that_hangs() {
    let secured = Secured::start().await;
    let hang = "FUNCTION LOAD \"#!lua name=hang\\nredis.register_function{function_name='hang', callback=function() while true do end \
                end, flags={'no-writes'}}\"";
    assert!(ask_redis(&secured, "provisioner", hang).await.starts_with('$'));
    let calls = ask_redis(&secured, "sender", "FCALL hang 0");
    let ends = async {
        eventually("Redis says that it is busy", || async {
            let asked =
                tokio::time::timeout(Duration::from_millis(500), ask_redis(&secured, "probe", "PING"));
            asked.await.ok()?.starts_with("-BUSY").then_some(())
        })
        .await;
        // The rest of the response names the function.
        let running = ask_redis(&secured, "operator", "FUNCTION STATS").await;
        assert!(running.starts_with('*'), "{running}");
        assert_eq!(ask_redis(&secured, "operator", "FUNCTION KILL").await, "+OK");
    };
    let (answer, ()) = tokio::join!(calls, ends);
    assert!(answer.starts_with("-ERR") && answer.contains("killed"), "{answer}");
    assert_eq!(ask_redis(&secured, "probe", "PING").await, "+PONG");
}

/// An upload becomes visible by a transaction. When Redis reads its log back, it skips a transaction that its user
/// `default` must not run.
#[tokio::test(flavor = "multi_thread")]
async fn files_and_functions_outlive_a_restart_of_redis() {
    use blob::{BlobError, BlobStore};
    let mut secured = Secured::start().await;
    let options = |user: &str| blob::RedisOptions {
        url: format!("redis://{user}@127.0.0.1:{}", secured.redis.port()),
        password: Some(secured.secret(&format!("redis/{user}.password"))),
        ca_file: None,
    };
    let (blobs, sender) =
        (BlobStore::new(&options("media")).unwrap(), BlobStore::new(&options("sender")).unwrap());
    assert!(matches!(sender.check_functions().await, Err(BlobError::NoFunctions)));
    assert!(matches!(blobs.check_functions().await, Err(BlobError::MayNotCall(_))));
    let told = secured.cli("provisioner", &["setup"]).await;
    assert!(told.contains("functions imchannel_v1: loaded into Redis"), "{told}");
    sender.check_functions().await.unwrap();

    let (id, meta) = file();
    let mut upload = blobs.upload(id.clone());
    upload.append(b"hello").await.unwrap();
    upload.finish(&meta, Duration::from_secs(3600)).await.unwrap();
    secured.redis.stop().await;
    secured.redis.start_again().await.unwrap();
    let found = eventually("Redis answers again", || async { blobs.stat(&id).await.ok() }).await;
    let found = found.expect("the file is there");
    assert_eq!(found.size, 5);
    assert_eq!(found.first.as_ref(), &b"hello"[..]);
    assert_eq!(found.meta.map(|meta| meta.tenant), Some(meta.tenant));
    eventually("the functions are there", || async { sender.check_functions().await.ok() }).await;
    sender.tag_command(&id, "c-1").await.unwrap();
    let named = blobs.stat(&id).await.unwrap().unwrap().meta.unwrap();
    assert_eq!(named.command, "c-1");
    // A file without a hash gets none.
    let other = bsp::media::MediaId::from_random([8; 16]);
    sender.tag_command(&other, "c-1").await.unwrap();
    assert!(blobs.stat(&other).await.unwrap().is_none());
}

fn file() -> (bsp::media::MediaId, blob::Meta) {
    let meta = blob::Meta {
        tenant: "tenantname".to_owned(),
        kind: bsp::media::MediaKind::Document,
        content_type: "text/plain".to_owned(),
        size: 5,
        sha256: String::new(),
        file_name: String::new(),
        created_at: jiff::Timestamp::now(),
        bsp: "infobip".to_owned(),
        channel: CHANNEL.to_owned(),
        command: String::new(),
    };
    (bsp::media::MediaId::from_random([7; 16]), meta)
}
