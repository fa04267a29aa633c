//! The formats of files: those that WhatsApp accepts, and those that are most often declared as one of them.

pub(super) const WORD: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
pub(super) const EXCEL: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
pub(super) const POWERPOINT: &str =
    "application/vnd.openxmlformats-officedocument.presentationml.presentation";

/// A format that the first bytes show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Jpeg,
    Png,
    Gif,
    Webp,
    Pdf,
    OggOpus,
    /// Ogg with another codec.
    Ogg,
    Amr,
    Aac,
    MpegAudio,
    /// An ID3 tag that hides the following bytes: MPEG audio in most cases, AAC sometimes.
    Id3,
    Flac,
    Wave,
    M4a,
    Mp4,
    ThreeGpp,
    /// Both brands.
    Mp4AndThreeGpp,
    QuickTime,
    /// HEIF, AVIF or a raw photograph.
    IsoPicture,
    /// ISO media of an unknown brand.
    IsoOther,
    Matroska,
    WordPackage,
    ExcelPackage,
    PowerPointPackage,
    /// A package of one of the three. Its first bytes do not show which one.
    OfficePackage,
    Zip,
    /// The container of Word, Excel and PowerPoint before 2007, and of later files with a password.
    Ole,
    Html,
    Text,
    Unknown,
}

impl Format {
    pub(super) fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Gif => "GIF",
            Self::Webp => "WebP",
            Self::Pdf => "PDF",
            Self::OggOpus => "Ogg Opus",
            Self::Ogg => "Ogg with another codec than Opus",
            Self::Amr => "AMR",
            Self::Aac => "AAC",
            Self::MpegAudio | Self::Id3 => "MP3",
            Self::Flac => "FLAC",
            Self::Wave => "WAV",
            Self::M4a => "M4A",
            Self::Mp4 | Self::Mp4AndThreeGpp => "MP4",
            Self::ThreeGpp => "3GPP",
            Self::QuickTime => "QuickTime",
            Self::IsoPicture => "HEIF, AVIF or a raw photograph",
            Self::IsoOther => "another ISO media format than MP4 and 3GPP",
            Self::Matroska => "WebM or Matroska",
            Self::WordPackage => "a Word package",
            Self::ExcelPackage => "an Excel package",
            Self::PowerPointPackage => "a PowerPoint package",
            Self::OfficePackage => "an Office package",
            Self::Zip => "ZIP",
            Self::Ole => "an OLE container",
            Self::Html => "HTML",
            Self::Text => "text",
            Self::Unknown => return None,
        })
    }

    /// Whether a file of this format may be declared as this type, which has no parameters.
    pub(super) fn fits(self, content_type: &str) -> bool {
        match content_type {
            "image/jpeg" => self == Self::Jpeg,
            "image/png" => self == Self::Png,
            "audio/aac" => matches!(self, Self::Aac | Self::Id3),
            "audio/amr" => self == Self::Amr,
            "audio/mpeg" => matches!(self, Self::MpegAudio | Self::Id3),
            "audio/mp4" => matches!(self, Self::M4a | Self::Mp4 | Self::Mp4AndThreeGpp),
            "audio/ogg" => self == Self::OggOpus,
            "video/mp4" => matches!(self, Self::Mp4 | Self::Mp4AndThreeGpp),
            "video/3gpp" => matches!(self, Self::ThreeGpp | Self::Mp4AndThreeGpp),
            "application/pdf" => self == Self::Pdf,
            "text/plain" => matches!(self, Self::Text | Self::Html),
            // The first bytes of an OLE container do not show its application.
            "application/msword" | "application/vnd.ms-excel" | "application/vnd.ms-powerpoint" => {
                self == Self::Ole
            }
            // A file with a password is in an OLE container (MS-OFFCRYPTO section 2.3).
            WORD => matches!(self, Self::WordPackage | Self::OfficePackage | Self::Ole),
            EXCEL => matches!(self, Self::ExcelPackage | Self::OfficePackage | Self::Ole),
            POWERPOINT => matches!(self, Self::PowerPointPackage | Self::OfficePackage | Self::Ole),
            _ => false,
        }
    }
}
