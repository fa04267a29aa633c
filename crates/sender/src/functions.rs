//! Whether Redis has the functions of this version, for the readiness of the process.
//!
//! Only an answer of Redis changes the state. While Redis is unreachable, commands with files wait, text messages are
//! sent, and readiness stays as it was. Text messages do not need the functions either. The process is unready without
//! them so that the rollout of a new version stops before it has replaced all replicas of the old version.

use std::time::Duration;

use blob::{BlobError, BlobStore};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Interval of the checks.
const LOOK: Duration = Duration::from_secs(1);

/// Starts the checks and returns the current state.
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
                        tracing::error!(
                            function = "sender",
                            "commands with stored files are waiting: {error}"
                        )
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

/// Returns `None` if Redis does not answer.
async fn look(blobs: &BlobStore) -> Option<Result<(), String>> {
    // Replaces connections whose server does not answer or has become a replica.
    blobs.ping().await.ok()?;
    match blobs.check_functions().await {
        Ok(()) => Some(Ok(())),
        Err(error @ (BlobError::NoFunctions | BlobError::MayNotCall(_))) => Some(Err(error.to_string())),
        Err(_) => None,
    }
}
