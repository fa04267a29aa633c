//! How the channels are: their lanes, their last messages, refusals by cause, passwords in use, and what is overdue.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use channel::{Channel, Channels};

use crate::admin::{AdminView, Counted, Counter, PortView};
use crate::health::Lanes;
use crate::health::recent::{LastMessage, Recent};
use crate::http::answer::{
    self, AdminPortAnswer, ChannelAnswer, ChannelHealthAnswer, ChannelsAnswer, HaltedAnswer, LaneAnswer,
    LastAnswer, NotReadAnswer, PasswordAnswer, ProblemCountAnswer, RefusedAnswer, ResultAnswer,
    SourcesAnswer,
};
use crate::http::parameters::Parameters;
use crate::http::refusal::{Known, Refusal};
use crate::http::state::Shared;
use crate::rules;
use crate::store::OverdueCount;

/// `GET /v1/channels`
pub(in crate::http) async fn list(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<ChannelsAnswer>, Refusal> {
    Parameters::of(uri.query()).finish()?;
    let channels = registry(&shared);
    let mut all: Vec<Arc<Channel>> = channels.iter().flat_map(|channels| channels.iter().cloned()).collect();
    all.sort_unstable_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    let reader = &shared.api.observed.health.recent;
    if let Some(channels) = &channels {
        reader.keep(|id| channels.get(id).is_some());
    }
    let seen = Seen::read(&shared, &all).await?;
    Ok(Json(ChannelsAnswer {
        channels: all.iter().map(|channel| seen.channel(channel)).collect(),
        refused_without_channel: seen.refused(""),
        sources: seen.sources(&shared, channels.is_some()),
    }))
}

/// `GET /v1/channels/{channel}`
pub(in crate::http) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<ChannelHealthAnswer>, Refusal> {
    Parameters::of(uri.query()).finish()?;
    let Some(channels) = registry(&shared) else {
        return Err(Refusal::Unavailable("the channels were not read from NATS yet".to_owned()));
    };
    let Some(channel) = channels.get(&id).cloned() else {
        return Err(Refusal::NotFound {
            detail: "no such channel in the registry; /v1/channels lists all, and `imchannel channel apply` adds one".to_owned(),
            id: None,
            known: Box::new(Known::until(answer::read_until(&shared.view().progress))),
        });
    };
    let seen = Seen::read(&shared, std::slice::from_ref(&channel)).await?;
    let sources = seen.sources(&shared, true);
    Ok(Json(ChannelHealthAnswer { channel: seen.channel(&channel), sources }))
}

fn registry(shared: &Shared) -> Option<Arc<Channels>> {
    shared.api.observed.health.channels.borrow().clone()
}

/// What is known of channels when an answer is made.
struct Seen {
    admin: Arc<AdminView>,
    /// `None`: not read yet.
    lanes: Option<Lanes>,
    recent: Recent,
    overdue: Vec<OverdueCount>,
}

impl Seen {
    async fn read(shared: &Shared, channels: &[Arc<Channel>]) -> Result<Self, Refusal> {
        let view = shared.view();
        let judged = rules::judged(&view.progress, view.floors.reports_until(), &view.rules, view.now);
        let health = &shared.api.observed.health;
        let (overdue, recent) =
            tokio::join!(shared.api.store.overdue_counts(judged), health.recent.read(channels));
        Ok(Self {
            admin: health.admin.borrow().clone(),
            lanes: health.lanes.borrow().clone(),
            recent,
            overdue: overdue?,
        })
    }

    fn channel(&self, channel: &Channel) -> ChannelAnswer {
        let id = channel.id.as_str();
        let recent = self.recent.by_channel.get(id);
        let overdue = self.overdue.iter().filter(|count| count.channel == id);
        ChannelAnswer {
            channel: id.to_owned(),
            bsp: channel.bsp.profile().id.as_str().to_owned(),
            tenant: channel.tenant.clone(),
            paused: channel.is_paused,
            sends: channel.bsp.sending().is_some(),
            lane: self.lane(id),
            last_webhook: recent.and_then(|recent| last(recent.webhook.as_ref()?, "")),
            last_send: recent.and_then(|recent| last(recent.send.as_ref()?, recent.outcome)),
            refused: self.refused(id),
            passwords: self.passwords(id, channel.credentials.digests().len()),
            results: self.results(id),
            problems: overdue
                .map(|of| ProblemCountAnswer { rule: of.rule.name().to_owned(), count: of.count })
                .collect(),
        }
    }

    fn lane(&self, id: &str) -> Option<LaneAnswer> {
        let state = self.lanes.as_ref()?.get(id)?;
        let halted = state
            .halted
            .as_ref()
            .map(|reason| HaltedAnswer { reason: reason_name(reason), text: state.why() });
        let oldest = state.waits.oldest_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        Some(LaneAnswer {
            owner: state.owner.clone(),
            halted,
            waiting: state.waits.commands,
            oldest_waiting_at: oldest,
            in_progress: state.in_progress as u64,
        })
    }

    /// Refused webhooks of a channel, or those without one.
    fn refused(&self, id: &str) -> Option<Vec<RefusedAnswer>> {
        let refused = |of: &Counted| RefusedAnswer {
            bsp: of.key.bsp.clone(),
            cause: of.key.label.clone(),
            recent: of.recent,
            total: of.total,
            last_at: of.last_at,
        };
        let some = self.admin.of(Counter::Refused, id).filter(|of| of.recent > 0 || of.total > 0);
        self.admin.has_ingress.then(|| some.map(refused).collect())
    }

    fn passwords(&self, id: &str, count: usize) -> Option<Vec<PasswordAnswer>> {
        let password = |number: usize| {
            let label = number.to_string();
            let of = self.admin.of(Counter::Credential, id).find(|of| of.key.label == label);
            PasswordAnswer {
                number,
                recent: of.map_or(0, |of| of.recent),
                total: of.map_or(0, |of| of.total),
                last_at: of.and_then(|of| of.last_at),
            }
        };
        self.admin.has_ingress.then(|| (1..=count).map(password).collect())
    }

    fn results(&self, id: &str) -> Option<Vec<ResultAnswer>> {
        let result = |of: &Counted| ResultAnswer {
            outcome: of.key.label.to_ascii_uppercase(),
            recent: of.recent,
            total: of.total,
        };
        self.admin.has_sender.then(|| self.admin.of(Counter::Result, id).map(result).collect())
    }

    fn sources(&self, shared: &Shared, is_registry_read: bool) -> SourcesAnswer {
        let mut not_read = Vec::new();
        let mut note = |source: &str, text: String| {
            not_read.push(NotReadAnswer { source: source.to_owned(), text });
        };
        if !is_registry_read {
            note("registry", "the channels were not read from NATS yet, so that none is listed".to_owned());
        }
        if self.lanes.is_none() {
            note(
                "lanes",
                "the leases of the lanes were not read from NATS yet, so that no lane is shown".to_owned(),
            );
        }
        if !self.recent.fault.is_empty() {
            let text = format!("the last messages of some channels were not read: {}", self.recent.fault);
            note("streams", text);
        }
        for text in without_counts(&self.admin) {
            note("admin_ports", text);
        }
        SourcesAnswer {
            partial: !not_read.is_empty() || self.admin.is_partial(),
            not_read,
            admin_ports: self.admin.ports.iter().map(port).collect(),
            counted_since: self.admin.counted_since,
            read_until: answer::read_until(&shared.view().progress),
        }
    }
}

/// Which counts are missing because no process was read that has them.
fn without_counts(admin: &AdminView) -> Vec<String> {
    if admin.ports.is_empty() {
        let text = "no admin port is given, so that refusals, passwords and results are not counted: set IMCHANNEL_TIMELINE_ADMIN_URLS";
        return vec![text.to_owned()];
    }
    let mut texts = Vec::new();
    if !admin.has_ingress {
        texts.push("no ingress was read, so that refusals and passwords are not counted".to_owned());
    }
    if !admin.has_sender {
        texts.push("no sender was read, so that results are not counted".to_owned());
    }
    texts
}

fn last(of: &LastMessage, outcome: &str) -> Option<LastAnswer> {
    Some(LastAnswer { at: of.at, pointer: of.pointer.clone(), outcome: outcome.to_owned() })
}

/// The name of a reason, as the lease has it.
fn reason_name(reason: &lane_state::HaltReason) -> String {
    let value = serde_json::to_value(reason).ok();
    let name = value.as_ref().and_then(|value| value["kind"].as_str());
    name.unwrap_or("other").to_owned()
}

fn port(of: &PortView) -> AdminPortAnswer {
    AdminPortAnswer {
        url: of.url.clone(),
        address: of.address.map(|address| address.to_string()),
        program: of.program.clone(),
        version: of.version.clone(),
        read_at: of.read_at,
        failed_since: of.failed_since,
        error: of.error.clone(),
    }
}
