//! Checks that a valid channels file becomes records without passwords, and that every fault of an invalid
//! file is reported with its line.
#![allow(clippy::unwrap_used, reason = "a test may")]

use bsp::SettingsContext;
use channel::{CredentialKey, Record, file};

const GOOD: &str = r#"
[[channel]]
id = "202105102694809992"
bsp = "infobip"
tenant = "tenantname"
webhook = [{ password = "current-password" }, { password = "previous-password" }]
[channel.infobip]
base_url = "https://xxxx.api.infobip.com"
api_key = "env:INFOBIP_API_KEY"
scenario_key = "AAAAAAAAAAAABC63903B684B3E46C5DD869"

[[channel]]
id = "koo-1"
bsp = "koomessage"
tenant = "tenantname"
webhook = [{ password = "koo-password" }]
spool = false

[[channel]]
id = "tw-1"
bsp = "twilio"
tenant = "other"
webhook = [{ user = "twilio-user", password = "twilio-password" }]
signature = { auth_tokens = ["env:TWILIO_TOKEN", "file:twilio/next"], public_url = "https://gateway.example/" }
"#;

fn key() -> CredentialKey {
    CredentialKey::new(&[1; 32]).unwrap()
}

fn faults(source: &str) -> Vec<String> {
    let found = file::parse(source, &SettingsContext::default()).unwrap_err();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_file_becomes_records_without_secrets() {
    let channels = file::parse(GOOD, &SettingsContext::default()).unwrap();
    assert_eq!(channels.len(), 3);
    for channel in &channels {
        let record = channel.to_record(&key());
        let json = String::from_utf8(record.to_json()).unwrap();
        for secret in ["current-password", "previous-password", "koo-password", "twilio-password"] {
            assert!(!json.contains(secret), "{json}");
            assert!(!format!("{channel:?}").contains(secret), "{channel:?}");
        }
        let read = Record::from_json(&record.id, json.as_bytes()).unwrap();
        assert_eq!(read, record);
        let in_memory = read.to_channel().unwrap();
        for login in channel.credentials() {
            let password = String::from_utf8_lossy(login.password.expose()).into_owned();
            let presented = in_memory.bsp.expected_credential(login.user.as_deref(), &password);
            assert!(in_memory.credentials.position(&key().digest(&presented)).is_some());
        }
        assert_eq!(in_memory.credentials.position(&key().digest(b"wrong")), None);
    }
    let spools = channels.iter().map(|channel| channel.to_record(&key()).to_channel().unwrap().spools());
    assert_eq!(
        spools.collect::<Vec<_>>(),
        [false, false, true],
        "koo-1 says so, the others as their BSP needs"
    );
    let signature = channels[2].to_record(&key()).to_channel().unwrap().signature.unwrap();
    assert_eq!(signature.public_url, "https://gateway.example");
    assert_eq!(signature.keys.len(), 2);
}

#[test]
fn every_fault_is_listed_with_its_line() {
    let bad = r#"color = "red"
[[channel]]
id = "has space"
bsp = "infobip"
tenant = "t"
webhook = [{ password = "p" }, { password = "p" }, { user = "u", password = "q" }]
[channel.infobip]
base_url = "http://evil.example"
api_key = "a secret in clear"
sends_per_second = 0

[[channel]]
id = "unknown"
bsp = "pigeon"

[[channel]]
id = "d"
bsp = "twilio"
tenant = "t/t"
webhook = [{ password = "p" }]
signature = { auth_tokens = ["env:PATH"], public_url = "gateway.example/x" }
[channel.infobip]
base_url = "https://x.api.infobip.com"

[[channel]]
id = "d"
bsp = "koomessage"
tenant = 7
webhook = []
spool = "no"
"#;
    let expected = [
        (1, "unknown key 'color'"),
        (3, "'id': invalid channel id"),
        (6, "duplicate credential"),
        (6, "unknown key 'user'"),
        (7, "missing key 'scenario_key'"),
        (8, "'base_url' must begin with https://"),
        (9, "'api_key' must be a reference"),
        (10, "'sends_per_second' must be a whole number from 1 to 1000"),
        (12, "missing key 'tenant'"),
        (13, "'id': reserved channel id"),
        (14, "'bsp' must be one of infobip, koomessage, gupshup, twilio"),
        (19, "invalid 'tenant': use 1 to"),
        (20, "missing key 'user'"),
        (21, "invalid reference in 'auth_tokens'"),
        (21, "invalid 'public_url'"),
        (22, "unknown key 'infobip'"),
        (25, "duplicate id 'd'"),
        (25, "'webhook' is empty"),
        (28, "'tenant' must be a string"),
        (30, "'spool' must be true or false"),
    ];
    let found = faults(bad);
    for (line, text) in expected {
        let begins = format!("line {line}: ");
        assert!(
            found.iter().any(|fault| fault.starts_with(&begins) && fault.contains(text)),
            "expected a fault '{text}' at line {line} in {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(!found.join("\n").contains("a secret in clear"));
}

#[test]
fn invalid_toml_is_reported_with_its_line() {
    let found = faults("[[channel]]\nid = \nbsp = infobip\n");
    assert!(found.len() == 1 && found[0].starts_with("line 2: invalid TOML"), "{found:?}");
    // Another format, of which a TOML parser accepts no line.
    let found = faults("channels:\n  - id: c-1\n    bsp: infobip\n  - id: c-2\n");
    assert!(found.len() == 1 && found[0].starts_with("line 1: invalid TOML"), "{found:?}");
    assert_eq!(faults(""), ["line 1: file: no [[channel]] table found; add at least one"]);
}

#[test]
fn passwords_that_a_header_cannot_carry_are_rejected() {
    for password in ["", " ", " a", "a ", "ä", "a\\nb", &"x".repeat(257)] {
        let source = GOOD.replace("koo-password", password);
        assert_eq!(faults(&source).len(), 1, "{password:?}");
    }
}

/// A reader derived by serde would accept an array as a list of the fields.
#[test]
fn an_array_is_not_read_as_a_record_or_a_table() {
    let record = r#"{"version":1,"id":"c-1","bsp":"twilio","tenant":"t","webhook":[],"key_fingerprint":"f","signature":SIGNATURE}"#;
    let with = |signature: &str| Record::from_json("c-1", record.replace("SIGNATURE", signature).as_bytes());
    assert!(with(r#"{"auth_tokens":["env:TWILIO_T"],"public_url":"https://g.example"}"#).is_ok());
    assert!(with(r#"[["env:TWILIO_T"],"https://g.example"]"#).is_err());
    let array = r#"[1,"c-1","twilio","t",[],"f",null,null,false]"#;
    assert!(Record::from_json("c-1", array.as_bytes()).is_err());

    let settings = SettingsContext::default();
    for (table, array) in [
        ("[channel.infobip]", "infobip = ['https://xxxx.api.infobip.com', 'env:INFOBIP_API_KEY', 'key']"),
        ("signature = {", "signature = [['env:TWILIO_TOKEN'], 'https://gateway.example/']"),
        ("webhook = [{ password = \"koo-password\" }]", "webhook = [['koo-password']]"),
    ] {
        let line = GOOD.lines().find(|line| line.starts_with(table)).unwrap();
        let source = GOOD.replacen(line, array, 1);
        assert!(file::parse(&source, &settings).is_err(), "{array}");
    }
}

#[test]
fn a_channel_reconciles_only_if_its_bsp_has_a_log_and_the_channel_an_account() {
    let with = |bsp: &str, more: &str| {
        format!(
            "[[channel]]\nid = \"c\"\nbsp = \"{bsp}\"\ntenant = \"t\"\nwebhook = [{{ password = \"password-1\" }}]\nreconcile = true\n{more}"
        )
    };
    let account = "[channel.infobip]\nbase_url = \"https://xxxx.api.infobip.com\"\napi_key = \"env:INFOBIP_API_KEY\"\nscenario_key = \"A\"\n";
    let channels = file::parse(&with("infobip", account), &SettingsContext::default()).unwrap();
    assert!(channels[0].to_record(&key()).to_channel().unwrap().reconcile);
    let no_account = faults(&with("infobip", ""));
    assert_eq!(no_account.len(), 1, "{no_account:?}");
    assert!(
        no_account[0].contains("line 6") && no_account[0].contains("add [channel.infobip]"),
        "{no_account:?}"
    );
    for bsp in ["koomessage", "gupshup"] {
        let found = faults(&with(bsp, ""));
        let expected = format!("imchannel can ask no message log of {bsp}; remove it");
        assert!(found.len() == 1 && found[0].contains(&expected), "{found:?}");
    }
    let off = with("koomessage", "").replace("reconcile = true", "reconcile = false");
    assert!(!file::parse(&off, &SettingsContext::default()).unwrap()[0].to_record(&key()).reconcile);
}
