//! Files over real HTTP and a real Redis: uploaded, served, refused, expired.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::files::{bytes, client, header, redis, status, stored, upload};
use crate::harness::outbound::{Outbound, RunningMedia, TENANT, UPLOAD_TOKEN, text};
use crate::harness::{Program, eventually, exclusive, within};

const MIB: usize = 1024 * 1024;
const LEGACY_ID: &str = "bb8b8717-5b71-45a7-be04-af9cb746661b";

async fn ttl_s(outbound: &Outbound, id: &str) -> i64 {
    let key = format!("IMChannel:MultimediaMessage:{id}");
    let answer = redis(outbound, &[b"TTL", key.as_bytes()]).await;
    answer.trim_start_matches(':').split("\r\n").next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_file_comes_back_as_it_went_in_whole_and_in_parts() {
    let outbound = Outbound::start(&[10]).await;
    let media = outbound.media().await;
    let pdf = bytes(b"%PDF-1.7", 3 * MIB + 17);
    let answer = upload(&media.url, "document", "application/pdf; x=y", pdf.clone())
        .header("content-disposition", "attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.pdf")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let told: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let (id, url) = (told["id"].as_str().unwrap(), told["url"].as_str().unwrap());
    assert_eq!(url, format!("{}/{TENANT}/imchannel/getDocumentMessage/{id}", media.url));
    assert_eq!(told["size"].as_u64(), Some(pdf.len() as u64));
    assert_eq!(told["content_type"].as_str(), Some("application/pdf"));
    assert!((86_300..=86_400).contains(&ttl_s(&outbound, id).await));

    let head = client().head(url).send().await.unwrap();
    let etag = header(&head, "etag").to_owned();
    assert_eq!(etag, format!("\"{}\"", told["sha256"].as_str().unwrap()));
    for (name, expected) in [
        ("content-type", "application/pdf"),
        ("content-length", pdf.len().to_string().as_str()),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        ("content-disposition", "inline; filename=\"gr__e.pdf\"; filename*=UTF-8''gr%C3%BC%C3%9Fe.pdf"),
    ] {
        assert_eq!(header(&head, name), expected, "{name}");
    }
    // A HEAD does not count as a fetch, and the TTL of the file stays the same.
    eventually("the event of the HEAD", || async { (outbound.fetches().await.len() == 1).then_some(()) })
        .await;
    assert!(ttl_s(&outbound, id).await > 86_000);
    let get = client().get(url).send().await.unwrap();
    assert_eq!(get.status(), StatusCode::OK);
    assert_eq!(header(&get, "etag"), etag.as_str());
    assert!(get.bytes().await.unwrap() == pdf, "the bytes differ");
    eventually("a fetched file has a TTL of an hour", || async {
        (3500..=3600).contains(&ttl_s(&outbound, id).await).then_some(())
    })
    .await;

    check_parts(url, &pdf, &etag).await;
    let fetches = eventually("five fetches are reported", || async {
        let fetches = outbound.fetches().await;
        (fetches.len() == 5).then_some(fetches)
    })
    .await;
    let is_of_it = |fetch: &&proto::v1::MediaFetched| {
        fetch.media_id == id && fetch.channel_id == "channel-0" && fetch.bsp == "infobip"
    };
    assert_eq!(fetches.iter().filter(is_of_it).count(), 5);
    let told: Vec<_> =
        fetches.iter().map(|fetch| (fetch.method.as_str(), fetch.range.as_str(), fetch.bytes)).collect();
    assert!(told.contains(&("HEAD", "", 0)) && told.contains(&("GET", "", pdf.len() as u64)), "{told:?}");
    assert!(told.contains(&("GET", "0-9", 10)), "{told:?}");
    let metrics = media.metrics();
    let served = "media_fetches_total{kind=\"document\",method=\"HEAD\",outcome=\"served\"} 1";
    assert!(metrics.contains(served), "{metrics}");
    media.stop().await;
}

/// Ranges and conditions.
async fn check_parts(url: &str, pdf: &[u8], etag: &str) {
    let ranges = [
        ("bytes=0-9", 0..10),
        ("bytes=-5", pdf.len() - 5..pdf.len()),
        ("bytes=262140-786450", 262_140..786_451),
    ];
    for (range, expected) in ranges {
        let part = client().get(url).header("range", range).send().await.unwrap();
        let text = format!("bytes {}-{}/{}", expected.start, expected.end - 1, pdf.len());
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(header(&part, "content-range"), text.as_str());
        assert!(part.bytes().await.unwrap() == pdf[expected], "{range}");
    }
    let beyond = client().get(url).header("range", "bytes=9999999-").send().await.unwrap();
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let known = client().get(url).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(known.bytes().await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_may_not_be_stored_or_seen_is_refused() {
    let outbound = Outbound::start(&[10]).await;
    let media = outbound.media().await;
    let (url, jpeg) = (media.url.as_str(), bytes(b"\xff\xd8\xff\xe0", 5_000));
    let post = |path: &str| {
        client().post(format!("{url}{path}")).header("content-type", "image/jpeg").body(jpeg.clone())
    };
    let good = "/tenantname/imchannel/media?channel=channel-0&kind=image";
    assert_eq!(status(post(good)).await, 401);
    assert_eq!(status(post(good).bearer_auth("another-token-of-16")).await, 401);
    assert_eq!(status(post(good).basic_auth("a", Some("b"))).await, 401);
    for (path, expected) in [
        ("/other/imchannel/media?channel=channel-0&kind=image", 404),
        ("/tenantname/imchannel/media?channel=no-such&kind=image", 404),
        ("/tenantname/imchannel/media?channel=channel-0&kind=sticker", 400),
        ("/tenantname/imchannel/media?kind=image", 400),
        ("/elsewhere", 404),
    ] {
        assert_eq!(status(post(path).bearer_auth(UPLOAD_TOKEN)).await, expected, "{path}");
    }
    let send = |kind: &str, content_type: &str, body: Vec<u8>| status(upload(url, kind, content_type, body));
    assert_eq!(send("image", "image/webp", jpeg.clone()).await, 415);
    assert_eq!(send("document", "image/jpeg", jpeg.clone()).await, 415);
    // Its bytes have another type than its header.
    assert_eq!(send("image", "image/png", jpeg.clone()).await, 415);
    assert_eq!(send("image", "image/jpeg", Vec::new()).await, 400);
    assert_eq!(send("image", "image/jpeg", bytes(b"\xff\xd8\xff\xe0", 5 * MIB + 1)).await, 413);
    // The same without a length.
    let pieces =
        futures_util::stream::iter((0..6).map(|_| Ok::<_, std::io::Error>(bytes(b"\xff\xd8\xff\xe0", MIB))));
    let chunked = upload(url, "image", "image/jpeg", reqwest::Body::wrap_stream(pieces));
    assert_eq!(status(chunked).await, 413);
    assert_eq!(
        redis(&outbound, &[b"DBSIZE"]).await.split("\r\n").next(),
        Some(":0"),
        "something was left behind"
    );

    let told = stored(url, "image", "image/jpeg", jpeg).await;
    let id = told["id"].as_str().unwrap();
    assert_eq!(status(client().get(format!("{url}/tenantname/imchannel/getImageMessage/{id}"))).await, 200);
    for path in [
        format!("/other/imchannel/getImageMessage/{id}"),
        format!("/tenantname/imchannel/getDocumentMessage/{id}"),
        format!("/tenantname/imchannel/getNothingMessage/{id}"),
        format!("/tenantname/imchannel/getImageMessage/{}", id.replace('-', "")),
        "/tenantname/imchannel/getImageMessage/00000000-0000-4000-8000-000000000000".to_owned(),
        "/tenantname/imchannel/getImageMessage/*".to_owned(),
    ] {
        assert_eq!(status(client().get(format!("{url}{path}"))).await, 404, "{path}");
    }
    let delete = client().request(Method::DELETE, format!("{url}/tenantname/imchannel/getImageMessage/{id}"));
    assert_eq!(status(delete).await, 405);
}

#[tokio::test]
async fn a_half_done_upload_is_never_seen_and_leaves_nothing() {
    let outbound = Outbound::start(&[10]).await;
    let media = outbound.media().await;
    let address = media.url.replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /{TENANT}/imchannel/media?channel=channel-0&kind=document HTTP/1.1\r\nhost: media\r\n\
         authorization: Bearer {UPLOAD_TOKEN}\r\ncontent-type: application/pdf\r\ncontent-length: 2000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&bytes(b"%PDF-1.7", 1_000_000)).await.unwrap();
    let half = eventually("half of it is in Redis", || async {
        let keys = redis(&outbound, &[b"KEYS", b"*"]).await;
        keys.contains(":unfinished").then_some(keys)
    })
    .await;
    let id = half.split("MultimediaMessage:").nth(1).unwrap().split('}').next().unwrap().to_owned();
    let url = format!("{}/{TENANT}/imchannel/getDocumentMessage/{id}", media.url);
    assert_eq!(status(client().get(&url)).await, 404);
    drop(stream);
    eventually("what was written is gone", || async {
        redis(&outbound, &[b"DBSIZE"]).await.starts_with(":0").then_some(())
    })
    .await;
    assert_eq!(status(client().get(&url)).await, 404);
}

#[tokio::test]
async fn a_full_redis_is_507_and_a_dead_one_503_until_it_is_back() {
    let mut outbound = Outbound::start(&[10]).await;
    let media = outbound.media().await;
    let url = media.url.clone();
    let jpeg = bytes(b"\xff\xd8\xff\xe0", MIB);
    let told = stored(&url, "image", "image/jpeg", jpeg.clone()).await;
    let file = told["url"].as_str().unwrap().to_owned();
    redis(&outbound, &[b"CONFIG", b"SET", b"maxmemory", b"1mb"]).await;
    let full = upload(&url, "image", "image/jpeg", jpeg.clone()).send().await.unwrap();
    assert_eq!(full.status(), StatusCode::INSUFFICIENT_STORAGE);
    // Stored files are still served.
    assert_eq!(status(client().get(&file)).await, 200);
    redis(&outbound, &[b"CONFIG", b"SET", b"maxmemory", b"0"]).await;
    assert_eq!(status(upload(&url, "image", "image/jpeg", jpeg.clone())).await, 201);

    let redis_is = |state: u8| media.metrics().contains(&format!("media_redis_connected {state}\n"));
    eventually("Redis is counted as there", || async { redis_is(1).then_some(()) }).await;
    outbound.redis.stop().await;
    assert_eq!(status(client().get(&file)).await, 503);
    assert_eq!(status(upload(&url, "image", "image/jpeg", jpeg.clone())).await, 503);
    eventually("it says so", || async { (!media.context.readiness.is_ready()).then_some(()) }).await;
    eventually("Redis is counted as away", || async { redis_is(0).then_some(()) }).await;
    outbound.redis.start_again().await.unwrap();
    within(Duration::from_secs(10), "it takes files again", || async {
        (upload(&url, "image", "image/jpeg", jpeg.clone()).send().await.ok()?.status() == 201).then_some(())
    })
    .await;
    // Files do not outlive this server.
    assert_eq!(status(client().get(&file)).await, 404);
}

#[tokio::test]
async fn values_of_an_older_imchannel_are_served_to_one_tenant_as_what_they_are() {
    let outbound = Outbound::start(&[10]).await;
    let media = outbound.media_with(&[("media-legacy-tenant", "oldtenant")]).await;
    let jpeg = bytes(b"\xff\xd8\xff\xe0", 300_000);
    let key = format!("IMChannel:MultimediaMessage:{LEGACY_ID}");
    redis(&outbound, &[b"SET", key.as_bytes(), &jpeg]).await;
    let url = |tenant: &str, route: &str| format!("{}/{tenant}/imchannel/{route}/{LEGACY_ID}", media.url);
    let get = client().get(url("oldtenant", "getImageMessage")).send().await.unwrap();
    assert_eq!(get.status(), StatusCode::OK);
    assert_eq!(header(&get, "content-type"), "image/jpeg");
    assert!(get.bytes().await.unwrap() == jpeg);
    assert_eq!(status(client().get(url(TENANT, "getImageMessage"))).await, 404);
    // A picture is not served as a document.
    assert_eq!(status(client().get(url("oldtenant", "getDocumentMessage"))).await, 404);
    eventually("it has an hour left", || async {
        (3500..=3600).contains(&ttl_s(&outbound, LEGACY_ID).await).then_some(())
    })
    .await;
}

/// Reads a file so slowly that fifty downloads overlap.
async fn download(url: &str, expected: usize) {
    let answer = client().get(url).send().await.unwrap();
    let mut pieces = answer.bytes_stream();
    let mut size = 0;
    while let Some(piece) = pieces.next().await {
        size += piece.unwrap().len();
        tokio::task::yield_now().await;
    }
    assert_eq!(size, expected);
}

#[tokio::test]
async fn fifty_downloads_of_100_mb_at_once_stay_within_64_mib() {
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[10]).await;
    let redis_url = outbound.redis.url();
    let mut program: Program = Program::start(
        "imchannel-media",
        &outbound.installation,
        &[
            ("IMCHANNEL_MEDIA_LISTEN", "127.0.0.1:0"),
            ("IMCHANNEL_REDIS_URL", &redis_url),
            ("IMCHANNEL_MEDIA_PUBLIC_URL", "http://127.0.0.1:1"),
            ("IMCHANNEL_MEDIA_UPLOAD_TOKEN", UPLOAD_TOKEN),
        ],
    );
    let address = program.address_after("accepts and serves files on").await;
    let media = format!("http://{address}");
    let size = 100 * MIB;
    let body = bytes(b"%PDF-1.7", size);
    let told = eventually("media has read the channels", || async {
        let answer = upload(&media, "document", "application/pdf", body.clone()).send().await.ok()?;
        (answer.status() == 201).then_some(())?;
        serde_json::from_slice::<Value>(&answer.bytes().await.ok()?).ok()
    })
    .await;
    drop(body);
    let url = format!("{media}/{TENANT}/imchannel/getDocumentMessage/{}", told["id"].as_str().unwrap());
    // And some clients that do not read: their data must not accumulate here.
    let mut lazy = Vec::new();
    let path = url.split_once(&address).unwrap().1;
    for _ in 0..10 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: media\r\n\r\n").as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        lazy.push(stream);
    }
    let downloads: Vec<_> = (0..50)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { download(&url, size).await })
        })
        .collect();
    for download in downloads {
        download.await.unwrap();
    }
    let (_, most) = program.resident_bytes();
    assert!(most <= 64 * MIB as u64, "{} MiB", most / MIB as u64);
}

#[tokio::test]
async fn a_message_with_a_file_names_it_and_keeps_it() {
    use proto::v1::{OutboundMedia, outbound_media::Source, send_command::Content};
    let outbound = Outbound::start(&[50]).await;
    let media: RunningMedia = outbound.media().await;
    let _sender = outbound.sender().await;
    let jpeg = bytes(b"\xff\xd8\xff\xe0", 70_000);
    let told = stored(&media.url, "image", "image/jpeg", jpeg.clone()).await;
    let id = told["id"].as_str().unwrap();
    let send = async |command_id: &str, source: Source, content_type: &str| {
        let image = OutboundMedia {
            source: Some(source),
            content_type: content_type.to_owned(),
            caption: "look".to_owned(),
            ..OutboundMedia::default()
        };
        let mut command = text(0, command_id, "4915112345", "");
        command.content = Some(Content::Image(image));
        outbound.publish(bus::Priority::Interactive, &command).await;
        outbound.result(command_id).await
    };
    let result = send("stored", Source::MediaId(id.to_owned()), "").await;
    assert_eq!(result.outcome().as_str_name(), "SEND_OUTCOME_ACCEPTED");
    let result = send("inline", Source::Data(jpeg.clone().into()), "image/jpeg").await;
    assert_eq!(result.outcome().as_str_name(), "SEND_OUTCOME_ACCEPTED");
    let files = eventually("both files were fetched", || async {
        let received = outbound.account.received();
        let files: Vec<_> = received.iter().filter_map(|message| message.file.clone()).collect();
        (files.len() == 2).then_some(files)
    })
    .await;
    assert!(files.iter().all(|file| file.bytes == 70_000 && file.content_type == "image/jpeg"), "{files:?}");
    assert!(files.iter().all(|file| file.sha256 == told["sha256"].as_str().unwrap()));
    let fetches = eventually("four fetches are reported", || async {
        let fetches = outbound.fetches().await;
        (fetches.len() == 4).then_some(fetches)
    })
    .await;
    let by_command = |command: &str| fetches.iter().filter(|fetch| fetch.command_id == command).count();
    assert_eq!(by_command("stored"), 2);
    assert_eq!(by_command("inline"), 2);
    // One that does not exist, and one of another kind.
    let missing =
        send("missing", Source::MediaId("00000000-0000-4000-8000-000000000000".to_owned()), "").await;
    assert_eq!(missing.error.unwrap().code, "MEDIA_NOT_FOUND");
    let pdf = stored(&media.url, "document", "application/pdf", bytes(b"%PDF-1.7", 1000)).await;
    let other = send("other", Source::MediaId(pdf["id"].as_str().unwrap().to_owned()), "").await;
    assert_eq!(other.error.unwrap().code, "MEDIA_NOT_ALLOWED");
}

#[tokio::test]
async fn a_sent_file_that_is_not_fetched_is_counted_once() {
    use blob::store::Expiry;
    use blob::{BlobStore, RedisOptions};
    use bsp::media::MediaId;
    use jiff::Timestamp;
    let outbound = Outbound::start(&[50]).await;
    let media: RunningMedia = outbound.media().await;
    let blobs = BlobStore::new(&RedisOptions::at(outbound.redis.url())).unwrap();
    let png = || bytes(b"\x89PNG\r\n\x1a\n", 100);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let told = stored(&media.url, "image", "image/png", png()).await;
        ids.push(MediaId::parse(told["id"].as_str().unwrap()).unwrap());
    }
    let (now, hour) = (Timestamp::now(), Duration::from_secs(3600));
    for id in &ids {
        blobs.track_fetch(id, now, hour).await.unwrap();
    }
    // The first is fetched; the second's message was not sent.
    let url = format!("{}/{TENANT}/imchannel/getImageMessage/{}", media.url, ids[0]);
    assert_eq!(client().get(url).send().await.unwrap().bytes().await.unwrap(), png());
    let noted = b"IMChannel:MultimediaMessage:unfetched";
    eventually("the fetch is noted", || async {
        let score = redis(&outbound, &[b"ZSCORE", noted, ids[0].as_str().as_bytes()]).await;
        score.starts_with("$-1").then_some(())
    })
    .await;
    blobs.untrack_fetches([&ids[1]].into_iter()).await.unwrap();
    // While they are stored, none of them has expired.
    let later = now + Duration::from_secs(2 * 3600);
    assert_eq!(blobs.count_expired_unfetched(later).await.unwrap(), 0);
    let expiries =
        ids.iter().map(|id| Expiry { id: id.clone(), after: Duration::from_millis(1), only_longer: false });
    blobs.set_expiries(&expiries.collect::<Vec<_>>()).await.unwrap();
    eventually("they are gone", || async {
        for id in &ids {
            if ttl_s(&outbound, id.as_str()).await != -2 {
                return None;
            }
        }
        Some(())
    })
    .await;
    let much_later = now + Duration::from_secs(10 * 24 * 3600);
    assert_eq!(blobs.count_expired_unfetched(much_later).await.unwrap(), 1, "the third alone");
    assert_eq!(blobs.count_expired_unfetched(much_later).await.unwrap(), 0, "once");
    // Media checks every few seconds.
    blobs.track_fetch(&ids[2], now, Duration::ZERO).await.unwrap();
    within(Duration::from_secs(30), "media counts one", || async {
        media.metrics().contains("media_expired_without_fetch_total 1").then_some(())
    })
    .await;
}
