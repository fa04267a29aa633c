//! The programs from the point of view of people and scripts: exit codes, all errors at the same time, output for
//! people and for programs.

use serde_json::Value;

use crate::harness::{Installation, Program, Webhook, eventually, run_cli, run_cli_with};

fn lines(output: &std::process::Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

fn code(output: &std::process::Output) -> i32 {
    output.status.code().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_applied_checked_and_repaired() {
    let installation = Installation::start_bare().await;
    let check = run_cli(&installation, &["--json", "streams", "check"]).await;
    assert_eq!(code(&check), 3);
    assert_eq!(lines(&check).len(), 8, "four streams and four buckets are missing");
    assert_eq!(code(&run_cli(&installation, &["streams", "apply"]).await), 0);
    assert_eq!(code(&run_cli(&installation, &["streams", "apply"]).await), 0, "applying twice is safe");
    assert_eq!(code(&run_cli(&installation, &["streams", "check"]).await), 0);
    // A missing object is found and repaired.
    installation.bus.delete_durable(&bus::streams::NORMALIZER).await.unwrap();
    let check = run_cli(&installation, &["--json", "streams", "check"]).await;
    assert_eq!(code(&check), 3);
    assert_eq!(lines(&check)[0]["object"], "durable normalizer");
    assert_eq!(code(&run_cli(&installation, &["streams", "apply"]).await), 0);
    assert_eq!(code(&run_cli(&installation, &["streams", "check"]).await), 0);
    let other =
        ["--json", "streams", "check", "--webhooks-max-size", "1000000B", "--duplicate-window", "100ms"];
    let check = run_cli(&installation, &other).await;
    assert_eq!(code(&check), 3);
    let settings: Vec<_> = lines(&check).iter().map(|line| line["setting"].clone()).collect();
    assert!(
        settings.contains(&"max_bytes".into()) && settings.contains(&"duplicate_window".into()),
        "{settings:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_are_applied_listed_shown_and_removed() {
    let installation = Installation::start_bare().await;
    assert_eq!(code(&run_cli(&installation, &["streams", "apply"]).await), 0);
    let file = installation.folder().join("channels.toml");
    std::fs::write(&file, crate::harness::CHANNELS).unwrap();
    let file = file.to_str().unwrap();

    let dry = run_cli(&installation, &["--json", "channel", "apply", "--dry-run", "-f", file]).await;
    assert_eq!(code(&dry), 0);
    assert_eq!(lines(&dry).len(), 4);
    assert_eq!(lines(&run_cli(&installation, &["--json", "channel", "list"]).await).len(), 0);
    let applied = run_cli(&installation, &["--json", "channel", "apply", "-f", file]).await;
    assert!(lines(&applied).iter().all(|line| line["action"] == "created"), "{applied:?}");
    let again = run_cli(&installation, &["--json", "channel", "apply", "-f", file]).await;
    assert!(lines(&again).iter().all(|line| line["action"] == "unchanged"), "{again:?}");

    let list = lines(&run_cli(&installation, &["--json", "channel", "list"]).await);
    assert_eq!(list.len(), 4);
    let table = run_cli(&installation, &["channel", "list"]).await;
    assert!(String::from_utf8_lossy(&table.stdout).contains("twilio-demo"));
    let show = run_cli(&installation, &["--json", "channel", "show", "202105102694809992"]).await;
    let text = String::from_utf8(show.stdout.clone()).unwrap();
    assert_eq!(lines(&show)[0]["credentials"].as_array().unwrap().len(), 2);
    assert!(!text.contains("infobip-secret"), "{text}");

    assert_eq!(code(&run_cli(&installation, &["channel", "show", "no-such"]).await), 1);
    assert_eq!(code(&run_cli(&installation, &["channel", "remove", "no-such", "--yes"]).await), 1);
    assert_eq!(
        code(&run_cli(&installation, &["channel", "remove", "twilio-demo", "gupshup-demo", "--yes"]).await),
        0
    );
    let kept = "[[channel]]\nid = \"koomessage-demo\"\nbsp = \"koomessage\"\ntenant = \"t2\"\nwebhook = [{ password = \"p\" }]\n";
    std::fs::write(file, kept).unwrap();
    let pruned =
        lines(&run_cli(&installation, &["--json", "channel", "apply", "--prune", "--yes", "-f", file]).await);
    let actions: Vec<_> = pruned.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["changed", "removed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_shows_which_channels_spool() {
    let installation = Installation::start_bare().await;
    assert_eq!(code(&run_cli(&installation, &["streams", "apply"]).await), 0);
    let file = installation.folder().join("channels.toml");
    let of = |id: &str, bsp: &str, rest: &str| {
        let login = if bsp == "twilio" { "user = \"u\", password" } else { "password" };
        format!(
            "[[channel]]\nid = \"{id}\"\nbsp = \"{bsp}\"\ntenant = \"t\"\nwebhook = [{{ {login} = \"p\" }}]\n{rest}\n"
        )
    };
    let infobip = "[channel.infobip]\nbase_url = \"https://x.api.infobip.com\"\napi_key = \"env:INFOBIP_KEY\"\nscenario_key = \"s\"";
    let all = [
        of("infobip-plain", "infobip", infobip),
        of("infobip-spooled", "infobip", &format!("spool = true\n{infobip}")),
        of("koomessage-plain", "koomessage", ""),
        of("gupshup-plain", "gupshup", ""),
        of("twilio-plain", "twilio", ""),
        of("twilio-not-spooled", "twilio", "spool = false"),
    ];
    std::fs::write(&file, all.concat()).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(code(&run_cli(&installation, &["channel", "apply", "-f", file]).await), 0);
    let rows = lines(&run_cli(&installation, &["--json", "channel", "list"]).await);
    let table = run_cli(&installation, &["channel", "list"]).await;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    for (id, spools, said) in [
        ("infobip-plain", false, Value::Null),
        ("infobip-spooled", true, true.into()),
        ("koomessage-plain", true, Value::Null),
        ("gupshup-plain", true, Value::Null),
        ("twilio-plain", true, Value::Null),
        ("twilio-not-spooled", false, false.into()),
    ] {
        let row = rows.iter().find(|row| row["id"] == id).unwrap();
        assert_eq!(row["spools"], spools, "{id}");
        let line = table.lines().find(|line| line.contains(id)).unwrap();
        assert_eq!(line.contains("yes"), spools, "{line}");
        let shown = &lines(&run_cli(&installation, &["--json", "channel", "show", id]).await)[0];
        assert_eq!((&shown["spool"], &shown["spools"]), (&said, &Value::Bool(spools)), "{id}");
    }
    // A file without the setting takes it away again.
    std::fs::write(file, all.concat().replace("spool = true", "").replace("spool = false", "")).unwrap();
    let applied = lines(&run_cli(&installation, &["--json", "channel", "apply", "-f", file]).await);
    let changed = applied.iter().filter(|line| line["action"] == "changed").count();
    assert_eq!(changed, 2, "{applied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_channels_file_is_answered_with_every_fault_and_stores_nothing() {
    let installation = Installation::start_bare().await;
    assert_eq!(code(&run_cli(&installation, &["streams", "apply"]).await), 0);
    let file = installation.folder().join("bad.toml");
    let bad = r#"[[channel]]
id = "a"
bsp = "infobip"
tenant = "t"
webhook = [{ password = "p" }]
color = "red"
[channel.infobip]
base_url = "https://evil.example"
api_key = "in clear"
scenario_key = "s"
[[channel]]
id = "a"
bsp = "koomessage"
tenant = "t"
webhook = [{ password = "p" }]
"#;
    std::fs::write(&file, bad).unwrap();
    let output = run_cli(&installation, &["--json", "channel", "apply", "-f", file.to_str().unwrap()]).await;
    assert_eq!(code(&output), 2);
    let at: Vec<_> = lines(&output).iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(at, [6, 8, 9, 11]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("in clear"));
    let people = run_cli(&installation, &["channel", "apply", "-f", file.to_str().unwrap()]).await;
    assert!(String::from_utf8_lossy(&people.stdout).contains("bad.toml:8: "));
    assert_eq!(lines(&run_cli(&installation, &["--json", "channel", "list"]).await).len(), 0);
    assert_eq!(code(&run_cli(&installation, &["channel", "apply", "-f", "/nowhere.toml"]).await), 2);
}

/// A misspelled or old setting would be ignored without a word.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_setting_stops_every_program_and_names_the_nearest_one() {
    let variables = [
        ("IMCHANNEL_GRACE_MS", "10000"),
        ("IMCHANNEL_IDLE_TIMEOUT_MS", "75000"),
        ("IMCHANNEL_DRAIN_DELAY", "5000"),
        // Of others: of compose, of Kubernetes, and a secret that a channel names.
        ("IMCHANNEL_SIMULATE_RATE", "20"),
        ("IMCHANNEL_NATS_SERVICE_HOST", "192.0.2.1"),
        ("IMCHANNEL_NATS_PORT_4222_TCP_ADDR", "192.0.2.1"),
        ("IMCHANNEL_SECRET_X", "x"),
    ];
    let unknown = [
        "unknown setting IMCHANNEL_GRACE_MS: did you mean IMCHANNEL_SHUTDOWN_GRACE_PERIOD?",
        "unknown setting IMCHANNEL_IDLE_TIMEOUT_MS: did you mean IMCHANNEL_IDLE_TIMEOUT?",
    ];
    let no_unit =
        "--drain-delay (IMCHANNEL_DRAIN_DELAY): '5000' has no unit; write the duration with one, such as";
    let programs: [(&str, &[&str]); 5] = [
        ("imchannel-ingress", &[]),
        ("imchannel-normalizer", &[]),
        ("imchannel-sender", &[]),
        ("imchannel-media", &[]),
        ("imchannel", &["channel", "list"]),
    ];
    for (program, args) in programs {
        let output = run_cli_with("nats://127.0.0.1:1", program, args, &variables).await;
        let text = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(code(&output), 2, "{program}: {text}");
        assert!(unknown.iter().all(|error| text.contains(error)), "{program}: {text}");
        assert_eq!(text.matches("unknown setting").count(), unknown.len(), "{program}: {text}");
        // With every other fault.
        let reads_it = matches!(program, "imchannel-ingress" | "imchannel-media");
        assert_eq!(text.contains(no_unit), reads_it, "{program}: {text}");
    }
    // Without them the command line goes on, and looks for NATS.
    let output = run_cli_with("nats://127.0.0.1:1", "imchannel", &["channel", "list"], &variables[3..]).await;
    assert_eq!(code(&output), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_settings_stop_the_start_with_every_fault_listed() {
    let variables = [
        ("IMCHANNEL_INGRESS_LISTEN", "nowhere"),
        ("IMCHANNEL_LOG_FORMAT", "xml"),
        ("IMCHANNEL_CREDENTIAL_KEY", "short"),
        ("IMCHANNEL_REQUESTS_MAX", "-1"),
    ];
    let output = run_cli_with("nats://127.0.0.1:1", "imchannel-ingress", &[], &variables).await;
    assert_eq!(code(&output), 2);
    let text = String::from_utf8(output.stderr).unwrap();
    for (variable, _) in variables {
        assert!(text.contains(variable), "{variable} is not in {text}");
    }
    let output = run_cli_with("nats://127.0.0.1:1", "imchannel", &["tail", "reports"], &[]).await;
    assert_eq!(code(&output), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot connect to NATS at 127.0.0.1:1"));
    for wrong in [
        &["tail", "everything"][..],
        &["tail", "reports", "--since", "bananas"],
        &["tail", "reports", "--bsp", "x"],
    ] {
        assert_eq!(code(&run_cli_with("nats://127.0.0.1:1", "imchannel", wrong, &[]).await), 2, "{wrong:?}");
    }
    // A port in use: the program exits with the reason.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let variables =
        [("IMCHANNEL_INGRESS_LISTEN", address.as_str()), ("IMCHANNEL_ADMIN_LISTEN", "127.0.0.1:0")];
    let output = run_cli_with("nats://127.0.0.1:1", "imchannel-ingress", &[], &variables).await;
    assert_eq!(code(&output), 1);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(&format!("cannot listen on {address}")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_what_is_asked_for() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    for number in 0..3 {
        let body = format!(
            r#"{{"sender":"1","user_number":"8618700005632","message_id":"k-{number}","status":"read"}}"#
        );
        Webhook::koomessage(body).post(ingress.address).await;
        Webhook::gupshup(format!("not JSON {number}")).post(ingress.address).await;
    }
    installation.until_processed().await;
    let tail = async |args: &[&str]| {
        let output = run_cli(&installation, &[&["--json", "tail"], args].concat()).await;
        assert_eq!(code(&output), 0, "{output:?}");
        lines(&output)
    };
    assert_eq!(tail(&["webhooks", "--no-follow"]).await.len(), 6);
    assert_eq!(tail(&["webhooks", "--no-follow", "--bsp", "gupshup"]).await.len(), 3);
    assert_eq!(tail(&["webhooks", "--no-follow", "--channel", "twilio-demo"]).await.len(), 0);
    assert_eq!(tail(&["reports", "--from-beginning", "--count", "2"]).await.len(), 2);
    assert_eq!(tail(&["reports", "--since", "1h", "--no-follow"]).await.len(), 3);
    assert_eq!(tail(&["messages", "--no-follow"]).await.len(), 0);
    assert_eq!(tail(&["reports", "--since", "0s", "--no-follow"]).await.len(), 0);
    assert_eq!(tail(&["reports", "--from-beginning", "--count", "0"]).await.len(), 0);
    let letters = tail(&["deadletters", "--no-follow"]).await;
    assert_eq!(letters.len(), 3);
    assert_eq!(letters[0]["reason_kind"], "no_json");
    assert!(!letters[0]["body"].to_string().contains("not JSON"), "{}", letters[0]);
    let revealed = tail(&["deadletters", "--no-follow", "--unmask"]).await;
    assert!(revealed.iter().any(|letter| letter["body"] == "not JSON 0"), "{revealed:?}");
    assert_eq!(tail(&["deadletters", "--no-follow", "--bsp", "gupshup"]).await.len(), 3);
    assert_eq!(tail(&["deadletters", "--no-follow", "--bsp", "twilio"]).await.len(), 0);
    let masked = tail(&["reports", "--no-follow"]).await;
    assert_eq!(masked[0]["recipient"], "***");
    let people = run_cli(&installation, &["tail", "reports", "--no-follow"]).await;
    let text = String::from_utf8(people.stdout).unwrap();
    assert!(text.contains("READ message k-0 to ***"), "{text}");
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn up_runs_everything_and_stops_in_order() {
    let folder = tempfile::TempDir::new().unwrap();
    let channels = folder.path().join("channels.toml");
    std::fs::write(&channels, crate::harness::CHANNELS).unwrap();
    let data = folder.path().join("data");
    for round in 0..2 {
        // Ports of 0 are free ones; --json says which.
        let args = [
            "--json",
            "up",
            "--ingress",
            "127.0.0.1:0",
            "--media",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--channels",
            channels.to_str().unwrap(),
            "--data-dir",
            data.to_str().unwrap(),
        ];
        let mut up = Program::start_with_args("imchannel", "", &args, &[]);
        let greeting: Value = serde_json::from_str(&up.line_with("\"ingress\"").await).unwrap();
        let address = greeting["ingress"].as_str().unwrap().parse().unwrap();
        let body = format!(r#"{{"sender":"1","user_number":"2","message_id":"up-{round}","status":"read"}}"#);
        let webhook = Webhook::koomessage(body);
        eventually("the gateway takes a webhook", || async {
            (webhook.try_post(address).await.ok()?.status.as_u16() == 200).then_some(())
        })
        .await;
        // The log is written by a separate thread, so its line may come before or after the event.
        let (mut is_logged, mut event) = (false, None);
        while !is_logged || event.is_none() {
            let line = up.line_with("{").await;
            is_logged |= line.contains(r#""function":"onReport""#);
            if line.contains(r#""status":"REPORT_STATUS_READ""#) {
                event = Some(serde_json::from_str::<Value>(&line).unwrap());
            }
        }
        let event = event.unwrap();
        assert_eq!(event["messageId"], format!("up-{round}"));
        assert_eq!(event["recipient"], "***");
        // A second gateway in the same folder is refused, and does not affect the first one.
        let second = run_cli_with("", "imchannel", &["up", "--data-dir", data.to_str().unwrap()], &[]).await;
        assert_eq!(code(&second), 1);
        assert!(String::from_utf8_lossy(&second.stderr).contains("another `imchannel up`"), "{second:?}");
        assert_eq!(webhook.post(address).await.status.as_u16(), 200);
        assert!(up.stop().await, "up ended badly");
        let nats = greeting["nats_url"].as_str().unwrap().trim_start_matches("nats://").to_owned();
        assert!(tokio::net::TcpStream::connect(nats).await.is_err(), "nats-server was left behind");
    }
    let key = std::fs::metadata(data.join("credential.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_under_another_key_are_not_overwritten_unasked() {
    let installation = Installation::start().await;
    let file = installation.folder().join("channels.toml");
    std::fs::write(&file, crate::harness::CHANNELS).unwrap();
    let file = file.to_str().unwrap();
    let other = [("IMCHANNEL_CREDENTIAL_KEY", "another key of at least 32 characters")];
    let url = installation.nats.url();
    let refused = run_cli_with(&url, "imchannel", &["channel", "apply", "-f", file], &other).await;
    assert_eq!(code(&refused), 2);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--rekey"), "{refused:?}");
    let forced = run_cli_with(&url, "imchannel", &["channel", "apply", "--rekey", "-f", file], &other).await;
    assert_eq!(code(&forced), 0);
    // A service with the old key reports the error.
    let mut ingress =
        Program::start("imchannel-ingress", &installation, &[("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0")]);
    ingress.line_with("was stored under another IMCHANNEL_CREDENTIAL_KEY").await;
    assert!(ingress.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_no_channel_can_be_seen_and_removed() {
    let installation = Installation::start().await;
    let record = bus::registry::list(&installation.bus).await.unwrap().remove(0).record;
    let odd =
        channel::Record { id: "odd".to_owned(), version: 99, bsp: "pigeon".to_owned(), ..record.unwrap() };
    bus::registry::put(&installation.bus, &odd).await.unwrap();
    assert_eq!(lines(&run_cli(&installation, &["--json", "channel", "list"]).await).len(), 5);
    assert_eq!(code(&run_cli(&installation, &["channel", "remove", "odd", "--yes"]).await), 0);
    assert_eq!(lines(&run_cli(&installation, &["--json", "channel", "list"]).await).len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_tail_shows_what_comes_and_nothing_from_before() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let report =
        |id: String| format!(r#"{{"sender":"1","user_number":"2","message_id":"{id}","status":"read"}}"#);
    Webhook::koomessage(report("before".to_owned())).post(ingress.address).await;
    installation.until_processed().await;
    let args = ["--json", "tail", "reports", "--count", "1"];
    let mut tail = Program::start_with_args("imchannel", &installation.nats.url(), &args, &[]);
    let posting = async {
        for number in 0.. {
            Webhook::koomessage(report(format!("after-{number}"))).post(ingress.address).await;
        }
    };
    tokio::select! {
        () = posting => {}
        line = tail.line_with("messageId") => assert!(line.contains("after-"), "{line}"),
    }
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn up_never_shows_the_password_of_another_installation() {
    let installation = Installation::start().await;
    let data = installation.folder().join("data");
    let url = format!("nats://operator:top-secret@127.0.0.1:{}", installation.nats.port());
    let args = [
        "--json",
        "up",
        "--ingress",
        "127.0.0.1:0",
        "--media",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--data-dir",
        data.to_str().unwrap(),
    ];
    let mut up = Program::start_with_args("imchannel", &url, &args, &[("IMCHANNEL_LOG_LEVEL", "debug")]);
    let greeting = up.line_with("\"ingress\"").await;
    assert!(up.stop().await);
    let shown = [greeting, up.rest().await].concat();
    assert!(!shown.contains("top-secret"), "{shown}");
    assert!(shown.contains("\"nats_url\":null"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_whether_the_process_beside_it_is_ready() {
    let installation = Installation::start().await;
    let mut normalizer = Program::start("imchannel-normalizer", &installation, &[]);
    let admin = normalizer.address_after("probes and metrics on").await;
    let ask = async |args: &[&str]| {
        let variables = [("IMCHANNEL_ADMIN_LISTEN", admin.as_str())];
        code(&run_cli_with(&installation.nats.url(), "imchannel-normalizer", args, &variables).await)
    };
    eventually("it is ready", || async { (ask(&["health"]).await == 0).then_some(()) }).await;
    installation.nats.suspend().await;
    eventually("it is not ready without NATS", || async { (ask(&["health"]).await == 1).then_some(()) })
        .await;
    assert_eq!(ask(&["health", "--live"]).await, 0);
    installation.nats.resume().await;
    normalizer.kill().await;
    assert_eq!(ask(&["health", "--live"]).await, 1);
}

#[tokio::test]
async fn example_secrets_stop_the_start_of_what_the_world_can_reach() {
    let example = crate::harness::secured::root().join("deploy/compose/example");
    let file = |name: &str| example.join(name).to_string_lossy().into_owned();
    let key = std::fs::read_to_string(file("credential.key")).unwrap();
    let (nkey, password) = (file("nats/normalizer.nk"), file("redis/sender.password"));
    let media = ("IMCHANNEL_MEDIA_PUBLIC_URL", "https://media.example");
    for (program, variables) in [
        ("imchannel-ingress", vec![("IMCHANNEL_CREDENTIAL_KEY", key.trim())]),
        ("imchannel-normalizer", vec![("IMCHANNEL_NATS_NKEY_FILE", nkey.as_str())]),
        ("imchannel-sender", vec![("IMCHANNEL_REDIS_PASSWORD_FILE", password.as_str()), media]),
    ] {
        let output = run_cli_with("nats://127.0.0.1:1", program, &[], &variables).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(code(&output) == 2 && said.contains("is a published example secret"), "{program}: {said}");
        assert!(!said.contains(key.trim()), "{said}");
    }
}
