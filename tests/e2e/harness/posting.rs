//! Posts webhooks in the background for as long as a test needs them, so that what the test does meanwhile never comes too late.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::{Webhook, eventually};

/// Webhooks 0, 1, 2, … on their way.
pub(crate) struct Posting {
    is_over: Arc<AtomicBool>,
    next: Arc<AtomicUsize>,
    senders: JoinSet<()>,
}

impl Posting {
    /// Each sender posts the next webhook when its last one is answered 200; until then it posts the same again, as a BSP does.
    pub(crate) fn start(ingress: SocketAddr, senders: usize, webhook: fn(usize) -> Webhook) -> Self {
        let (is_over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let senders = (0..senders).map(|_| {
            let (is_over, next) = (Arc::clone(&is_over), Arc::clone(&next));
            async move {
                while !is_over.load(Ordering::SeqCst) {
                    let webhook = webhook(next.fetch_add(1, Ordering::SeqCst));
                    eventually("the webhook is answered 200", || async {
                        (webhook.try_post(ingress).await.ok()?.status == 200).then_some(())
                    })
                    .await;
                }
            }
        });
        let senders = senders.collect();
        Self { is_over, next, senders }
    }

    /// Ends it. Returns how many were posted; each of them is answered 200.
    pub(crate) async fn end(self) -> usize {
        self.is_over.store(true, Ordering::SeqCst);
        self.senders.join_all().await;
        self.next.load(Ordering::SeqCst)
    }
}
