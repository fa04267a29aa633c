//! Whether Redis has the functions of this version, for the readiness of the process.
//!
//! Only an answer of Redis counts: while it is away, commands with files wait and text goes out, and the process stays as ready as it
//! was. It goes out without the functions too; the process is unready so that a deployment of a new version stops before it has
//! replaced the one whose functions are there.

use std::time::Duration;

use blob::{BlobError, BlobStore};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Looks from now on; gives what is known.
pub(crate) fn follow(blobs: BlobStore, stop: CancellationToken) -> watch::Receiver<Result<(), String>> {
    let (sender, receiver) = watch::channel(Ok(()));
    tokio::spawn(async move {
        loop {
            if let Some(state) = look(&blobs).await
                && *sender.borrow() != state
            {
                match &state {
                    Ok(()) => tracing::info!(function = "sender", "Redis has the functions of this version"),
                    Err(error) => {
                        tracing::error!(function = "sender", "commands with stored files wait: {error}")
                    }
                }
                let _ = sender.send_replace(state);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    });
    receiver
}

/// `None` when Redis does not say.
async fn look(blobs: &BlobStore) -> Option<Result<(), String>> {
    // Makes connections anew whose server answers no more or has become a replica.
    blobs.ping().await.ok()?;
    match blobs.check_functions().await {
        Ok(()) => Some(Ok(())),
        Err(error @ (BlobError::NoFunctions | BlobError::MayNotCall(_))) => Some(Err(error.to_string())),
        Err(_) => None,
    }
}
