//! The AICC back end in a separate account: messages pass between the accounts as if there were only one, on one server
//! and on a cluster, and the examples work as its user.

use std::path::Path;
use std::process::Stdio;

use bsp::ChannelId;
use bus::{Bus, BusOptions, Headers, Priority, Subject, headers};
use prost::Message;
use proto::v1::{OutboundText, SendCommand, SendOutcome, SendResult, send_command};
use tokio::process::Command;

use crate::harness::secured::{Secured, free_address, root};
use crate::harness::secured_channel::{CHANNEL, channels_file, command, read_events, simulated_infobip};
use crate::harness::{Program, TIMEOUT, bus_options, eventually};

/// An installation that sends: channels, a sender, and a simulated account.
struct Sending {
    secured: Secured,
    _programs: Vec<Program>,
}

impl Sending {
    async fn start(servers: usize) -> Self {
        service::process::install_crypto_provider();
        let secured = Secured::start_servers(servers).await;
        let account = free_address();
        let path = secured.folder().join("channels.toml");
        std::fs::write(&path, channels_file(&format!("https://{account}"))).unwrap();
        let channels = path.to_str().unwrap();
        let provisioner = secured.bus("imchannel-provisioner", "provisioner").await;
        eventually("JetStream answers", || async { bus::inspect::account(&provisioner).await.ok() }).await;
        let replicas = servers.to_string();
        secured.cli("provisioner", &["setup", "--channels", channels, "--replicas", &replicas]).await;
        let mut ingress = secured.program("ingress", &[("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0")]);
        let gateway = format!("http://{}", ingress.address_after("accepts webhooks on").await);
        let normalizer = secured.program("normalizer", &[]);
        let authority = secured.secret_file("simulate/ca.pem");
        let sender = secured.program(
            "sender",
            &[
                ("IMCHANNEL_MEDIA_PUBLIC_URL", "http://127.0.0.1:1"),
                ("IMCHANNEL_INFOBIP_CA_FILE", &authority),
            ],
        );
        let infobip = simulated_infobip(&secured, &account, channels, &gateway).await;
        Self { secured, _programs: vec![ingress, normalizer, sender, infobip] }
    }

    /// Publishes a command under a new id. Returns whether COMMANDS already had a message with that id.
    async fn publish(&self, bus: &Bus, command: &SendCommand, publish_id: &str, more: bool) -> bool {
        let subject = Subject::Command(Priority::Interactive, ChannelId::parse(CHANNEL).unwrap());
        let headers = || {
            let headers = Headers::new().with(headers::MESSAGE_ID, publish_id);
            if more { headers.with(headers::REQUEST_INFO, "{\"acc\":\"AICC\",\"rtt\":1}") } else { headers }
        };
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let payload = command.encode_to_vec().into();
        bus.store(&subject, headers, &payload, deadline).await.unwrap().is_duplicate()
    }
}

async fn one_command_through_both_accounts_is_sent_once(servers: usize) {
    let sending = Sending::start(servers).await;
    let secured = &sending.secured;
    let operator = secured.bus("imchannel-operator", "operator").await;
    let text = OutboundText { body: "Hello".to_owned(), ..Default::default() };
    let sent = SendCommand { content: Some(send_command::Content::Text(text)), ..command("c-1") };
    let mut published = 0;
    for server in std::iter::once(&secured.nats).chain(&secured.others) {
        let options = BusOptions { nkey: Some(secured.seed("aicc")), ..bus_options("aicc", server.url()) };
        let aicc = Bus::connect_now(&options).await.unwrap();
        published += 1;
        let id = format!("aicc-{published}");
        assert!(!sending.publish(&aicc, &sent, &id, false).await);
        assert!(sending.publish(&aicc, &sent, &id, false).await, "the stream knows the id");
    }
    assert!(!sending.publish(&operator, &sent, "operator-1", false).await);
    assert!(!sending.publish(&operator, &sent, "operator-2", true).await);
    let aicc = secured.bus("aicc", "aicc").await;
    let events = read_events(&aicc);
    let results = || {
        let events = events.lock().unwrap();
        let results = events.iter().filter(|(kind, _)| kind == "imchannel.v1.SendResult");
        results.map(|(_, payload)| SendResult::decode(&payload[..]).unwrap()).collect::<Vec<_>>()
    };
    let lane = bus::Priority::Interactive;
    eventually("every one of them is settled", || async {
        let waiting = bus::command_consumers::lag(&operator, lane, &ChannelId::parse(CHANNEL).unwrap())
            .await
            .ok()??;
        (waiting.num_pending + waiting.num_ack_pending == 0
            && waiting.delivered_seq >= published + 2
            && !results().is_empty())
        .then_some(())
    })
    .await;
    // One more follows them, and its result follows theirs.
    let last = SendCommand { command_id: "c-2".to_owned(), ..sent.clone() };
    assert!(!sending.publish(&aicc, &last, "aicc-last", false).await);
    eventually("the last one has a result", || async {
        results().iter().any(|result| result.command_id == "c-2").then_some(())
    })
    .await;
    let of_the_first: Vec<_> = results().into_iter().filter(|result| result.command_id == "c-1").collect();
    let outcomes: Vec<_> = of_the_first.iter().map(SendResult::outcome).collect();
    assert_eq!(outcomes, [SendOutcome::Accepted]);
    let letters = secured.cli("operator", &["--json", "deadletter", "list"]).await;
    assert!(!letters.contains("reused_command_id"), "{letters}");
    assert_eq!(secured.refusals(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_the_same_in_both_accounts() {
    Box::pin(one_command_through_both_accounts_is_sent_once(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_the_same_in_both_accounts_of_a_cluster() {
    Box::pin(one_command_through_both_accounts_is_sent_once(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_examples_work_as_the_back_end_s_user() {
    let sending = Sending::start(1).await;
    let (url, seed) = (sending.secured.nats.url(), sending.secured.secret_file("nats/aicc.nk"));
    let common = ["--nats-url", &url, "--nkey-file", &seed];
    let send = ["--channel", CHANNEL, "--to", "4915112345", "--text", "Hello", "--command-id", "py-1"];
    let text = run_python("send_message.py", &[&common[..], &send[..]].concat()).await;
    for line in ["result py-1 is ACCEPTED", "report imc-py-1 is READ"] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let other = ["send", "--channel", CHANNEL, "--to", "4915112345", "--text", "x"];
    sending.secured.cli("operator", &other).await;
    run_python("read_events.py", &[&common[..], &["--count", "1"]].concat()).await;
    assert_eq!(sending.secured.refusals(), Vec::<String>::new());
}

async fn run_python(example: &str, args: &[&str]) -> String {
    let python = root().join("target/python/bin/python");
    assert!(Path::new(&python).exists(), "the Python environment is missing: run `./dev test`");
    let mut command = Command::new(python);
    command.arg(root().join("examples/python").join(example)).args(args);
    let output = command.stderr(Stdio::inherit()).kill_on_drop(true).output();
    let output = tokio::time::timeout(2 * TIMEOUT, output).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}
