//! ISO base media: MP4, M4A, 3GPP and others share one format. The brands of the first box identify the
//! variant.

use super::format::Format;

/// Brands of MP4 (registered at mp4ra.org, read 2026-11).
const MP4: [&[u8; 4]; 19] = [
    b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9", b"mp41", b"mp42",
    b"mp71", b"avc1", b"dash", b"MSNV", b"M4V ", b"M4VH", b"M4VP", b"f4v ",
];
const AUDIO: [&[u8; 4]; 3] = [b"M4A ", b"M4B ", b"M4P "];
/// HEIF, AVIF and Canon's raw photographs. Some of them list an MP4 brand too.
const PICTURES: [&[u8; 4]; 10] =
    [b"heic", b"heix", b"heim", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis", b"crx "];
/// Size and type of the box, the major brand and its version.
const BRANDS_FROM: usize = 16;

/// The format of a file whose first box is `ftyp`.
pub(super) fn format(head: &[u8]) -> Format {
    let Some(major) = head.get(8..12) else { return Format::Unknown };
    let size = head.first_chunk().map_or(0, |size| u32::from_be_bytes(*size) as usize);
    let compatible = head.get(BRANDS_FROM..size.min(head.len())).unwrap_or_default().chunks_exact(4);
    let has = |brand: &dyn Fn(&[u8]) -> bool| brand(major) || compatible.clone().any(brand);
    let is_one_of = |brands: &[&[u8; 4]], brand: &[u8]| brands.iter().any(|known| *known == brand);
    if is_one_of(&AUDIO, major) {
        return Format::M4a;
    }
    if is_one_of(&PICTURES, major) {
        return Format::IsoPicture;
    }
    // 3g2 is 3GPP2, which WhatsApp does not accept.
    let is_3gpp = has(&|brand| brand.starts_with(b"3g") && brand[2] != b'2');
    match (has(&|brand| is_one_of(&MP4, brand)), is_3gpp) {
        (true, true) => Format::Mp4AndThreeGpp,
        (true, false) => Format::Mp4,
        (false, true) => Format::ThreeGpp,
        (false, false) if major == b"qt  " => Format::QuickTime,
        (false, false) => Format::IsoOther,
    }
}
