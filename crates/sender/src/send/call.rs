//! Step 4: the call.

use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::attempt::Attempt;
use crate::bsp_client::call::{Call, CallResult, FinishedCall};
use crate::media_url::FileLink;
use crate::moment::Moment;

impl Attempt<'_> {
    /// Makes the call. It ends at the timeout that counts from its intent.
    pub(super) async fn call(&mut self, authorization: HeaderValue, intent_at: Moment) -> CallResult {
        let (lane, job) = (self.work.lane, self.work.job);
        let (shared, account) = (&lane.shared, &lane.account);
        let link = self.progress.file.link().map(FileLink::as_link);
        let call = Call {
            client: &shared.client,
            account,
            authorization,
            request: account.sending.request(&account.settings, &job.command, link),
            message_id: &job.command.id.message_id(),
            deadline: intent_at.plus(shared.settings.send_timeout),
            payloads: shared.payloads,
        };
        self.progress.open_call = Some(lane.calls.begin(job.delivery.sequence));
        let began = Instant::now();
        let FinishedCall { end, attempt } = call.send().await;
        self.progress.calls.record(attempt);
        shared.metrics.call_time.observe(began.elapsed());
        if end.is_unsent() {
            // It is waiting again, also while this is written to the ledger.
            self.progress.open_call = None;
        }
        end
    }
}
