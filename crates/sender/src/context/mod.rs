//! What the lanes of a replica share ([`Shared`]), and what the commands of one lane share ([`LaneContext`]). This holds
//! state; what is done with it is in [`lane`](mod@crate::lane) and [`send`](mod@crate::send).

pub(crate) mod dead_lettered;
pub(crate) mod erased_commands;
pub(crate) mod failed_lanes;
pub(crate) mod lane_lease;
pub(crate) mod open_calls;

use std::sync::Arc;
use std::time::Duration;

use service::{LogPayloads, SpanTracer};
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::bsp_client::message_log::MessageLog;
use crate::context::dead_lettered::DeadLettered;
use crate::context::erased_commands::ErasedCommands;
use crate::context::failed_lanes::FailedLanes;
use crate::context::lane_lease::LaneLease;
use crate::context::open_calls::OpenCalls;
use crate::ledger::store_limit::StoreLimit;
use crate::metrics::SenderMetrics;
use crate::result::publish::Owner;
use crate::settings::Settings;
use crate::throttle::Throttle;

/// State that all lanes of a replica share.
pub(crate) struct Shared {
    pub(crate) bus: bus::Bus,
    pub(crate) blobs: blob::BlobStore,
    pub(crate) client: reqwest::Client,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<SenderMetrics>,
    pub(crate) message_log: MessageLog,
    pub(crate) failed_lanes: FailedLanes,
    pub(crate) tracer: SpanTracer,
    pub(crate) payloads: LogPayloads,
    /// Limit of concurrent ledger writes of all lanes.
    pub(crate) ledger_limit: StoreLimit,
    pub(crate) dead_lettered: DeadLettered,
    pub(crate) erased: ErasedCommands,
}

/// Context of one lane, for its commands. Clones share it.
#[derive(Clone)]
pub(crate) struct LaneContext {
    pub(crate) shared: Arc<Shared>,
    pub(crate) account: Arc<Account>,
    pub(crate) throttle: Throttle,
    pub(crate) lease: LaneLease,
    pub(crate) calls: OpenCalls,
    /// Canceled when the lane closes: no new work is begun, and all waits end.
    pub(crate) closing: CancellationToken,
}

/// How this process ended its work on a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// The result is stored. The command is acknowledged.
    Done,
    /// Another command with its id and content has or will get the result. The command is acknowledged.
    Duplicate,
    /// The lane was closed. The next owner continues from the ledger.
    Released,
    /// An internal error stopped the work. The command is redelivered, and the work continues from the ledger.
    Failed,
}

impl Completion {
    /// Whether the command is acknowledged, so that it is not delivered again.
    pub fn is_acknowledged(self) -> bool {
        matches!(self, Self::Done | Self::Duplicate)
    }
}

impl LaneContext {
    /// Waits. Returns whether the lane continues.
    pub(crate) async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            () = self.closing.cancelled() => false,
            () = tokio::time::sleep(wait) => !self.closing.is_cancelled(),
        }
    }

    /// Returns this time after the lane was closed.
    pub(crate) async fn closed_for(&self, time: Duration) {
        self.closing.cancelled().await;
        tokio::time::sleep(time).await;
    }

    /// The owner of the lane's commands and results.
    pub(crate) fn owner(&self) -> Owner<'_> {
        Owner::Channel(self.account.bsp, &self.account.channel)
    }
}
