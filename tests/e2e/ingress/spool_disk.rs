//! The spool on bad disks: full, read-only, damaged. What was answered 200 comes out, and nothing stops ingress.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::{Installation, Program, Webhook, binary, eventually, exclusive};

fn twilio(number: usize, bytes: usize) -> Webhook {
    Webhook::twilio(format!("MessageSid=SM-{number}&MessageStatus=read&Padding={}", "x".repeat(bytes)))
}

fn infobip(number: usize) -> Webhook {
    Webhook::infobip(format!(
        r#"{{"results":[{{"messageId":"m-{number}","to":"49151","status":{{"groupName":"DELIVERED"}}}}]}}"#
    ))
}

async fn until_accepted(address: SocketAddr, webhook: &Webhook) {
    eventually("ingress accepts a webhook", || async {
        let answer = webhook.try_post(address).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
}

async fn address_of(program: &mut Program) -> SocketAddr {
    program.address_after("accepts webhooks on").await.parse().unwrap()
}

/// Ingress whose spool is on a tmpfs, mounted with these options in a user namespace.
async fn on_tmpfs(installation: &Installation, spool: &Path, options: &str) -> (Program, SocketAddr) {
    let script = format!(
        "mount -t tmpfs -o {options} tmpfs '{}' && exec '{}'",
        spool.display(),
        binary("imchannel-ingress").display()
    );
    let args = ["--user", "--map-root-user", "--mount", "sh", "-c", &script];
    let variables =
        [("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0"), ("IMCHANNEL_SPOOL_DIR", spool.to_str().unwrap())];
    let mut program =
        Program::start_with_args("/usr/bin/unshare", &installation.nats.url(), &args, &variables);
    let address = address_of(&mut program).await;
    (program, address)
}

/// Whether the kernel gives a tmpfs in a user namespace.
fn has_namespaces(folder: &Path) -> bool {
    let mount = "mount -t tmpfs tmpfs \"$0\"";
    let mut unshare = Command::new("/usr/bin/unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount]).arg(folder);
    unshare.output().is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_answered_503_and_what_is_on_it_comes_out() {
    let _alone = exclusive().await;
    let mut installation = Installation::start().await;
    let spool = installation.folder().join("spool");
    std::fs::create_dir(&spool).unwrap();
    if !has_namespaces(&spool) {
        eprintln!("not checked: the kernel gives no tmpfs in a user namespace");
        return;
    }
    let (mut ingress, address) = on_tmpfs(&installation, &spool, "size=1m").await;
    until_accepted(address, &twilio(0, 0)).await;
    installation.nats.kill().await;
    ingress.line_with("disconnected from NATS").await;
    let mut spooled = Vec::new();
    for number in 1..100 {
        let answer = twilio(number, 50_000).post(address).await;
        match answer.status.as_u16() {
            200 => spooled.push(format!("SM-{number}")),
            503 => {
                assert!(answer.headers.contains_key("retry-after"));
                break;
            }
            other => panic!("{other}"),
        }
    }
    assert!((5..25).contains(&spooled.len()), "1 MiB takes {} webhooks", spooled.len());
    ingress.line_with("the spool's disk failed").await;
    assert_eq!(twilio(200, 50_000).post(address).await.status, 503);

    installation.nats.start_again().await.unwrap();
    let normalizer = installation.normalizer().await;
    eventually("every event has come out", || async {
        let reports = installation.reports().await;
        let has = |message: &String| reports.iter().any(|report| report.message_id == *message);
        spooled.iter().all(has).then_some(())
    })
    .await;
    // There is room again.
    installation.nats.kill().await;
    ingress.line_with("disconnected from NATS").await;
    until_accepted(address, &twilio(300, 50_000)).await;
    ingress.kill().await;
    normalizer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_stops_nothing_but_the_spool() {
    let _alone = exclusive().await;
    let mut installation = Installation::start().await;
    let spool = installation.folder().join("spool");
    std::fs::create_dir(&spool).unwrap();
    if !has_namespaces(&spool) {
        eprintln!("not checked: the kernel gives no tmpfs in a user namespace");
        return;
    }
    let (mut ingress, address) = on_tmpfs(&installation, &spool, "ro").await;
    ingress.line_with("the spool's disk failed").await;
    until_accepted(address, &twilio(0, 0)).await;
    assert_eq!(infobip(0).post(address).await.status, 200);
    installation.nats.kill().await;
    ingress.line_with("disconnected from NATS").await;
    eventually("webhooks are answered 503", || async {
        (twilio(1, 0).post(address).await.status == 503).then_some(())
    })
    .await;
    installation.nats.start_again().await.unwrap();
    until_accepted(address, &twilio(1, 0)).await;
    assert!(ingress.stop().await);
}

/// A record that is cut off, and one with a changed byte, cost no other. The damaged one is kept aside.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_records_cost_no_others() {
    let _alone = exclusive().await;
    let mut installation = Installation::start().await;
    let spool = installation.folder().join("spool");
    let variables =
        [("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0"), ("IMCHANNEL_SPOOL_DIR", spool.to_str().unwrap())];
    let mut ingress = Program::start("imchannel-ingress", &installation, &variables);
    let address = address_of(&mut ingress).await;
    until_accepted(address, &twilio(0, 0)).await;
    installation.nats.kill().await;
    ingress.line_with("disconnected from NATS").await;
    for number in 1..=9 {
        assert_eq!(twilio(number, 1_000).post(address).await.status, 200);
    }
    ingress.kill().await;
    let segment = segment(&spool);
    let mut bytes = std::fs::read(&segment).unwrap();
    let record = bytes.len() / 9;
    bytes[4 * record + record / 2] ^= 1;
    bytes.truncate(9 * record - 100);
    std::fs::write(&segment, bytes).unwrap();

    let mut ingress = Program::start("imchannel-ingress", &installation, &variables);
    installation.nats.start_again().await.unwrap();
    ingress.line_with("unreadable").await;
    let normalizer = installation.normalizer().await;
    for number in [1, 2, 3, 4, 6, 7, 8] {
        let message = format!("SM-{number}");
        eventually(&message, || async {
            installation.reports().await.iter().any(|report| report.message_id == message).then_some(())
        })
        .await;
    }
    let state = &spool::inspect(&spool).unwrap()[0];
    assert_eq!((state.aside_files, state.aside_bytes), (1, record as u64));
    assert!(ingress.stop().await);
    normalizer.stop().await;
}

/// Nothing of the spool is looked at here.
#[derive(Debug)]
struct Silent;

impl spool::Observer for Silent {
    fn synced(&self, _entries: usize, _took: Duration) {}
    fn fault(&self, _kind: spool::FaultKind, _error: &std::io::Error) {}
    fn set_aside(&self, _reason: spool::AsideReason, _folder: u32, _bytes: u64) {}
}

/// Spools a webhook of a BSP that this version does not know: it can be published by another version only.
async fn spool_unpublishable(folder: &Path) {
    let options = spool::SpoolOptions { folder: folder.to_owned(), max_bytes: 1024 * 1024 };
    let spool = spool::Spool::start(options, Arc::new(Silent)).unwrap();
    drop(spool.backlog().await);
    let subject = "imchannel.webhook.unheard-of.c".to_owned();
    let entry = spool::Entry { subject, headers: Vec::new(), arrived_ms: 0, body: "{}".into() };
    spool.store(entry).await.unwrap();
    drop(spool);
    eventually("the sub-folder is free", || async {
        spool::inspect(folder).unwrap().iter().all(|state| !state.has_owner).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_aside_keeps_no_other_channel_back() {
    let mut installation = Installation::start().await;
    let spool = installation.folder().join("spool");
    spool_unpublishable(&spool).await;
    // A file in the place of the folder.
    let aside = spool.join("0/aside");
    std::fs::write(&aside, "").unwrap();
    let variables =
        [("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0"), ("IMCHANNEL_SPOOL_DIR", spool.to_str().unwrap())];
    let mut ingress = Program::start("imchannel-ingress", &installation, &variables);
    let address = address_of(&mut ingress).await;
    ingress.line_with("the spool's disk failed").await;
    until_accepted(address, &twilio(0, 0)).await;
    installation.nats.kill().await;
    ingress.line_with("disconnected from NATS").await;
    assert_eq!(twilio(1, 0).post(address).await.status, 200);
    installation.nats.start_again().await.unwrap();
    let normalizer = installation.normalizer().await;
    eventually("the other channel's webhook is an event", || async {
        installation.reports().await.iter().any(|report| report.message_id == "SM-1").then_some(())
    })
    .await;
    std::fs::remove_file(&aside).unwrap();
    eventually("it is kept aside", || async {
        (spool::inspect(&spool).unwrap()[0].aside_files == 1).then_some(())
    })
    .await;
    assert!(ingress.stop().await);
    normalizer.stop().await;
}

/// Ingress whose fsyncs are changed by strace, as in `error=EIO:when=8`. The spool's thread makes five at its start, and two for
/// the first webhook, of which one is for the folder.
async fn with_fsyncs(
    installation: &Installation,
    spool: &Path,
    change: &str,
) -> Option<(Program, SocketAddr)> {
    let can_trace = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    if !can_trace.is_ok_and(|output| output.status.success()) {
        eprintln!("not checked: there is no strace that may trace");
        return None;
    }
    let inject = format!("inject=fsync:{change}");
    let ingress = binary("imchannel-ingress");
    // With `-D` ingress is the child, and gets the signals.
    let args =
        ["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", &inject, ingress.to_str().unwrap()];
    let variables =
        [("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0"), ("IMCHANNEL_SPOOL_DIR", spool.to_str().unwrap())];
    let mut program =
        Program::start_with_args("/usr/bin/strace", &installation.nats.url(), &args, &variables);
    let address = address_of(&mut program).await;
    Some((program, address))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_fsync_fails_is_answered_503_and_the_next_has_another_segment() {
    let _alone = exclusive().await;
    let mut installation = Installation::start().await;
    let spool = installation.folder().join("spool");
    let Some((mut ingress, address)) = with_fsyncs(&installation, &spool, "error=EIO:when=8").await else {
        return;
    };
    until_accepted(address, &twilio(0, 0)).await;
    installation.nats.kill().await;
    ingress.line_with("disconnected from NATS").await;
    assert_eq!(twilio(1, 0).post(address).await.status, 200);
    assert_eq!(twilio(2, 0).post(address).await.status, 503);
    ingress.line_with("the spool's disk failed (sync)").await;
    until_accepted(address, &twilio(3, 0)).await;
    installation.nats.start_again().await.unwrap();
    let normalizer = installation.normalizer().await;
    for message in ["SM-1", "SM-3"] {
        eventually(message, || async {
            installation.reports().await.iter().any(|report| report.message_id == message).then_some(())
        })
        .await;
    }
    assert!(ingress.stop().await);
    normalizer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_fsync_is_slow_is_answered_503_in_time() {
    let _alone = exclusive().await;
    let mut installation = Installation::start().await;
    let spool = installation.folder().join("spool");
    let Some((mut ingress, address)) = with_fsyncs(&installation, &spool, "delay_enter=4000000:when=8").await
    else {
        return;
    };
    until_accepted(address, &twilio(0, 0)).await;
    installation.nats.kill().await;
    ingress.line_with("disconnected from NATS").await;
    assert_eq!(twilio(1, 0).post(address).await.status, 200);
    let began = Instant::now();
    assert_eq!(twilio(2, 0).post(address).await.status, 503);
    assert!(began.elapsed() < Duration::from_millis(3_500), "{:?}", began.elapsed());
    // The disk is fast again.
    until_accepted(address, &twilio(3, 0)).await;
    installation.nats.start_again().await.unwrap();
    assert!(ingress.stop().await);
}

fn segment(spool: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(spool.join("0")).unwrap().map(|file| file.unwrap().path());
    let mut segments = files.filter(|file| file.extension().is_some_and(|end| end == "log"));
    segments.find(|file| std::fs::metadata(file).unwrap().len() > 0).unwrap()
}
