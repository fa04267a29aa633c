//! The users of `deploy/redis/users.acl` reach files and nothing else, on a real server with this very file.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::eventually;
use crate::harness::secured::Secured;
use crate::permissions::CHANNEL;

/// Asks Redis something as a user; gives the answer's first line.
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
    let all = ["media", "sender", "operator", "probe", "default"];
    let rights: [(String, &[&str]); 16] = [
        ("PING".to_owned(), &["media", "sender", "operator", "probe"]),
        (format!("STRLEN {file}"), &["media", "sender"]),
        (format!("HSET {{{file}}}:meta tenant t"), &["media", "sender"]),
        (format!("ZADD {file} 1 x"), &["media", "sender"]),
        (format!("ZREM {file} x"), &["media", "sender"]),
        (format!("ZRANGE {file} 0 -1"), &["media"]),
        (format!("EVAL \"return redis.call('HSET', KEYS[1], 'a', 'b')\" 1 {{{file}}}:meta"), &["sender"]),
        ("EVAL \"return redis.call('FLUSHALL')\" 0".to_owned(), &[]),
        ("GETRANGE other 0 1".to_owned(), &[]),
        ("SET other value".to_owned(), &[]),
        ("KEYS *".to_owned(), &[]),
        ("FLUSHALL".to_owned(), &[]),
        ("CONFIG SET maxmemory-policy allkeys-lru".to_owned(), &[]),
        ("CONFIG GET maxmemory-policy".to_owned(), &[]),
        ("INFO server".to_owned(), &["operator"]),
        ("ACL LIST".to_owned(), &[]),
    ];
    for (question, allowed) in &rights {
        for user in all {
            let answer = ask_redis(&secured, user, question).await;
            assert_eq!(!answer.starts_with('-'), allowed.contains(&user), "{user}: {question}: {answer}");
        }
    }
}

/// An upload becomes visible by a transaction, and Redis leaves a transaction out of what it reads back from its log when its
/// user `default` may not make it.
#[tokio::test(flavor = "multi_thread")]
async fn files_outlive_a_restart_of_redis() {
    use blob::{BlobStore, Meta, RedisOptions};
    use bsp::media::{MediaId, MediaKind};
    let mut secured = Secured::start().await;
    let options = RedisOptions {
        url: format!("redis://media@127.0.0.1:{}", secured.redis.port()),
        password: Some(secured.secret("redis/media.password")),
        ca_file: None,
    };
    let blobs = BlobStore::new(&options).unwrap();
    let id = MediaId::from_random([7; 16]);
    let meta = Meta {
        tenant: "tenantname".to_owned(),
        kind: MediaKind::Document,
        content_type: "text/plain".to_owned(),
        size: 5,
        sha256: String::new(),
        file_name: String::new(),
        created_at: jiff::Timestamp::now(),
        bsp: "infobip".to_owned(),
        channel: CHANNEL.to_owned(),
        command: String::new(),
    };
    let mut upload = blobs.upload(id.clone());
    upload.append(b"hello").await.unwrap();
    upload.finish(&meta, Duration::from_secs(3600)).await.unwrap();
    secured.redis.stop().await;
    secured.redis.start_again().await.unwrap();
    let found = eventually("Redis answers again", || async { blobs.look(&id).await.ok() }).await;
    let found = found.expect("the file is there");
    assert_eq!((found.size, found.first.as_ref()), (5, &b"hello"[..]));
    assert_eq!(found.meta.map(|meta| meta.tenant), Some(meta.tenant));
}
