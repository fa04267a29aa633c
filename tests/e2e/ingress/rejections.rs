//! Every refused webhook gets its response, with an empty body, and stores nothing on the bus.

use crate::harness::{Answer, Installation, Webhook, eventually, raw_request};

const BODY: &str = r#"{"results":[{"messageId":"m-1","to":"49151","status":{"groupName":"DELIVERED"}}]}"#;
const LIMIT: usize = 960 * 1024;

fn expect(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status.as_u16(), status, "{what}: {answer:?}");
    assert_eq!(answer.body, "", "{what}");
    let challenge = answer.headers.contains_key("www-authenticate");
    assert!(!challenge || status == 401, "{what}: {answer:?}");
    assert_eq!(answer.headers.contains_key("retry-after"), status == 503, "{what}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_answered_and_stores_nothing() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let good = Webhook::infobip(BODY);
    let large = vec![b' '; LIMIT + 1];
    let unknown_channel = "/social/on/whatsapp/infobip/report/no-such";
    let cases = [
        ("wrong password", good.clone().header("accountkey", "wrong"), 401),
        ("password of another channel", good.clone().header("accountkey", "koomessage-secret"), 401),
        ("empty password", good.clone().header("accountkey", ""), 401),
        ("no password", good.clone().without("accountkey"), 401),
        (
            "password in another BSP's header",
            good.clone().without("accountkey").header("authorization", "infobip-secret"),
            401,
        ),
        ("unknown channel", good.clone().to(unknown_channel), 401),
        ("channel of another BSP", good.clone().to("/social/on/whatsapp/infobip/report/gupshup-demo"), 401),
        (
            "channel id that no channel can have",
            good.clone().to("/social/on/whatsapp/infobip/report/a.b*"),
            401,
        ),
        ("unknown BSP", good.clone().to("/social/on/whatsapp/pigeon/report/202105102694809992"), 404),
        ("BSP in capitals", good.clone().to("/social/on/whatsapp/Infobip/report/202105102694809992"), 404),
        ("unknown route", good.clone().to("/social/on/whatsapp/infobip/status/202105102694809992"), 404),
        ("a channel that is no text", good.clone().to("/social/on/whatsapp/infobip/report/%FF"), 401),
        ("no channel", good.clone().to("/social/on/whatsapp/infobip/report/"), 404),
        ("root", good.clone().to("/"), 404),
        ("no content type", good.clone().without("content-type"), 415),
        ("wrong content type", good.clone().header("content-type", "text/plain"), 415),
        (
            "twilio's content type",
            good.clone().header("content-type", "application/x-www-form-urlencoded"),
            415,
        ),
        ("JSON to twilio", Webhook::twilio("a=b").header("content-type", "application/json"), 415),
        ("body over the limit", Webhook::infobip(large), 413),
        ("wrong user", Webhook::twilio("a=b").header("authorization", "Basic d3Jvbmc6d3Jvbmc="), 401),
        ("twilio without credentials", Webhook::twilio("a=b").without("authorization"), 401),
    ];
    for (what, webhook, status) in cases {
        let answer = webhook.post(ingress.address).await;
        expect(&answer, status, what);
        assert_eq!(
            answer.headers.get("www-authenticate").is_some_and(|value| value == "Basic realm=\"imchannel\""),
            what.contains("twilio without") || what == "wrong user",
            "{what}: {answer:?}"
        );
    }
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = good.send(method, ingress.address).await.unwrap();
        expect(&answer, 405, method);
        assert!(answer.headers.contains_key("allow"), "{answer:?}");
    }
    assert_eq!(installation.webhooks().await.len(), 0, "a refused webhook was stored");
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_channel_are_answered_alike() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    for (known, unknown) in [
        (Webhook::infobip(BODY), "/social/on/whatsapp/infobip/report/no-such"),
        (Webhook::twilio("a=b"), "/social/on/whatsapp/twilio/report/no-such"),
    ] {
        let wrong = known.clone().header("accountkey", "x").header("authorization", "Basic eDp4");
        let to_nobody = wrong.clone().to(unknown);
        assert_eq!(wrong.post(ingress.address).await, to_nobody.post(ingress.address).await);
    }
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_is_stored_to_the_byte() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let padded = format!("{BODY}{}", " ".repeat(LIMIT - BODY.len()));
    let previous = format!("{BODY} ");
    let taken = [
        Webhook::infobip(BODY).header("content-type", "Application/JSON;charset=UTF-8"),
        Webhook::infobip(previous.clone()).header("accountkey", "infobip-previous"),
        Webhook::infobip(padded.clone()),
        Webhook::infobip("").to("/social/on/whatsapp/infobip/message/202105102694809992"),
        Webhook::infobip(b"\xff\x00 not even text".to_vec()),
    ];
    for webhook in &taken {
        expect(&webhook.post(ingress.address).await, 200, "taken");
    }
    let stored = installation.webhooks().await;
    let bodies: Vec<&[u8]> = stored.iter().map(|webhook| &webhook.payload[..]).collect();
    let posted: Vec<&[u8]> = taken.iter().map(Webhook::body).collect();
    assert_eq!(bodies, posted);
    let first = &stored[0];
    assert_eq!(first.subject, "imchannel.webhook.infobip.202105102694809992");
    assert_eq!(first.headers.get(bus::headers::ROUTE), Some("report"));
    assert_eq!(stored[3].headers.get(bus::headers::ROUTE), Some("message"));
    assert_eq!(first.headers.get(bus::headers::CONTENT_TYPE), Some("Application/JSON;charset=UTF-8"));
    let received_at: jiff::Timestamp = first.headers.get(bus::headers::RECEIVED_AT).unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(received_at).as_secs() < 60);

    // The same body again is stored once: JetStream recognizes its id.
    expect(&taken[0].post(ingress.address).await, 200, "a repeat");
    assert_eq!(installation.webhooks().await.len(), taken.len());
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_sender_gets_its_answer_however_its_body_comes() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let body = vec![b'x'; 3 * 1024 * 1024];
    let refused = Webhook::infobip(body).header("accountkey", "wrong");
    expect(&refused.post(ingress.address).await, 401, "3 MiB");
    expect(&refused.to("/nowhere").post(ingress.address).await, 404, "3 MiB");

    // Head and body in separate packets, the body in two.
    let webhook = Webhook::infobip(BODY).header("accountkey", "wrong");
    let head = webhook.head(&format!("connection: close\r\ncontent-length: {}\r\n", BODY.len()));
    let (first, second) = BODY.as_bytes().split_at(10);
    let answer = raw_request(ingress.address, &[&head, first, second]).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");

    // A body that is announced and never sent: the response comes anyway.
    let head = webhook.head("content-length: 1000\r\n");
    let answer = raw_request(ingress.address, &[&head]).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("connection: close"), "{answer}");

    // A client that waits for permission to send gets the response before it sends.
    let head = webhook.head("content-length: 1000\r\nexpect: 100-continue\r\n");
    let answer = raw_request(ingress.address, &[&head]).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");

    // Without a length, in chunks, over the limit.
    let webhook = Webhook::infobip(BODY);
    let head = webhook.head("transfer-encoding: chunked\r\nconnection: close\r\n");
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    let mut pieces: Vec<&[u8]> = vec![&head];
    pieces.extend(std::iter::repeat_n(chunk.as_slice(), 20));
    pieces.push(b"0\r\n\r\n");
    let answer = raw_request(ingress.address, &pieces).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(installation.webhooks().await.len(), 0);
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_it_can_hold_is_answered_503() {
    let installation = Installation::start().await;
    let ingress = installation.ingress_with(&[("requests-max", "1"), ("body-timeout", "20s")]).await;
    ingress.until_ready().await;
    // One webhook holds the only permit while its body is being sent: it has the permission to send it.
    let webhook = Webhook::infobip(BODY);
    let length = BODY.len();
    let head =
        webhook.head(&format!("connection: close\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n"));
    let mut slow = tokio::net::TcpStream::connect(ingress.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut slow, &head).await.unwrap();
    let mut permission = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut slow, &mut permission).await.unwrap();
    assert_eq!(&permission, b"HTTP/1.1 100 Continue\r\n\r\n");
    expect(&Webhook::infobip(BODY).post(ingress.address).await, 503, "no place");
    tokio::io::AsyncWriteExt::write_all(&mut slow, BODY.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut slow, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    expect(&webhook.post(ingress.address).await, 200, "the place is free again");
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_memory_for_them_are_answered_503() {
    let installation = Installation::start().await;
    let ingress = installation.ingress_with(&[("body-memory", "1000000B")]).await;
    ingress.until_ready().await;
    // Most of one body of 600,000 bytes has arrived, and another of that size does not fit.
    let webhook = Webhook::infobip(vec![b' '; 600_000]);
    let (most, rest) = webhook.body().split_at(550_000);
    let head = webhook.head("connection: close\r\ncontent-length: 600000\r\n");
    let mut first = tokio::net::TcpStream::connect(ingress.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut first, &[&head, most].concat()).await.unwrap();
    eventually("its memory is taken", || async {
        ingress.metrics().contains("ingress_body_memory_bytes 600000\n").then_some(())
    })
    .await;
    expect(&webhook.post(ingress.address).await, 503, "no memory");
    expect(&Webhook::infobip(BODY).post(ingress.address).await, 200, "a small one fits");
    tokio::io::AsyncWriteExt::write_all(&mut first, rest).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut first, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    expect(&webhook.post(ingress.address).await, 200, "the memory is free again");
    ingress.stop().await;
}

/// A body that is answered 200 must be readable: no later step decodes a coding or another charset.
#[tokio::test(flavor = "multi_thread")]
async fn an_unsupported_encoding_is_refused() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let good = Webhook::infobip(BODY);
    for coding in ["gzip", "GZIP", "x-gzip", "br", "deflate", "zstd", "identity, gzip"] {
        let answer = good.clone().header("content-encoding", coding).post(ingress.address).await;
        expect(&answer, 415, coding);
        assert_eq!(answer.headers.get("accept-encoding").unwrap(), "identity", "{coding}");
    }
    // A client with a wrong password does not learn that the coding is refused.
    let answer =
        good.clone().header("content-encoding", "gzip").header("accountkey", "x").post(ingress.address).await;
    expect(&answer, 401, "gzip and a wrong password");
    let head = good.head("transfer-encoding: gzip, chunked\r\nconnection: close\r\n");
    let answer = raw_request(ingress.address, &[&head, b"1\r\n{\r\n0\r\n\r\n"]).await;
    assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");

    let latin1 = Webhook::infobip(b"{\"results\":[{\"x\":\"\xe9\"}]}".to_vec());
    let form = Webhook::twilio("MessageSid=SM1&Body=caf%E9");
    let of_type = |webhook: &Webhook, charset: &str| {
        let is_form = webhook.body().starts_with(b"Message");
        let essence = if is_form { "application/x-www-form-urlencoded" } else { "application/json" };
        webhook.clone().header("content-type", &format!("{essence}; charset={charset}"))
    };
    for (webhook, what) in [(&latin1, "JSON"), (&form, "a form")] {
        for charset in ["iso-8859-1", "Windows-1252", "\"utf-16\""] {
            let answer = of_type(webhook, charset).post(ingress.address).await;
            expect(&answer, 415, what);
            assert!(!answer.headers.contains_key("accept-encoding"), "{what} {charset}");
        }
    }
    assert_eq!(installation.webhooks().await.len(), 0, "a refused webhook was stored");

    let utf8 = Webhook::infobip("{\"results\":[{\"x\":\"é\"}]}");
    let utf8_form = Webhook::twilio("MessageSid=SM1&Body=caf%C3%A9");
    let taken = [
        good.clone().header("content-encoding", "identity"),
        good.clone().header("content-encoding", "Identity").header("content-type", "application/json"),
        of_type(&utf8, "iso-8859-1"),
        of_type(&utf8_form, "windows-1252"),
        of_type(&latin1, "UTF8"),
        of_type(&latin1, "us-ascii"),
        of_type(&latin1, "\"utf-8\""),
        of_type(&form, "Utf-8"),
        form.clone(),
    ];
    for webhook in &taken {
        expect(&webhook.post(ingress.address).await, 200, "taken");
    }
    let metrics = ingress.metrics();
    for (outcome, count) in [("wrong_encoding", 8), ("wrong_charset", 3)] {
        let line = format!("ingress_requests_total{{bsp=\"infobip\",outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    ingress.stop().await;
}
