//! An ingress that starts while NATS is away: the registry that was read last decides who may post, the webhooks of BSPs that do
//! not retry go to the spool, and when NATS is back every event comes out once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{CHANNELS, Installation, Program, Webhook, eventually, exclusive, within};

/// Webhooks of each BSP that are posted while NATS is away.
const EACH: usize = 20;

/// A channel of Twilio that verifies signatures, beside the example channels.
const SIGNED: &str = r#"
[[channel]]
id = "signed"
bsp = "twilio"
tenant = "t"
webhook = [{ user = "twilio-user", password = "twilio-secret" }]
signature = { auth_tokens = ["file:token"], public_url = "https://gateway.example" }
"#;

/// An installation with a folder for the spool and one for secrets.
struct Spooling {
    installation: Installation,
    spool: PathBuf,
    secrets: PathBuf,
}

impl Spooling {
    async fn start() -> Self {
        let installation = Installation::start().await;
        installation.apply_channels(SIGNED).await;
        let [spool, secrets] = ["spool", "secrets"].map(|name| installation.folder().join(name));
        std::fs::create_dir(&secrets).unwrap();
        std::fs::write(secrets.join("token"), "12345\n").unwrap();
        Self { installation, spool, secrets }
    }

    fn registry(&self) -> PathBuf {
        self.spool.join("registry/registry.json")
    }

    async fn until_registry_is_stored(&self) {
        eventually("the registry is stored", || async {
            let json: Value = serde_json::from_slice(&std::fs::read(self.registry()).ok()?).ok()?;
            (json["channels"].as_array()?.len() == 5).then_some(())
        })
        .await;
    }

    /// Starts ingress as a process, whether or not NATS runs.
    async fn ingress(&self) -> Ingress {
        self.ingress_with_size("1GiB").await
    }

    /// The same with another limit of the spool.
    async fn ingress_with_size(&self, max_size: &str) -> Ingress {
        let variables = [
            ("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0"),
            ("IMCHANNEL_SPOOL_DIR", self.spool.to_str().unwrap()),
            ("IMCHANNEL_SPOOL_MAX_SIZE", max_size),
            ("IMCHANNEL_SECRETS_DIR", self.secrets.to_str().unwrap()),
        ];
        let mut program = Program::start("imchannel-ingress", &self.installation, &variables);
        let admin = program.address_after("probes and metrics on ").await;
        let address = program.address_after("accepts webhooks on ").await.parse().unwrap();
        Ingress { program, admin, address }
    }
}

struct Ingress {
    program: Program,
    admin: String,
    address: SocketAddr,
}

impl Ingress {
    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let response = reqwest::get(format!("http://{}{path}", self.admin)).await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    }

    /// Waits until `/ready` has this status, and returns its JSON.
    async fn until_ready_is(&self, status: u16) -> Value {
        eventually(&format!("/ready is {status}"), || async {
            let (found, text) = self.get("/ready").await?;
            (found == status).then(|| serde_json::from_str(&text).unwrap())
        })
        .await
    }

    async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await.unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    async fn status(&self, webhook: &Webhook) -> u16 {
        webhook.post(self.address).await.status.as_u16()
    }
}

fn koomessage(id: &str) -> Webhook {
    Webhook::koomessage(format!(
        r#"{{"message_id":"{id}","sender":"441134960001","user_number":"441134960000","status":"delivered"}}"#
    ))
}

fn twilio(id: &str) -> Webhook {
    Webhook::twilio(format!(
        "MessageSid={id}&MessageStatus=delivered&From=whatsapp%3A%2B441134960001&To=whatsapp%3A%2B441134960000"
    ))
}

fn gupshup(id: &str) -> Webhook {
    Webhook::gupshup(format!(
        r#"{{"app":"Demo","timestamp":1780000000000,"version":2,"type":"message-event","payload":{{"id":"{id}","type":"delivered","destination":"441134960000","payload":{{"ts":1780000000}}}}}}"#
    ))
}

fn infobip(id: &str) -> Webhook {
    Webhook::infobip(format!(
        r#"{{"results":[{{"messageId":"{id}","to":"441134960000","status":{{"groupName":"DELIVERED"}}}}]}}"#
    ))
}

/// A webhook for the channel that verifies signatures: the URL and the body are those of the signature.
fn signed(signature: &str) -> Webhook {
    let body = "MessageSid=SM1&MessageStatus=read&To=whatsapp%3A%2B49151";
    let webhook = Webhook::twilio(body).to("/social/on/whatsapp/twilio/report/signed?x=1");
    webhook.header("x-twilio-signature", signature)
}

/// base64(HMAC-SHA1("12345", "https://gateway.example" + path + "MessageSidSM1MessageStatusreadTowhatsapp:+49151"))
const SIGNATURE: &str = "9hwQ+C4/L/WOSGusUKl7Br7KcTU=";

/// What is answered before anything is stored, as with NATS.
async fn strangers_are_refused(ingress: &Ingress) {
    for (webhook, status) in [
        (koomessage("k").to("/social/on/whatsapp/koomessage/report/unknown"), 401),
        (koomessage("k").header("authorization", "wrong"), 401),
        (gupshup("g").without("authorization"), 401),
        (signed("AAAA"), 401),
        (koomessage("k").to("/social/on/whatsapp/pigeon/report/koomessage-demo"), 404),
    ] {
        assert_eq!(ingress.status(&webhook).await, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_spooled_and_every_event_comes_out_once() {
    let _alone = exclusive().await;
    let mut spooling = Spooling::start().await;
    let mut before = spooling.ingress().await;
    spooling.until_registry_is_stored().await;
    assert!(before.program.stop().await);
    spooling.installation.nats.stop().await;

    let ingress = spooling.ingress().await;
    let ready = ingress.until_ready_is(200).await;
    assert_eq!(ready["spooling"], true, "{ready}");
    assert!(ready["conditions"]["nats"].as_str().unwrap().starts_with("not connected"), "{ready}");
    strangers_are_refused(&ingress).await;
    let began = tokio::time::Instant::now();
    for number in 0..EACH {
        assert_eq!(ingress.status(&koomessage(&format!("koo-{number}"))).await, 200);
        assert_eq!(ingress.status(&twilio(&format!("SM-{number}"))).await, 200);
        assert_eq!(ingress.status(&gupshup(&format!("gup-{number}"))).await, 200);
    }
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "without waiting for deadlines: {:?}",
        began.elapsed()
    );
    assert_eq!(ingress.status(&signed(SIGNATURE)).await, 200, "the key is found without NATS");
    assert_eq!(ingress.status(&infobip("inf-1")).await, 503, "Infobip retries for hours");
    let spooled = (3 * EACH + 1) as f64;
    assert_eq!(ingress.metric("imchannel_ingress_spool_entries").await, spooled);

    spooling.installation.nats.start_again().await.unwrap();
    let normalizer = spooling.installation.normalizer().await;
    eventually("the spool is drained", || async {
        (ingress.metric("imchannel_ingress_spool_entries").await == 0.0).then_some(())
    })
    .await;
    assert_eq!(ingress.status(&infobip("inf-1")).await, 200);
    let ready = ingress.until_ready_is(200).await;
    assert_eq!(ready["spooling"], false, "{ready}");
    spooling.installation.until_processed().await;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for report in spooling.installation.reports().await {
        *counts.entry(report.message_id).or_default() += 1;
    }
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert_eq!(counts.len(), 3 * EACH + 2, "{counts:?}");
    normalizer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_registry_decides_until_the_live_one_is_read() {
    let _alone = exclusive().await;
    let mut spooling = Spooling::start().await;
    let mut before = spooling.ingress().await;
    spooling.until_registry_is_stored().await;
    assert!(before.program.stop().await);
    let metadata = std::fs::metadata(spooling.registry()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(spooling.registry()).unwrap();
    for secret in ["-secret", "infobip-previous", "12345\"", "xxxx.api.infobip.com"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }

    spooling.installation.nats.stop().await;
    let ingress = spooling.ingress().await;
    eventually("the registry is used", || async {
        (ingress.status(&koomessage("k").header("authorization", "wrong")).await == 401).then_some(())
    })
    .await;
    strangers_are_refused(&ingress).await;
    assert_eq!(ingress.status(&infobip("i")).await, 503);
    eventually("its age is counted", || async {
        (ingress.metric("imchannel_ingress_registry_age_seconds").await >= 1.0).then_some(())
    })
    .await;

    // The live registry replaces it, with what has changed since.
    spooling.installation.nats.start_again().await.unwrap();
    let others = CHANNELS.replace("koomessage-secret", "changed-secret");
    eventually("the channels are changed", || async {
        let found = bus::registry::read(&spooling.installation.bus, "koomessage-demo").await.ok()??;
        found.record.ok()
    })
    .await;
    spooling.installation.apply_channels(&others).await;
    within(Duration::from_secs(10), "the change is used", || async {
        let status = ingress.status(&koomessage("k").header("authorization", "changed-secret")).await;
        (status == 200).then_some(())
    })
    .await;
    assert_eq!(ingress.status(&koomessage("k")).await, 401, "the last registry has this password");
    eventually("it is current", || async {
        (ingress.metric("imchannel_ingress_registry_age_seconds").await == 0.0).then_some(())
    })
    .await;
    eventually("the change is stored", || async {
        (std::fs::read_to_string(spooling.registry()).unwrap() != text).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_in_the_spool_ingress_is_unready_while_nats_is_away() {
    let mut spooling = Spooling::start().await;
    let ingress = spooling.ingress_with_size("2MiB").await;
    let ready = ingress.until_ready_is(200).await;
    assert_eq!(ready["spooling"], false, "{ready}");
    spooling.installation.nats.stop().await;
    eventually("it is ready because of its spool", || async {
        let (status, text) = ingress.get("/ready").await?;
        let ready: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(status, 200, "{ready}");
        (ready["spooling"] == true).then_some(())
    })
    .await;
    // After it, a webhook of the largest size does not fit.
    assert_eq!(ingress.status(&koomessage(&"k".repeat(950_000))).await, 200);
    let ready = ingress.until_ready_is(503).await;
    assert_eq!(ready["spooling"], false, "{ready}");
    spooling.installation.nats.start_again().await.unwrap();
    let ready = ingress.until_ready_is(200).await;
    assert_eq!(ready["conditions"]["nats"], "ok", "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_cannot_be_read_is_none() {
    let mut spooling = Spooling::start().await;
    std::fs::create_dir_all(spooling.registry().parent().unwrap()).unwrap();
    std::fs::write(spooling.registry(), r#"{"version":1,"channels":[{"versi"#).unwrap();
    spooling.installation.nats.stop().await;
    let mut ingress = spooling.ingress().await;
    let line = ingress.program.line_with("cannot read").await;
    assert!(line.contains("registry.json") && line.contains("not a registry of imchannel"), "{line}");
    assert_eq!(ingress.status(&koomessage("k")).await, 503, "no one is known, so no one is refused");
    let ready = ingress.until_ready_is(503).await;
    assert_eq!(ready["conditions"]["channels"], "not read yet", "{ready}");
    spooling.installation.nats.start_again().await.unwrap();
    ingress.until_ready_is(200).await;
    assert_eq!(ingress.status(&koomessage("k")).await, 200);
    spooling.until_registry_is_stored().await;
}
