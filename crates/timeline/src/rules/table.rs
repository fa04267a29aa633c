//! The rules.

use std::time::Duration;

use crate::row::{IdKind, Row, RowKind, StreamNumber};
use crate::rules::steps::{Step, When};
use crate::rules::{
    DELIVERY_AFTER, EVENT_AFTER, FETCH_AFTER, REPORT_AFTER, RESULT_AFTER, RuleName, WEBHOOK_AFTER,
};

/// When an expectation is overdue, counted from the time at which the row that began it was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// After a fixed time.
    Time(Duration),
    /// After the channel's `report_after`.
    Report,
    /// After the time within which a file is usually fetched.
    Fetch,
    /// After the usual time of the command's lane.
    Lane,
}

impl After {
    /// The time without any setting. The store orders by it; whether something is overdue is judged by the present settings
    /// ([`RuleSettings::judged`](crate::rules::RuleSettings::judged)).
    pub const fn standard(self) -> Duration {
        match self {
            Self::Time(time) => time,
            Self::Report => REPORT_AFTER,
            Self::Fetch => FETCH_AFTER,
            Self::Lane => RESULT_AFTER,
        }
    }
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// The rows that begin it. A replayed row does not.
    pub begins: &'static [Step],
    /// The rows that end it: what was expected, or what says that it will not come.
    pub ends: &'static [Step],
    /// The rows that end it for every message that names the same file.
    pub ends_for_file: &'static [Step],
    /// By which id the rows that end it are recognized.
    pub key: IdKind,
    /// When it is overdue.
    pub after: After,
    /// The streams that must be read up to then before it may be judged.
    pub streams: &'static [StreamNumber],
    /// Whether the store's lists and counts have it.
    pub is_listed: bool,
    /// What is missing, for people, before ` for 16 min`.
    pub missing: &'static str,
    /// What an operator can do. `{channel}` is the channel's id.
    pub advice: &'static str,
}

/// Every rule, in the order of [`RuleName::ALL`].
pub static RULES: [Rule; RuleName::ALL.len()] =
    [NO_REPORT, NOT_FETCHED, NO_RESULT, WEBHOOK_WAITING, EVENT_WAITING, DELIVERY, NO_BULK_RESULT];

const NO_REPORT: Rule = Rule {
    name: RuleName::NoReport,
    begins: &[Step::new(RowKind::Result, When::Accepted)],
    ends: &[Step::new(RowKind::Report, When::Reported)],
    ends_for_file: &[],
    key: IdKind::Message,
    after: After::Report,
    streams: &[StreamNumber::Events],
    is_listed: true,
    missing: "no report",
    advice: "The BSP accepted the message and has not reported on it since. Ask the BSP for this message id. If the channel's other \
             messages have no reports either, check the webhook URL of channel {channel} at the BSP and the runbook under \
             ImchannelWebhooksStopped.",
};

/// A result does not say whether its command names a file, so the rule begins with the command. The page of a message counts from
/// the acceptance instead; in lists a command with a file that waits in its lane for ten minutes is there as well.
///
/// One upload may be in many messages, and MEDIA's event names only the last command. A BSP keeps a file by its URL and may not ask
/// for it again (Infobip's DELETE of media by URL says so), so that one fetch is enough for every message that names the file.
const NOT_FETCHED: Rule = Rule {
    name: RuleName::NotFetched,
    begins: &[Step::new(RowKind::Command, When::NamesFile)],
    ends: &[
        Step::new(RowKind::Report, When::Delivered),
        Step::new(RowKind::Report, When::Failed),
        Step::new(RowKind::Result, When::NotAccepted),
        Step::new(RowKind::DeadLetter, When::Always),
    ],
    ends_for_file: &[Step::new(RowKind::Fetch, When::Content)],
    key: IdKind::Command,
    after: After::Fetch,
    streams: &[StreamNumber::Commands, StreamNumber::Events, StreamNumber::DeadLetters],
    is_listed: true,
    missing: "the file was not fetched",
    advice: "The customer probably has no file. Check from another network that the public URL of media is reachable \
             (`imchannel media stat URL`), and the runbook under ImchannelMediaExpiredWithoutFetch. The back end sends the message \
             again under a new id.",
};

const NO_RESULT: Rule = Rule {
    name: RuleName::NoResult,
    begins: &[Step::new(RowKind::Command, When::NotBulk)],
    ends: &[Step::new(RowKind::Result, When::Always), Step::new(RowKind::DeadLetter, When::Always)],
    ends_for_file: &[],
    key: IdKind::Command,
    after: After::Lane,
    streams: &[StreamNumber::Commands, StreamNumber::Events, StreamNumber::DeadLetters],
    is_listed: true,
    missing: "no result",
    advice: "The command waits, and it is answered EXPIRED when its deadline passes. `imchannel lanes list --channel {channel}` says why \
             it waits; see the runbook under ImchannelSendsWaiting.",
};

/// Campaigns have a queue and a usual time of their own, and one rule would hide a late message behind a slow campaign.
const NO_BULK_RESULT: Rule =
    Rule { name: RuleName::NoBulkResult, begins: &[Step::new(RowKind::Command, When::Bulk)], ..NO_RESULT };

const WEBHOOK_WAITING: Rule = Rule {
    name: RuleName::WebhookWaiting,
    begins: &[],
    ends: &[],
    ends_for_file: &[],
    key: IdKind::Stored,
    after: After::Time(WEBHOOK_AFTER),
    streams: &[StreamNumber::Webhooks],
    is_listed: false,
    missing: "the normalizer has not finished this webhook",
    advice: "`imchannel streams check` and `imchannel top` say whether the normalizers work. Add normalizers, or see the runbook under \
             ImchannelWebhookBacklogStale.",
};

const EVENT_WAITING: Rule = Rule {
    name: RuleName::EventWaiting,
    begins: &[],
    ends: &[],
    ends_for_file: &[],
    key: IdKind::Stored,
    after: After::Time(EVENT_AFTER),
    streams: &[StreamNumber::Events],
    is_listed: false,
    missing: "the back end has not acknowledged",
    advice: "NATS says only up to which event the back end has acknowledged everything: this event, or one before it, is not \
             acknowledged. Restart the back end's consumers, or see the runbook under ImchannelEventsNotRead.",
};

const DELIVERY: Rule = Rule {
    name: RuleName::Delivery,
    begins: &[Step::new(RowKind::Command, When::Always)],
    ends: &[
        Step::new(RowKind::Report, When::Delivered),
        Step::new(RowKind::Report, When::Failed),
        Step::new(RowKind::Result, When::NotAccepted),
        Step::new(RowKind::DeadLetter, When::Always),
    ],
    ends_for_file: &[],
    key: IdKind::Command,
    after: After::Time(DELIVERY_AFTER),
    streams: &[StreamNumber::Commands, StreamNumber::Events],
    is_listed: false,
    missing: "not delivered",
    advice: "",
};

impl Rule {
    /// The rule with a name.
    pub fn of(name: RuleName) -> &'static Self {
        &RULES[name as usize - 1]
    }

    /// Whether a row begins it.
    pub fn begins(&self, row: &Row) -> bool {
        !row.is_replayed && self.begins.iter().any(|step| step.is(row))
    }

    /// Whether a row ends it.
    pub fn ends(&self, row: &Row) -> bool {
        self.ends.iter().any(|step| step.is(row))
    }

    /// Whether a row ends it for every message that names the row's file.
    pub fn ends_for_file(&self, row: &Row) -> bool {
        self.ends_for_file.iter().any(|step| step.is(row))
    }
}
