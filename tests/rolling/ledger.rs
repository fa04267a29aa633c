//! The ledger with senders of this version and the previous one on one bus: each understands the entries of the other, also
//! if the other died at the worst moment, before and after the setup of this version, and on the way back.

use bus::streams::{EVENTS, SENDS_BUCKET};
use bus::{Priority, headers};
use proto::v1::{SendCommand, SendOutcome};

use crate::PART_LIMIT;
use crate::harness::ledger::{StoredEntry, change_events, decided, until_settled};
use crate::harness::outbound::{Outbound, channel, outcome, text};
use crate::harness::{Installation, Program, within};
use crate::upgrade::Version;

/// Places of the two versions in [`Senders`].
const PREVIOUS: usize = 0;
const THIS: usize = 1;
/// EVENTS takes no results with these subjects.
const NO_RESULTS: [&str; 1] = ["imchannel.event.report.*.*"];

fn command(id: &str) -> SendCommand {
    SendCommand { context: "ticket 7".to_owned(), ..text(0, id, "4915112345", "Hello") }
}

async fn send(outbound: &Outbound, id: &str) {
    outbound.publish_as(Priority::Interactive, &command(id), &format!("msg {id}")).await;
}

/// The sender that owns the lane, as its lease says.
async fn owner(outbound: &Outbound) -> Option<String> {
    let leases = bus::inspect::leases(&outbound.installation.bus).await.ok()?;
    let name = lane_state::lane_lease(channel(0).as_str());
    let lease = leases.into_iter().find(|lease| lease.name == name)?;
    Some(serde_json::from_slice::<lane_state::LaneState>(&lease.value).ok()?.owner)
}

/// Two senders, of which one owns the lane.
struct Senders<'a> {
    outbound: &'a Outbound,
    /// The names of their replicas begin with these.
    names: [&'static str; 2],
    programs: [String; 2],
    running: [Option<Program>; 2],
}

impl<'a> Senders<'a> {
    fn new(outbound: &'a Outbound, previous: &Version, this: &Version) -> Self {
        let programs = [previous, this].map(|version| version.program("imchannel-sender"));
        Self { outbound, names: ["previous", "this"], programs, running: [None, None] }
    }

    fn start(&mut self, place: usize) {
        let variables = [("HOSTNAME", self.names[place])];
        self.running[place] = Some(self.outbound.sender_program_of(&self.programs[place], &variables));
    }

    /// Makes one of the two the owner of the lane: the other is stopped, and started again when the lane has its owner.
    async fn give_lane_to(&mut self, place: usize) {
        if self.running[place].is_none() {
            self.start(place);
        }
        let other = 1 - place;
        if let Some(mut program) = self.running[other].take() {
            assert!(program.stop().await);
        }
        self.until_owner(place).await;
        self.start(other);
    }

    async fn until_owner(&self, place: usize) {
        let wanted = format!("{}-", self.names[place]);
        within(PART_LIMIT, &format!("{wanted} owns the lane"), || async {
            owner(self.outbound).await.filter(|name| name.starts_with(&wanted))
        })
        .await;
    }

    /// Has one of them decide a command whose result finds no room, and die. The other one publishes the result.
    async fn die_before_the_result(&mut self, place: usize, id: &str) -> StoredEntry {
        self.until_owner(place).await;
        change_events(self.outbound, &NO_RESULTS).await;
        send(self.outbound, id).await;
        let entry = decided(self.outbound, 0, id).await;
        self.running[place].take().unwrap().kill().await;
        change_events(self.outbound, EVENTS.subjects).await;
        self.until_owner(1 - place).await;
        let result = within(PART_LIMIT, "the other sender publishes its result", || async {
            self.outbound.results().await.into_iter().find(|result| result.command_id == id)
        })
        .await;
        assert_eq!(outcome(&result), SendOutcome::Accepted, "{result:#?}");
        assert_eq!((result.attempts, result.context.as_str()), (1, "ticket 7"), "{result:#?}");
        // Versions up to 81bee835cf70 neither decide nor publish a result with this field.
        assert!(["", &format!("msg {id}")].contains(&&*result.command_msg_id), "{result:#?}");
        entry
    }

    /// The owner of the lane settles a repeat without a call, and refuses another text under the same id.
    async fn know(&self, ids: &[&str]) {
        let outbound = self.outbound;
        let (calls, results) = (outbound.account.calls().sends, outbound.results().await.len());
        let letters = outbound.installation.dead_letters().await.len();
        for id in ids {
            let repeat = format!("{id} {:x}", fastrand::u64(..));
            outbound.publish_as(Priority::Bulk, &command(id), &repeat).await;
            let other = SendCommand { context: String::new(), ..command(id) };
            outbound.publish_as(Priority::Bulk, &other, &format!("other {repeat}")).await;
        }
        until_settled(outbound, 0).await;
        assert_eq!(outbound.account.calls().sends, calls, "{ids:?}: called again");
        let new_letters: Vec<_> = outbound.installation.dead_letters().await.split_off(letters);
        let kinds = new_letters.iter().map(|letter| letter.headers.get(headers::REASON_KIND));
        assert_eq!(kinds.collect::<Vec<_>>(), vec![Some("reused_command_id"); ids.len()]);
        // Versions up to 81bee835cf70 make no result of them.
        let new: Vec<_> = outbound.results().await.split_off(results);
        let codes = new.iter().map(|result| result.error.as_ref().unwrap().code.as_str());
        assert!(codes.into_iter().all(|code| code == "REUSED_COMMAND_ID"), "{new:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_of_two_versions_understand_each_others_entries() {
    service::process::install_crypto_provider();
    let (previous, this) = (Version::previous(), Version::this());
    let installation = Installation::start_bare().await;
    previous.cli(&installation, &["streams", "apply"]).await;
    let outbound = Outbound::on(installation, &[100], None).await;
    let mut senders = Senders::new(&outbound, &previous, &this);
    // Versions up to 81bee835cf70 have no compact entries.
    let is_whole = described(&outbound).await == crate::harness::ledger::DESCRIBED_BEFORE;

    // On the ledger of a version without compact entries both write whole results.
    let mut ids = Vec::new();
    for (place, id) in [(PREVIOUS, "by-previous"), (THIS, "by-this")] {
        senders.give_lane_to(place).await;
        send(&outbound, id).await;
        outbound.result(id).await;
        assert!(!is_whole || decided(&outbound, 0, id).await.is_whole(), "{id}");
        ids.push(id);
        senders.know(&ids).await;
    }
    for (place, id) in [(THIS, "this-dies"), (PREVIOUS, "previous-dies")] {
        senders.give_lane_to(place).await;
        let entry = senders.die_before_the_result(place, id).await;
        assert!(!is_whole || entry.is_whole(), "{id}");
        ids.push(id);
        senders.know(&ids).await;
    }

    // After the setup of this version, its entries are compact. An older sender that runs anyway knows them.
    this.cli(&outbound.installation, &["streams", "apply"]).await;
    senders.give_lane_to(THIS).await;
    senders.know(&ids).await;
    let compact = compact_entry(&outbound).await;
    senders.give_lane_to(PREVIOUS).await;
    senders.know(&[&compact]).await;
    senders.give_lane_to(THIS).await;
    compact_entry(&outbound).await;
    until_settled(&outbound, 0).await;
    // A sender without compact entries looks the message up.
    assert!(senders.die_before_the_result(THIS, "compact-dies").await.is_compact());
    assert!(!is_whole || outbound.account.calls().lookups > 0);
    ids.extend([compact.as_str(), "compact-dies"]);
    senders.know(&ids).await;

    // Back: the streams first. Without compact entries both write whole results again. Both know all entries.
    previous.change_streams_back(&outbound.installation).await;
    senders.give_lane_to(THIS).await;
    senders.know(&ids).await;
    if described(&outbound).await == crate::harness::ledger::DESCRIBED_BEFORE {
        within(PART_LIMIT, "this version writes whole results", || async {
            let id = format!("whole-{:x}", fastrand::u64(..));
            send(&outbound, &id).await;
            decided(&outbound, 0, &id).await.is_whole().then_some(())
        })
        .await;
    }
    senders.give_lane_to(PREVIOUS).await;
    senders.know(&ids).await;

    // One message for each command.
    let mut received: Vec<_> = outbound.account.received().into_iter().map(|one| one.message_id).collect();
    let count = received.len();
    received.sort();
    received.dedup();
    assert_eq!(received.len(), count, "sent twice");
}

/// Sends until an entry is compact: a sender reads the ledger's description a moment after its start.
async fn compact_entry(outbound: &Outbound) -> String {
    within(PART_LIMIT, "this version writes compact entries", || async {
        let id = format!("compact-{:x}", fastrand::u64(..));
        send(outbound, &id).await;
        decided(outbound, 0, &id).await.is_compact().then_some(id)
    })
    .await
}

async fn described(outbound: &Outbound) -> String {
    let client = async_nats::connect(outbound.installation.nats.url()).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream(SENDS_BUCKET.stream).await.unwrap();
    stream.cached_info().config.description.clone().unwrap_or_default()
}
