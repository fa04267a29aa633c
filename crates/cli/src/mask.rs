//! Whether personal data in a decoded event is shown. `--unmask` shows it.

pub(crate) use bsp::mask::events::{account, customer, message, report, result};

/// Whether personal data is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PersonalData {
    Masked,
    Shown,
}

impl PersonalData {
    /// What the flag `--unmask` says.
    pub(crate) fn of_flag(unmask: bool) -> Self {
        if unmask { Self::Shown } else { Self::Masked }
    }
}
