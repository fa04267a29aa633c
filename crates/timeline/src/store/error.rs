//! Why a store did not answer, and whether to try again.

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// It does not answer now: it is locked, restarting or out of reach.
    Unavailable,
    /// There is no room.
    Full,
    /// What it holds cannot be read.
    Damaged,
    /// It does not accept the user, the password, the certificate or a statement: an operator must change that.
    Refused,
}

impl StoreFault {
    /// Every fault.
    pub const ALL: [Self; 4] = [Self::Unavailable, Self::Full, Self::Damaged, Self::Refused];

    /// Its name in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Full => "full",
            Self::Damaged => "damaged",
            Self::Refused => "refused",
        }
    }
}

/// A store did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    fault: StoreFault,
    text: String,
    #[source]
    source: Option<Source>,
}

impl StoreError {
    /// An error; `text` says what could not be done, where, and what to do.
    pub fn new(fault: StoreFault, text: impl Into<String>, source: Option<Source>) -> Self {
        Self { fault, text: text.into(), source }
    }

    /// What is wrong.
    pub fn fault(&self) -> StoreFault {
        self.fault
    }

    /// Whether the same call may succeed later without an operator.
    pub fn is_retryable(&self) -> bool {
        match self.fault {
            StoreFault::Unavailable | StoreFault::Full => true,
            StoreFault::Damaged | StoreFault::Refused => false,
        }
    }
}
