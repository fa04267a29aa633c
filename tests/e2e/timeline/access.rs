//! A timeline that asks for tokens, in a locked-down installation: what each role sees, and what a removed token ends.

use std::time::Duration;

use bus::streams::COMMANDS;
use bus::{Headers, Priority, Subject, headers, read};
use prost::Message as _;
use proto::v1::{OutboundText, SendCommand, send_command};
use reqwest::header::{AUTHORIZATION, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::lives::CUSTOMER;
use crate::harness::eventually;
use crate::harness::secured::Secured;
use crate::harness::{Program, secured_channel};

/// What only the customer should read.
pub(super) const TEXT: &str = "your secret code is 4711";
/// The user who may unmask, besides the viewer and the operator of `imchannel secrets generate`.
pub(super) const SUPERVISOR: &str = "token-of-the-supervisor-0123456789";

/// A timeline with a stored command, and its tokens.
pub(super) struct Office {
    secured: Secured,
    program: Program,
    pub(super) url: String,
    /// The file of the tokens, and the token of its viewer.
    tokens: String,
    pub(super) viewer: String,
    client: Client,
    _store: TempDir,
}

pub(super) async fn office() -> Office {
    // This test may be the only one of its process.
    service::process::install_crypto_provider();
    let secured = Secured::start().await;
    secured.cli("provisioner", &["streams", "apply"]).await;
    let tokens = secured.secret_file("timeline.tokens");
    let lines = std::fs::read_to_string(&tokens).unwrap() + &format!("\nunmask supervisor {SUPERVISOR}\n");
    std::fs::write(&tokens, &lines).unwrap();
    let viewer = lines.lines().find_map(|line| line.strip_prefix("viewer viewer ")).unwrap().to_owned();
    let operator = secured.bus("imchannel-operator", "operator").await;
    let subject = format!("imchannel.command.send.{}", secured_channel::CHANNEL);
    let command = SendCommand {
        content: Some(send_command::Content::Text(OutboundText {
            body: TEXT.to_owned(),
            preview_url: false,
        })),
        recipient: CUSTOMER.to_owned(),
        ..secured_channel::command("order-17")
    };
    let of_command = || Headers::new().with(headers::CONTENT_TYPE, "application/x-protobuf");
    let deadline = Instant::now() + Duration::from_secs(10);
    let subject = Subject::parse(&subject).unwrap();
    assert!(matches!(subject, Subject::Command(Priority::Interactive, _)));
    operator.store(&subject, of_command, &command.encode_to_vec().into(), deadline).await.unwrap();
    assert_eq!(read::last_sequence(&operator, &COMMANDS).await.unwrap(), 1);
    let store = tempfile::tempdir().unwrap();
    let mut program = secured.program(
        "timeline",
        &[
            ("IMCHANNEL_TIMELINE_DIR", store.path().to_str().unwrap()),
            ("IMCHANNEL_TIMELINE_LISTEN", "127.0.0.1:0"),
            ("IMCHANNEL_TIMELINE_ACCESS", "token"),
            ("IMCHANNEL_TIMELINE_TOKENS_FILE", &tokens),
        ],
    );
    let url = format!("http://{}", program.address_after("answers on").await);
    let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
    Office { secured, program, url, tokens, viewer, client, _store: store }
}

impl Office {
    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url)).header("accept", "text/html")
    }

    pub(super) async fn get_as(&self, token: &str, path: &str) -> Response {
        self.get(path).header(AUTHORIZATION, format!("Bearer {token}")).send().await.unwrap()
    }

    async fn unmask_as(&self, token: &str) -> Response {
        let request = self.client.post(format!("{}/v1/unmask", self.url)).header("sec-fetch-site", "none");
        let body = json!({"id": "order-17", "reason": "ticket 4711"}).to_string();
        request.header(AUTHORIZATION, format!("Bearer {token}")).body(body).send().await.unwrap()
    }

    /// Posts the form of signing in as its page does.
    async fn sign_in(&self, token: &str) -> Response {
        let form = self.client.post(format!("{}/sign-in", self.url)).header(ORIGIN, &self.url);
        form.body(format!("token={token}&next=/messages")).send().await.unwrap()
    }
}

#[tokio::test]
async fn a_timeline_that_asks_for_tokens_shows_each_role_what_it_may_see() {
    let mut office = office().await;
    assert_eq!(office.get("/v1/messages").send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let life = eventually("the command is read", || async {
        let answer = office.get_as(&office.viewer, "/v1/timeline/order-17").await;
        (answer.status() == StatusCode::OK).then_some(answer)
    })
    .await;
    let life = life.text().await.unwrap();
    assert!(!life.contains(CUSTOMER) && !life.contains(TEXT), "{life}");
    assert_eq!(office.unmask_as(&office.viewer).await.status(), StatusCode::FORBIDDEN);
    // The NATS user of the timeline may read the message.
    let unmasked: Value =
        serde_json::from_slice(&office.unmask_as(SUPERVISOR).await.bytes().await.unwrap()).unwrap();
    let message = &unmasked["messages"][0];
    assert_eq!(
        (&message["source"], &message["content"]["recipient"]),
        (&"stream".into(), &CUSTOMER.into()),
        "{unmasked}"
    );
    assert_eq!(message["content"]["text"]["body"], TEXT);
    let audit = office.get_as(SUPERVISOR, "/v1/audit").await.bytes().await.unwrap();
    let audit: Value = serde_json::from_slice(&audit).unwrap();
    let entry = &audit["entries"][0];
    assert_eq!(
        (&entry["user"], &entry["reason"], &entry["details"]),
        (&"supervisor".into(), &"ticket 4711".into(), &"COMMANDS/1".into())
    );
    // A browser.
    let signed_in = office.sign_in(&office.viewer).await;
    assert_eq!(
        (signed_in.status(), &signed_in.headers()[LOCATION]),
        (StatusCode::SEE_OTHER, &"/messages".parse().unwrap())
    );
    let cookie = signed_in.headers()[SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let page = async || office.get("/messages").header(COOKIE, &cookie).send().await.unwrap();
    assert!(page().await.text().await.unwrap().contains("order-17"));
    // Its token is removed.
    let mut live = office.get("/v1/live").header(COOKIE, &cookie).send().await.unwrap();
    assert!(live.chunk().await.unwrap().is_some());
    let lines = std::fs::read_to_string(&office.tokens).unwrap();
    std::fs::write(&office.tokens, lines.replace(&office.viewer, "another-token-0123456789")).unwrap();
    let ended = async { while live.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the stream ends with its token");
    assert_eq!(page().await.status(), StatusCode::UNAUTHORIZED);
    let refusals = office.secured.refusals();
    assert_eq!(refusals, Vec::<String>::new());
    assert!(office.program.stop().await);
    let log = office.program.rest().await;
    for personal in [CUSTOMER, TEXT, SUPERVISOR, &office.viewer, "supervisor"] {
        assert!(!log.contains(personal), "{log}");
    }
}
