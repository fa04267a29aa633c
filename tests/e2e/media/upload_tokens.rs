//! Upload tokens, one for all tenants and separate ones for single tenants: who may upload where, changed while media
//! runs.

use std::path::Path;

use bsp::SettingsContext;
use channel::CredentialKey;
use reqwest::StatusCode;

use crate::harness::files::{bytes, client};
use crate::harness::outbound::{Outbound, RunningMedia, TENANT, UPLOAD_TOKEN};
use crate::harness::{KEY, Program, eventually, run_cli_with};

const OTHER: &str = "other-tenant";
const FIRST: &str = "the-token-of-tenantname";
const SECOND: &str = "the-next-token-of-tenantname";
const OTHERS: &str = "the-token-of-other-tenant";

/// A channel of another tenant.
async fn apply_other(outbound: &Outbound) {
    let file = format!(
        "[[channel]]\nid = \"other-0\"\nbsp = \"infobip\"\ntenant = \"{OTHER}\"\nwebhook = [{{ password = \"p\" }}]\n"
    );
    let described = channel::file::parse(&file, &SettingsContext::default()).unwrap().remove(0);
    let key = CredentialKey::new(KEY.as_bytes()).unwrap();
    bus::registry::put(&outbound.installation.bus, &described.to_record(&key)).await.unwrap();
}

/// Writes a file as docs/operations.md recommends: first under another name.
fn write(folder: &Path, tenant: &str, text: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let hidden = folder.join(format!(".{tenant}"));
    std::fs::write(&hidden, text).unwrap();
    std::fs::rename(hidden, folder.join(tenant)).unwrap();
}

/// Uploads a file for a tenant's channel; returns the status, headers without the time, and body of the response.
async fn answer(url: &str, tenant: &str, token: Option<&str>) -> (StatusCode, String, String) {
    let channel = if tenant == OTHER { "other-0" } else { "channel-0" };
    let path = format!("{url}/{tenant}/imchannel/media?channel={channel}&kind=image");
    let mut request = client().post(path).header("content-type", "image/png");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.body(bytes(b"\x89PNG\r\n\x1a\n", 100)).send().await.unwrap();
    let headers = answer.headers().iter().filter(|(name, _)| *name != "date");
    let headers = headers.map(|(name, value)| format!("{name}: {value:?}\n")).collect();
    (answer.status(), headers, answer.text().await.unwrap())
}

async fn status(media: &RunningMedia, tenant: &str, token: &str) -> u16 {
    answer(&media.url, tenant, Some(token)).await.0.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_token_uploads_for_it_alone_and_changes_without_a_restart() {
    let outbound = Outbound::start(&[10]).await;
    apply_other(&outbound).await;
    let folder = outbound.installation.folder().join("upload-tokens");
    write(&folder, TENANT, &format!("{FIRST}\n"));
    write(&folder, OTHER, OTHERS);
    let dir = ("media-upload-tokens-dir", folder.to_str().unwrap());
    let media = outbound.media_with(&[("media-upload-token", ""), dir]).await;
    eventually("both channels are known", || async {
        (status(&media, OTHER, OTHERS).await == 201).then_some(())
    })
    .await;
    assert_eq!(status(&media, TENANT, FIRST).await, 201);
    // With another tenant's token the response is the same as with a wrong one, also for a tenant that does not exist.
    let wrong = answer(&media.url, TENANT, Some("an-unknown-upload-token")).await;
    assert_eq!(wrong.0, 401);
    for (tenant, token) in [
        (TENANT, Some(OTHERS)),
        (OTHER, Some(FIRST)),
        ("no-such", Some(FIRST)),
        (TENANT, Some(UPLOAD_TOKEN)),
        (TENANT, Some("")),
        (TENANT, None),
    ] {
        assert_eq!(answer(&media.url, tenant, token).await, wrong, "{tenant} {token:?}");
    }

    write(&folder, TENANT, &format!("{SECOND}\n{FIRST}\n"));
    eventually("the new token counts", || async {
        (status(&media, TENANT, SECOND).await == 201).then_some(())
    })
    .await;
    assert_eq!(status(&media, TENANT, FIRST).await, 201, "the old one counts beside it");
    // A partial file removes nothing, and is not a token.
    write(&folder, TENANT, &SECOND[..8]);
    write(&folder, OTHER, &format!("{OTHERS}-2"));
    eventually("the folder was read", || async {
        (status(&media, OTHER, &format!("{OTHERS}-2")).await == 201).then_some(())
    })
    .await;
    assert_eq!(status(&media, TENANT, SECOND).await, 201);
    assert_eq!(status(&media, TENANT, &SECOND[..8]).await, 401);
    write(&folder, TENANT, SECOND);
    eventually("the old token counts no more", || async {
        (status(&media, TENANT, FIRST).await == 401).then_some(())
    })
    .await;
    assert_eq!(status(&media, TENANT, SECOND).await, 201);
    std::fs::remove_file(folder.join(TENANT)).unwrap();
    eventually("no token of the tenant counts", || async {
        (status(&media, TENANT, SECOND).await == 401).then_some(())
    })
    .await;

    let metrics = media.metrics();
    for (tenant, token) in [(TENANT, "first"), (TENANT, "second"), (OTHER, "first")] {
        let series = format!("media_upload_token_used_total{{tenant=\"{tenant}\",token=\"{token}\"}} ");
        assert!(metrics.contains(&series), "{series} in\n{metrics}");
    }
    assert!(!metrics.contains("token=\"general\"") && !metrics.contains("tenant=\"no-such\""), "{metrics}");
    media.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_general_token_counts_for_every_tenant_beside_their_own() {
    let outbound = Outbound::start(&[10]).await;
    apply_other(&outbound).await;
    let folder = outbound.installation.folder().join("upload-tokens");
    write(&folder, TENANT, FIRST);
    let dir = folder.to_str().unwrap().to_owned();
    let redis = outbound.redis.url();
    let variables = [
        ("IMCHANNEL_MEDIA_LISTEN", "127.0.0.1:0"),
        ("IMCHANNEL_REDIS_URL", redis.as_str()),
        ("IMCHANNEL_MEDIA_PUBLIC_URL", "http://127.0.0.1:1"),
        ("IMCHANNEL_MEDIA_UPLOAD_TOKEN", UPLOAD_TOKEN),
        ("IMCHANNEL_MEDIA_UPLOAD_TOKENS_DIR", dir.as_str()),
        ("IMCHANNEL_LOG_LEVEL", "debug"),
    ];
    let mut program = Program::start("imchannel-media", &outbound.installation, &variables);
    let url = format!("http://{}", program.address_after("accepts and serves files on ").await);
    eventually("channels are known", || async {
        (answer(&url, OTHER, Some(UPLOAD_TOKEN)).await.0 == 201).then_some(())
    })
    .await;
    assert_eq!(answer(&url, TENANT, Some(UPLOAD_TOKEN)).await.0, 201);
    assert_eq!(answer(&url, TENANT, Some(FIRST)).await.0, 201);
    assert_eq!(answer(&url, OTHER, Some(FIRST)).await.0, 401);

    // The command line uses the file of the channel's tenant, and no other token if there is one.
    let file = outbound.installation.folder().join("picture.png");
    std::fs::write(&file, bytes(b"\x89PNG\r\n\x1a\n", 100)).unwrap();
    let nats = outbound.installation.nats.url();
    let put = ["media", "put", file.to_str().unwrap(), "--channel", "channel-0"];
    let wrong =
        [("IMCHANNEL_MEDIA_URL", url.as_str()), ("IMCHANNEL_MEDIA_UPLOAD_TOKEN", "an-unknown-upload-token")];
    let refused = run_cli_with(&nats, "imchannel", &put, &wrong).await;
    assert_eq!(refused.status.code(), Some(1));
    let right = [wrong[0], wrong[1], ("IMCHANNEL_MEDIA_UPLOAD_TOKENS_DIR", dir.as_str())];
    let stored = run_cli_with(&nats, "imchannel", &put, &right).await;
    assert!(stored.status.success(), "{}", String::from_utf8_lossy(&stored.stderr));

    write(&folder, TENANT, "short");
    program.line_with("fewer than 16 characters; the earlier tokens stay valid").await;
    program.signal("TERM").await;
    let log = program.rest().await;
    for token in [UPLOAD_TOKEN, FIRST, "short"] {
        assert!(!log.contains(token), "{token} is in the log: {log}");
    }
    assert!(program.ended_well().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn media_does_not_start_without_an_upload_token() {
    let folder = tempfile::TempDir::new().unwrap();
    let dir = folder.path().to_str().unwrap();
    let public = ("IMCHANNEL_MEDIA_PUBLIC_URL", "http://127.0.0.1:1");
    let start = async |more: &[(&str, &str)]| {
        let variables: Vec<_> = std::iter::once(public).chain(more.iter().copied()).collect();
        let output = run_cli_with("nats://127.0.0.1:1", "imchannel-media", &[], &variables).await;
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let told = start(&[]).await;
    assert!(told.contains("neither is IMCHANNEL_MEDIA_UPLOAD_TOKENS_DIR"), "{told}");
    let of_tenants = ("IMCHANNEL_MEDIA_UPLOAD_TOKENS_DIR", dir);
    let told = start(&[of_tenants]).await;
    assert!(told.contains("contains no file, and IMCHANNEL_MEDIA_UPLOAD_TOKEN is not set"), "{told}");
    write(folder.path(), TENANT, "example-0123456789abcdef");
    let told = start(&[of_tenants]).await;
    assert!(told.contains("is a published example secret") && !told.contains("0123456789abcdef"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_make_gives_each_named_tenant_a_token_that_media_takes() {
    let folder = tempfile::TempDir::new().unwrap();
    let secrets = folder.path().join("secrets");
    let make = ["secrets", "generate", secrets.to_str().unwrap()];
    let faulty = [&make[..], &["--tenant", "../tenant"]].concat();
    assert_eq!(run_cli_with("", "imchannel", &faulty, &[]).await.status.code(), Some(2));
    let named = [&make[..], &["--tenant", TENANT, "--tenant", OTHER]].concat();
    assert!(run_cli_with("", "imchannel", &named, &[]).await.status.success());
    let token = |tenant| std::fs::read_to_string(secrets.join("media-tokens").join(tenant)).unwrap();
    assert_ne!(token(TENANT), token(OTHER));

    let outbound = Outbound::start(&[10]).await;
    let tokens = secrets.join("media-tokens");
    let dir = ("media-upload-tokens-dir", tokens.to_str().unwrap());
    let media = outbound.media_with(&[("media-upload-token", ""), dir]).await;
    assert_eq!(status(&media, TENANT, token(TENANT).trim()).await, 201);
    media.stop().await;
}
