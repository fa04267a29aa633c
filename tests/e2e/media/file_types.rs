//! Types and names of files: as uploads, in commands, and as the BSP receives them.

use reqwest::Method;
use serde_json::Value;

use crate::harness::eventually;
use crate::harness::files::{client, header, redis, status, stored, upload};
use crate::harness::outbound::{Outbound, RunningMedia, text};

/// The first page of an Ogg file whose first packet is this.
fn ogg(packet: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0\x02".to_vec();
    page.extend([0; 20]);
    page.extend([1, packet.len() as u8]);
    page.extend(packet);
    page
}

const HTML: &[u8] = b"<!DOCTYPE html><html><body>Please log in</body></html>";
const WEBM: &[u8] = b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x86webm";
const MP4: &[u8] = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\x08moov";

#[tokio::test]
async fn files_that_are_not_what_they_say_are_refused_with_a_reason() {
    let outbound = Outbound::start(&[10]).await;
    let media = outbound.media().await;
    for (kind, content_type, body, reason) in [
        ("audio", "audio/ogg", WEBM.to_vec(), "WebM or Matroska"),
        ("audio", "audio/ogg", MP4.to_vec(), "MP4"),
        ("audio", "audio/ogg", ogg(b"\x01vorbis"), "Ogg with another codec than Opus"),
        ("audio", "audio/ogg; codecs=opus", ogg(b"\x01vorbis"), "Ogg with another codec than Opus"),
        ("document", "application/pdf", HTML.to_vec(), "HTML"),
        ("video", "video/mp4", HTML.to_vec(), "HTML"),
        ("image", "image/jpeg", HTML.to_vec(), "HTML"),
        ("image", "image/png", b"\xff\xd8\xff\xe0".to_vec(), "JPEG"),
    ] {
        let answer = upload(&media.url, kind, content_type, body).send().await.unwrap();
        assert_eq!(answer.status(), 415, "{content_type} of {reason}");
        assert_eq!(header(&answer, "content-type"), "application/problem+json");
        let problem: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        let detail = format!(
            "The file does not match its Content-Type: the first bytes are those of {reason}, not of {content_type}"
        );
        assert_eq!(problem["detail"], detail);
    }
    let other =
        upload(&media.url, "audio", "audio/ogg; codecs=vorbis", ogg(b"\x01vorbis")).send().await.unwrap();
    assert_eq!(other.status(), 415);
    let problem: Value = serde_json::from_slice(&other.bytes().await.unwrap()).unwrap();
    assert!(problem["detail"].as_str().unwrap().ends_with("audio/mp4, audio/ogg"), "{problem}");
    assert!(redis(&outbound, &[b"DBSIZE"]).await.starts_with(":0"), "something was left behind");
    // The last byte that identifies the type arrives alone.
    let pieces = [ogg(b"OpusHea"), b"d\x01".to_vec()].map(Ok::<_, std::io::Error>);
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    assert_eq!(status(upload(&media.url, "audio", "audio/ogg", body)).await, 201);
    assert!(media.metrics().contains("kind=\"audio\",outcome=\"type\"} 4"), "{}", media.metrics());
}

#[tokio::test]
async fn a_type_keeps_its_codec_and_other_names_stand_for_it() {
    let outbound = Outbound::start(&[10]).await;
    let media = outbound.media().await;
    let opus = || ogg(b"OpusHead\x01\x01\x38\x01");
    for (kind, announced, body, served) in [
        ("audio", "audio/ogg; codecs=opus", opus(), "audio/ogg; codecs=opus"),
        ("audio", "Audio/Ogg;codecs=\"OPUS\"", opus(), "audio/ogg; codecs=opus"),
        ("audio", "audio/opus", opus(), "audio/ogg; codecs=opus"),
        ("audio", "audio/ogg", opus(), "audio/ogg"),
        ("audio", "audio/mp3", b"\xff\xfb\x90\x44".to_vec(), "audio/mpeg"),
        ("audio", "audio/x-m4a", MP4.to_vec(), "audio/mp4"),
        ("image", "image/jpg", b"\xff\xd8\xff\xe0".to_vec(), "image/jpeg"),
        ("document", "text/plain; charset=utf-8", b"Hello".to_vec(), "text/plain"),
    ] {
        let told = stored(&media.url, kind, announced, body).await;
        assert_eq!(told["content_type"], served, "{announced}");
        let url = told["url"].as_str().unwrap();
        for method in [Method::HEAD, Method::GET] {
            let answer = client().request(method, url).send().await.unwrap();
            assert_eq!(header(&answer, "content-type"), served, "{announced}");
        }
    }
}

#[tokio::test]
async fn a_document_is_sent_under_the_name_of_its_upload() {
    use proto::v1::{OutboundMedia, outbound_media::Source, send_command::Content};
    let outbound = Outbound::start(&[50]).await;
    let media = outbound.media().await;
    let _sender = outbound.sender().await;
    let answer = upload(&media.url, "document", "application/pdf", b"%PDF-1.7".to_vec())
        .header(
            "content-disposition",
            "attachment; filename=\"x.pdf\"; filename*=UTF-8'de'Rechnung%20M%C3%A4rz.pdf",
        )
        .send()
        .await
        .unwrap();
    let told: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let id = told["id"].as_str().unwrap();
    for (command_id, caption, file_name, shown) in [
        ("no-name", "", "", "Rechnung März.pdf"),
        ("own-name", "", "bill-2026-11.pdf", "bill-2026-11.pdf"),
        ("caption", "Your bill", "bill-2026-11.pdf", "Your bill"),
    ] {
        let document = OutboundMedia {
            source: Some(Source::MediaId(id.to_owned())),
            caption: caption.to_owned(),
            file_name: file_name.to_owned(),
            ..OutboundMedia::default()
        };
        let mut command = text(0, command_id, "4915112345", "");
        command.content = Some(Content::Document(document));
        outbound.publish(bus::Priority::Interactive, &command).await;
        assert_eq!(outbound.result(command_id).await.outcome().as_str_name(), "SEND_OUTCOME_ACCEPTED");
        let received = outbound.account.received();
        assert_eq!(received.last().unwrap().content["text"], shown, "{command_id}");
    }
    // The BSP gets the name from the file as well.
    let served = client().head(told["url"].as_str().unwrap()).send().await.unwrap();
    let named = "inline; filename=\"Rechnung M_rz.pdf\"; filename*=UTF-8''Rechnung%20M%C3%A4rz.pdf";
    assert_eq!(header(&served, "content-disposition"), named);
}

#[tokio::test]
async fn a_voice_message_in_a_command_keeps_its_codec_and_a_lie_is_a_fault() {
    use proto::v1::{OutboundMedia, outbound_media::Source, send_command::Content};
    let outbound = Outbound::start(&[50]).await;
    let _media: RunningMedia = outbound.media().await;
    let _sender = outbound.sender().await;
    let send =
        async |command_id: &str, make: fn(OutboundMedia) -> Content, data: Vec<u8>, content_type: &str| {
            let source = Some(Source::Data(data.into()));
            let media =
                OutboundMedia { source, content_type: content_type.to_owned(), ..OutboundMedia::default() };
            let mut command = text(0, command_id, "4915112345", "");
            command.content = Some(make(media));
            outbound.publish(bus::Priority::Interactive, &command).await;
            outbound.result(command_id).await
        };
    let result = send("voice", Content::Audio, ogg(b"OpusHead\x01"), "audio/ogg; codecs=opus").await;
    assert_eq!(result.outcome().as_str_name(), "SEND_OUTCOME_ACCEPTED");
    let file = eventually("it was fetched", || async { outbound.account.received().pop()?.file }).await;
    assert_eq!(file.content_type, "audio/ogg; codecs=opus");
    let refused = send("liar", Content::Image, HTML.to_vec(), "image/jpeg").await;
    assert_eq!(refused.error.unwrap().code.as_str(), "INVALID_COMMAND");
    assert_eq!(refused.attempts, 0);
    let faults: Vec<_> = refused.faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(faults, ["image.data"]);
    assert_eq!(outbound.account.received_count(), 1);
}
