//! Files that match their declared type, and files that do not, by their first bytes.
#![allow(clippy::unwrap_used, reason = "a test may")]

use bsp::media::MediaKind::{self, Audio, Document, Image, Video};
use bsp::media::{OGG_OPUS, SNIFFED_BYTES, check_first_bytes, sniff};

const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
const PPTX: &str = "application/vnd.openxmlformats-officedocument.presentationml.presentation";
const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0\0\0";

/// The first page of an Ogg file, with its first packet.
fn ogg(packet: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0\x02".to_vec();
    page.extend([0; 20]);
    page.push(1);
    page.push(u8::try_from(packet.len()).unwrap());
    page.extend(packet);
    page
}

/// The first box of an ISO media file.
fn ftyp(major: &[u8; 4], compatible: &[&[u8; 4]]) -> Vec<u8> {
    let mut head = u32::try_from(16 + 4 * compatible.len()).unwrap().to_be_bytes().to_vec();
    head.extend(b"ftyp");
    head.extend(major);
    head.extend([0, 0, 2, 0]);
    head.extend(compatible.iter().copied().flatten());
    head.extend(b"\0\0\0\x08moov");
    head
}

/// A tag of this size, and the bytes after it.
fn id3(size: usize, behind: &[u8]) -> Vec<u8> {
    let mut head = b"ID3\x04\0\0".to_vec();
    head.extend([0, 0, u8::try_from(size >> 7).unwrap(), u8::try_from(size & 0x7f).unwrap()]);
    head.extend(vec![0; size]);
    head.extend(behind);
    head
}

/// An archive with entries of these names, 20 bytes each.
fn zip(names: &[&str]) -> Vec<u8> {
    let mut head = Vec::new();
    for name in names {
        head.extend(b"PK\x03\x04");
        head.extend([0; 22]);
        head.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        head.extend([0; 2]);
        head.extend(name.as_bytes());
        head.extend([7; 20]);
    }
    head
}

/// The accepted types that a file may be declared as.
fn fitting(head: &[u8]) -> Vec<&'static str> {
    let types = MediaKind::ALL.into_iter().flat_map(|kind| kind.content_types().iter().copied());
    types.filter(|content_type| check_first_bytes(content_type, head).is_ok()).collect()
}

#[test]
fn a_file_may_be_declared_only_as_its_actual_type() {
    const OFFICE: [&str; 6] =
        ["application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint", DOCX, XLSX, PPTX];
    let html = b"<!DOCTYPE html><html><body>Log in</body></html>";
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("JPEG", b"\xff\xd8\xff\xe0\0\x10JFIF".to_vec(), &["image/jpeg"]),
        ("PNG", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), &["image/png"]),
        ("GIF", b"GIF89a\x01\0\x01\0".to_vec(), &[]),
        ("WebP", b"RIFF\x24\0\0\0WEBPVP8 ".to_vec(), &[]),
        ("WAV", b"RIFF\x24\0\0\0WAVEfmt ".to_vec(), &[]),
        ("FLAC", b"fLaC\0\0\0\x22".to_vec(), &[]),
        ("WebM", b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x86webm".to_vec(), &[]),
        ("Ogg Opus", ogg(b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0"), &["audio/ogg"]),
        ("Ogg Vorbis", ogg(b"\x01vorbis\0\0\0\0\x02"), &[]),
        ("Ogg that is cut off", b"OggS\0".to_vec(), &[]),
        ("AMR", b"#!AMR\n\x3c\x91".to_vec(), &["audio/amr"]),
        ("AMR-WB", b"#!AMR-WB\n\x04".to_vec(), &[]),
        ("AAC", b"\xff\xf1\x50\x80\x02\x1f\xfc".to_vec(), &["audio/aac"]),
        ("AAC with a checksum", b"\xff\xf8\x50\x80\x02\x1f\xfc".to_vec(), &["audio/aac"]),
        ("MP3", b"\xff\xfb\x90\x44\0\0".to_vec(), &["audio/mpeg"]),
        ("MP3 with a checksum", b"\xff\xfa\x90\x44\0\0".to_vec(), &["audio/mpeg"]),
        ("MP3 of 24 kHz", b"\xff\xf3\x84\xc4\0\0".to_vec(), &["audio/mpeg"]),
        ("MP3 behind a tag", id3(300, b"\xff\xfb\x90\x44"), &["audio/mpeg"]),
        ("AAC behind a tag", id3(300, b"\xff\xf1\x50\x80"), &["audio/aac"]),
        ("FLAC behind a tag", id3(300, b"fLaC\0\0\0\x22"), &[]),
        ("sound behind a long tag", id3(6000, b""), &["audio/aac", "audio/mpeg"]),
        ("MP4", ftyp(b"isom", &[b"isom", b"iso2", b"avc1", b"mp41"]), &["audio/mp4", "video/mp4"]),
        ("MP4 of a phone", ftyp(b"mp42", &[]), &["audio/mp4", "video/mp4"]),
        ("MP4 of a camera", ftyp(b"XAVC", &[b"XAVC", b"mp42"]), &["audio/mp4", "video/mp4"]),
        ("M4A", ftyp(b"M4A ", &[b"M4A ", b"mp42", b"isom"]), &["audio/mp4"]),
        ("3GPP", ftyp(b"3gp4", &[b"3gp4"]), &["video/3gpp"]),
        ("3GPP of Android", ftyp(b"3gp4", &[b"isom", b"3gp4"]), &["audio/mp4", "video/mp4", "video/3gpp"]),
        ("3GPP2", ftyp(b"3g2a", &[b"3g2a"]), &[]),
        ("QuickTime", ftyp(b"qt  ", &[b"qt  "]), &[]),
        ("HEIC", ftyp(b"heic", &[b"mif1", b"heic"]), &[]),
        ("AVIF", ftyp(b"avif", &[b"mif1", b"miaf", b"iso8"]), &[]),
        ("PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec(), &["application/pdf"]),
        ("PDF behind blanks", b"\xef\xbb\xbf\r\n%PDF-1.4\n".to_vec(), &["application/pdf"]),
        ("HTML", html.to_vec(), &["text/plain"]),
        ("text", "grüß dich\n".into(), &["text/plain"]),
        ("text in Latin-1", b"gr\xfc\xdf dich\r\n".to_vec(), &["text/plain"]),
        ("text in UTF-16", b"\xff\xfeH\0i\0".to_vec(), &["text/plain"]),
        ("a program", b"\x7fELF\x02\x01\x01\0".to_vec(), &[]),
        ("nothing", Vec::new(), &[]),
        ("Word", zip(&["[Content_Types].xml", "_rels/.rels", "word/document.xml"]), &[DOCX]),
        ("Word of Google", zip(&["word/numbering.xml", "word/settings.xml"]), &[DOCX]),
        ("Excel", zip(&["docProps/app.xml", "docProps/core.xml", "xl/workbook.xml"]), &[XLSX]),
        ("PowerPoint", zip(&["[Content_Types].xml", "_rels/.rels", "ppt/presentation.xml"]), &[PPTX]),
        ("an Office file", zip(&["[Content_Types].xml"]), &[DOCX, XLSX, PPTX]),
        ("OpenDocument", zip(&["mimetype", "content.xml"]), &[]),
        ("an archive", zip(&["photo.jpg", "word/document.xml"]), &[]),
        ("a file of Office 2003", OLE.to_vec(), &OFFICE),
    ];
    for (what, head, expected) in cases {
        assert_eq!(fitting(&head), expected, "{what}");
    }
}

#[test]
fn only_the_beginning_is_inspected() {
    let mut text = vec![b'a'; SNIFFED_BYTES];
    text.push(0);
    assert_eq!(fitting(&text), ["text/plain"]);
}

#[test]
fn a_reason_names_both_formats_and_quotes_nothing() {
    let fault = |content_type, head: &[u8]| check_first_bytes(content_type, head).unwrap_err().to_string();
    assert_eq!(
        fault("image/jpeg", b"<html>login</html>"),
        "the first bytes are those of HTML, not of image/jpeg"
    );
    assert_eq!(
        fault(OGG_OPUS, &ogg(b"\x01vorbis")),
        "the first bytes are those of Ogg with another codec than Opus, not of audio/ogg; codecs=opus"
    );
    assert_eq!(fault("application/pdf", b"SECRET\0\0"), "the first bytes are not those of application/pdf");
}

#[test]
fn a_file_without_a_type_is_served_with_its_detected_type() {
    let cases: [(MediaKind, Vec<u8>, Option<&str>); 14] = [
        (Image, b"\xff\xd8\xff\xe0....".to_vec(), Some("image/jpeg")),
        (Image, b"\x89PNG\r\n\x1a\n".to_vec(), Some("image/png")),
        (Document, b"\x89PNG\r\n\x1a\n".to_vec(), None),
        (Document, b"%PDF-1.7".to_vec(), Some("application/pdf")),
        (Document, "grüß dich".into(), Some("text/plain")),
        (Document, b"\x00\x01\x02".to_vec(), None),
        (Document, zip(&["xl/workbook.xml"]), Some(XLSX)),
        (Video, ftyp(b"mp42", &[]), Some("video/mp4")),
        (Audio, ftyp(b"M4A ", &[]), Some("audio/mp4")),
        (Video, ftyp(b"3gp5", &[]), Some("video/3gpp")),
        (Audio, ogg(b"OpusHead"), Some(OGG_OPUS)),
        (Audio, ogg(b"\x01vorbis"), Some("audio/ogg")),
        (Image, b"<html>".to_vec(), None),
        (Document, Vec::new(), None),
    ];
    for (kind, head, expected) in cases {
        assert_eq!(sniff(kind, &head), expected, "{kind:?} {head:?}");
    }
}
