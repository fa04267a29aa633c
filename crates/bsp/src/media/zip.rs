//! ZIP: the packages of Word, Excel and PowerPoint, detected by the names of their first parts, and all other
//! archives.

use super::format::Format;

/// Byte offset of the name of an entry (APPNOTE section 4.3.7).
const NAME_FROM: usize = 30;
/// Byte offset of the length of that name.
const NAME_LENGTH_AT: usize = 26;
const ENTRY: &[u8] = b"PK\x03\x04";
/// Parts that any Office package may begin with.
const OF_ANY: [&[u8]; 5] = [b"[Content_Types].xml", b"_rels/", b"docProps/", b"docMetadata/", b"customXml/"];

/// The package format of a file that begins with a ZIP entry.
pub(super) fn format(head: &[u8]) -> Format {
    let starts = head.windows(ENTRY.len()).enumerate().filter(|(_, window)| *window == ENTRY);
    let mut names = starts.filter_map(|(start, _)| name(&head[start..]));
    let Some(first) = names.next() else { return Format::Zip };
    let is_office = OF_ANY.iter().any(|part| first.starts_with(part));
    let told = |name: &[u8]| match name {
        [b'w', b'o', b'r', b'd', b'/', ..] => Some(Format::WordPackage),
        [b'x', b'l', b'/', ..] => Some(Format::ExcelPackage),
        [b'p', b'p', b't', b'/', ..] => Some(Format::PowerPointPackage),
        _ => None,
    };
    if let Some(format) = told(first) {
        return format;
    }
    if !is_office {
        return Format::Zip;
    }
    names.find_map(told).unwrap_or(Format::OfficePackage)
}

/// The name of an entry, as far as it is present.
fn name(entry: &[u8]) -> Option<&[u8]> {
    let length = entry.get(NAME_LENGTH_AT..NAME_LENGTH_AT + 2)?.try_into().ok().map(u16::from_le_bytes)?;
    let name = entry.get(NAME_FROM..)?;
    Some(&name[..name.len().min(usize::from(length))])
}
