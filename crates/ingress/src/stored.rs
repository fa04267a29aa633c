//! The proof that a webhook is stored, from which a 200 is made.

/// Proof that a webhook is stored. It is made of one of two others, and in no third way: of the bus's, which only JetStream's
/// acknowledgment makes, or of the spool's, which only an fsync makes.
#[derive(Debug)]
pub(crate) struct Stored(());

impl From<bus::Stored> for Stored {
    fn from(_: bus::Stored) -> Self {
        Self(())
    }
}

impl From<spool::Synced> for Stored {
    fn from(_: spool::Synced) -> Self {
        Self(())
    }
}
