//! The steps of an erasure in their order. Every step may be done again: after an error or a restart it goes on with what is left.

use std::collections::BTreeSet;
use std::time::Duration;

use bus::erasure::Overwritten;
use bus::streams::WEBHOOKS;
use jiff::Timestamp;

use crate::erasure::commands::{Asking, CommandPlace, LEDGER_KEPT, Settled};
use crate::erasure::found::{self, Found, Sought, StoredAt, StoredMessage};
use crate::erasure::kept::{self, Kept, Letter};
use crate::erasure::letters;
use crate::erasure::messages;
use crate::erasure::remains;
use crate::erasure::state::{ErasureAnswer, ErasureCounts, ErasureStep, Remaining, name};
use crate::erasure::{ErasureRequest, Tools, turn};
use crate::life::Floors;
use crate::row::keys::KEY_BYTES;
use crate::row::{RecipientKey, StreamNumber};
use crate::store::audit::{AuditAction, AuditEntry};
use crate::store::{Lease, Place};

/// Pause before the next attempt, while something is waited for.
const PAUSE: Duration = Duration::from_secs(1);
/// Rows that are removed at a time.
const ROWS_AT_A_TIME: usize = 500;

/// What goes wrong is shown, and tried again.
type Step<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One erasure.
pub(super) struct Run {
    tools: Tools,
    answer: ErasureAnswer,
    recipient: RecipientKey,
    /// The number, until the dead letters were searched for it. It is not kept on the disk.
    number: Option<String>,
    /// Whether the audit log says that it begins.
    is_begun: bool,
    entry: AuditEntry,
    /// Rows before this time are erased; `None` until everything up to then is read.
    before: Option<Timestamp>,
    letters: Vec<Letter>,
    settled: Settled,
    /// Messages that are overwritten or gone.
    over: BTreeSet<StoredMessage>,
    remains: Vec<Remaining>,
    /// The right to erase, while this process has it.
    turn: Option<Lease>,
}

/// Shows the state after every step.
pub(super) type Show<'a> = &'a (dyn Fn(&ErasureAnswer) + Send + Sync);

impl Run {
    /// A new one.
    pub(super) fn new(
        tools: Tools,
        answer: ErasureAnswer,
        request: ErasureRequest,
        recipient: RecipientKey,
    ) -> Self {
        let entry = AuditEntry { target: answer.recipient.clone(), ..request.entry };
        Self {
            tools,
            answer,
            recipient,
            number: Some(request.number),
            is_begun: false,
            entry,
            before: None,
            letters: Vec::new(),
            settled: Settled::default(),
            over: BTreeSet::new(),
            remains: Vec::new(),
            turn: None,
        }
    }

    /// The same, which has the right to erase.
    pub(super) fn with_turn(self, turn: Lease) -> Self {
        Self { turn: Some(turn), ..self }
    }

    /// One that goes on after a restart. What it counts as erased begins with what was counted before.
    pub(super) fn resumed(tools: Tools, kept: Kept) -> Self {
        let mut key = [0; KEY_BYTES];
        let is_key = hex::decode_to_slice(&kept.recipient, &mut key).is_ok();
        debug_assert!(is_key, "it was written by this program");
        let mut settled = Settled::default();
        settled.blanked = kept.answer.erased.ledger_entries;
        let entry = AuditEntry {
            at: kept.answer.requested_at,
            user: kept.answer.requested_by.clone(),
            role: kept.role,
            address: kept.address,
            action: AuditAction::Erasure,
            target: kept.answer.recipient.clone(),
            reason: kept.reason,
            details: String::new(),
        };
        Self {
            tools,
            recipient: RecipientKey(key),
            number: None,
            is_begun: true,
            entry,
            before: kept.before,
            letters: kept.letters,
            settled,
            over: BTreeSet::new(),
            remains: Vec::new(),
            turn: None,
            answer: kept.answer,
        }
    }

    /// Works until it is over. The number is not in what is logged.
    pub(super) async fn complete(mut self, show: Show<'_>) {
        loop {
            let error = self.step_in_turn(show).await.err().map(|error| in_words(&*error));
            if let Some(error) = error.as_ref().filter(|_| error != self.answer.error) {
                let id = &self.answer.id;
                tracing::warn!(function = "timeline", "erasure {id} does not go on, trying again: {error}");
            }
            self.answer.error = error;
            if self.answer.step.is_over() {
                // Before it is shown that another one may be asked for.
                if let Some(turn) = self.turn.take() {
                    turn.give_back().await;
                }
                show(&self.answer);
                return;
            }
            show(&self.answer);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Does what can be done now, if this process is the one of its store that erases. When it loses that right, it stops where it is,
    /// as at a restart, and waits for the right.
    async fn step_in_turn(&mut self, show: Show<'_>) -> Step<()> {
        let turn = match self.turn.take() {
            Some(turn) => turn,
            None => match turn::take(&*self.tools.store).await? {
                Some(turn) => turn,
                None => {
                    self.answer.waits_for = vec![turn::WAITS.to_owned()];
                    return Ok(());
                }
            },
        };
        tokio::select! {
            biased;
            () = turn.lost() => Err(turn::LOST.into()),
            done = self.step(show) => {
                self.turn = Some(turn);
                done
            }
        }
    }

    /// Does what can be done now.
    async fn step(&mut self, show: Show<'_>) -> Step<()> {
        let Some(before) = self.read_everything().await? else { return Ok(()) };
        self.answer.step = ErasureStep::Counting;
        show(&self.answer);
        if let Some(number) = &self.number {
            self.letters = letters::with(&self.tools.reader, number).await?;
            self.number = None;
        }
        if !self.is_begun && !self.answer.dry_run {
            self.begin(before).await?;
        }
        loop {
            // Before rows are found: what is read later may be missing among them.
            let read_until = self.tools.observed.progress.borrow().read_until(&[StreamNumber::Events]);
            let sought = Sought { recipient: self.recipient, before };
            let mut found = found::find(&self.tools.store, &self.tools.keys, sought).await?;
            self.add_letters(&mut found);
            self.count(&found).await?;
            if self.answer.dry_run {
                return self.end().await;
            }
            self.answer.step = ErasureStep::Erasing;
            show(&self.answer);
            // Before the first message: the next start must not say that nothing was erased.
            self.keep(Some(before))?;
            let is_whole = self.erase(&found, read_until).await?;
            self.keep(Some(before))?;
            if !is_whole {
                return Ok(());
            }
            for file in &found.files {
                self.answer.erased.files += u64::from(self.tools.blobs.remove(file).await?);
            }
            self.erase_rows(&found).await?;
            self.letters.clear();
            if !found.is_cut {
                return self.end().await;
            }
        }
    }

    /// Waits until everything that came before is read. Returns the time before which rows are erased.
    async fn read_everything(&mut self) -> Step<Option<Timestamp>> {
        let observed = &self.tools.observed;
        let before = match self.before {
            Some(before) => before,
            None => {
                let last = bus::read::last_sequence(&self.tools.reader, &WEBHOOKS).await?;
                let floor = observed.floors.borrow().normalizer;
                if floor.is_none_or(|floor| floor < last) {
                    self.answer.waits_for = vec![format!(
                        "the normalizer, which has processed WEBHOOKS up to {} of {last}",
                        floor.unwrap_or(0)
                    )];
                    return Ok(None);
                }
                let now = Timestamp::now();
                self.before = Some(now);
                now
            }
        };
        let read_until = observed.progress.borrow().read_until(&StreamNumber::ALL);
        if read_until.is_none_or(|read_until| read_until < before) {
            self.answer.waits_for =
                vec![format!("the timeline, until it has read every stream up to {before}")];
            return Ok(None);
        }
        self.answer.waits_for.clear();
        Ok(Some(before))
    }

    /// Writes that it begins: to the audit log, and for the next start.
    async fn begin(&mut self, before: Timestamp) -> Step<()> {
        let details = format!("erasure {} begins", self.answer.id);
        self.tools.store.record(AuditEntry { details, ..self.entry.clone() }).await?;
        self.is_begun = true;
        Ok(self.keep(Some(before))?)
    }

    /// Writes for the next start that it was asked for. Nothing is kept of one that only counts.
    pub(super) fn keep_asked(&self) -> std::io::Result<()> {
        if self.answer.dry_run { Ok(()) } else { self.keep(None) }
    }

    fn keep(&self, before: Option<Timestamp>) -> std::io::Result<()> {
        let kept = Kept {
            answer: self.answer.clone(),
            recipient: hex::encode(self.recipient.0),
            before,
            letters: self.letters.clone(),
            role: self.entry.role.clone(),
            address: self.entry.address.clone(),
            reason: self.entry.reason.clone(),
        };
        kept::write(&self.tools.folder, &kept)
    }

    /// Adds the dead letters in which the number is, and their webhooks.
    fn add_letters(&self, found: &mut Found) {
        for letter in &self.letters {
            let stream = StreamNumber::DeadLetters;
            let (sequence, stored_at) = (letter.sequence, StoredAt::At(letter.stored_at));
            found.messages.insert(StoredMessage { stream, sequence, stored_at });
            found.linked.insert(Place {
                stored_at: letter.stored_at,
                pointer: crate::row::Pointer { stream, sequence: letter.sequence, part: 0 },
            });
            if let Some(sequence) = letter.webhook {
                let (stream, stored_at) = (StreamNumber::Webhooks, StoredAt::Before(letter.stored_at));
                found.add_unrecorded(StoredMessage { stream, sequence, stored_at });
            }
        }
    }

    /// Counts what is found: what is erased already and what is left, without messages that their stream has dropped.
    async fn count(&mut self, found: &Found) -> Step<()> {
        let mut counts = self.answer.erased;
        for message in &found.messages {
            if self.over.contains(message) {
                continue;
            }
            if messages::is_stored(&self.tools, message, self.answer.requested_at).await? {
                *count_of(&mut counts, message.stream) += 1;
            } else {
                self.over.insert(*message);
            }
        }
        counts.rows += as_count(found.own.len() + found.linked.len());
        counts.files += as_count(found.files.len());
        self.answer.found = counts;
        let shared = &mut self.answer.shared_webhooks;
        found.shared_webhooks.iter().for_each(|sequence| name(shared, format!("WEBHOOKS/{sequence}")));
        self.answer.shared_files = found.shared_files;
        Ok(())
    }

    /// Erases everything but rows. Returns whether nothing is waited for.
    async fn erase(&mut self, found: &Found, read_until: Option<Timestamp>) -> Step<bool> {
        let asking = Asking { force: self.answer.force, now: Timestamp::now() };
        let asked = self.settled.ask(&self.tools, &found.commands, asking).await;
        self.answer.erased.ledger_entries = self.settled.blanked;
        for what in asked.left_to_age {
            let until = asking.now.checked_add(LEDGER_KEPT).ok();
            if self.remains.iter().all(|known| known.what != what) {
                self.remains.push(Remaining { what, until });
            }
        }
        let mut waits_for = asked.waits_for;
        let floors = *self.tools.observed.floors.borrow();
        let mut unread = Vec::new();
        for message in &found.messages {
            if self.over.contains(message) {
                continue;
            }
            if self.may_overwrite(message, floors) {
                self.overwrite(message, floors).await?;
            } else {
                unread.push(*message);
            }
        }
        waits_for.extend(waits(&unread, floors));
        if self.settled.last_at.is_some_and(|settled| read_until.is_none_or(|until| until < settled)) {
            waits_for.push("the timeline, until it has read the results of the commands".to_owned());
        }
        let is_whole = waits_for.is_empty();
        self.answer.waits_for = waits_for;
        Ok(is_whole)
    }

    fn may_overwrite(&self, message: &StoredMessage, floors: Floors) -> bool {
        let is_below = |floor: Option<u64>| floor.is_some_and(|floor| message.sequence <= floor);
        match message.stream {
            StreamNumber::Webhooks => is_below(floors.normalizer),
            StreamNumber::Events => self.answer.force || is_below(floors.aicc),
            StreamNumber::Commands => match message.stored_at {
                StoredAt::At(stored_at) => {
                    self.settled.has(CommandPlace { sequence: message.sequence, stored_at })
                }
                StoredAt::Before(_) => false,
            },
            StreamNumber::DeadLetters => true,
        }
    }

    async fn overwrite(&mut self, message: &StoredMessage, floors: Floors) -> Step<()> {
        if messages::overwrite(&self.tools, message).await? == Overwritten::Now {
            *count_of(&mut self.answer.erased, message.stream) += 1;
            let is_unread = floors.aicc.is_none_or(|floor| message.sequence > floor);
            if message.stream == StreamNumber::Events && is_unread {
                name(&mut self.answer.unread_events, format!("EVENTS/{}", message.sequence));
            }
        }
        self.over.insert(*message);
        Ok(())
    }

    /// Removes the rows: those that name the customer last.
    async fn erase_rows(&mut self, found: &Found) -> Step<()> {
        for places in [&found.linked, &found.own] {
            let places: Vec<Place> = places.iter().copied().collect();
            for places in places.chunks(ROWS_AT_A_TIME) {
                let erased = self.tools.store.erase(places.to_vec()).await?;
                self.answer.erased.rows += as_count(erased.rows);
                for what in erased.remains {
                    if self.remains.iter().all(|known| known.what != what) {
                        self.remains.push(Remaining { what: what.to_owned(), until: None });
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends: the audit log first, then the state on the disk.
    async fn end(&mut self) -> Step<()> {
        let now = Timestamp::now();
        if !self.answer.dry_run {
            let details = self.answer.in_words();
            self.tools.store.record(AuditEntry { at: now, details, ..self.entry.clone() }).await?;
            kept::remove(&self.tools.folder)?;
            self.answer.remains = std::mem::take(&mut self.remains);
            self.answer.remains.extend(remains::everywhere(now));
            tracing::info!(function = "timeline", "{}", self.answer.in_words());
        }
        self.answer.step = ErasureStep::Done;
        self.answer.ended_at = Some(now);
        Ok(())
    }
}

/// What waits below which floor, for people.
fn waits(unread: &[StoredMessage], floors: Floors) -> Vec<String> {
    let of = |stream: StreamNumber| unread.iter().filter(move |message| message.stream == stream);
    let mut waits = Vec::new();
    let webhooks = of(StreamNumber::Webhooks).count();
    if webhooks > 0 {
        let floor = floors.normalizer.unwrap_or(0);
        waits.push(format!("{webhooks} webhooks: the normalizer has processed WEBHOOKS up to {floor}"));
    }
    let events = of(StreamNumber::Events).count();
    if events > 0 {
        let floor = floors.aicc.unwrap_or(0);
        waits.push(format!(
            "{events} events: the back end has acknowledged EVENTS up to {floor}; with \"force\" they are erased unread"
        ));
    }
    waits
}

fn count_of(counts: &mut ErasureCounts, stream: StreamNumber) -> &mut u64 {
    match stream {
        StreamNumber::Webhooks => &mut counts.webhooks,
        StreamNumber::Events => &mut counts.events,
        StreamNumber::Commands => &mut counts.commands,
        StreamNumber::DeadLetters => &mut counts.dead_letters,
    }
}

fn as_count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// An error with its causes.
fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
