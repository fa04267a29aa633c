//! A command with another NATS user than it needs fails immediately with one line that names the user. Every command is
//! tried with every other user, with an unknown one and with none; and each uses its own seed from the folder of seeds.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use bus::User;

use crate::harness::run_cli_with;
use crate::harness::secured::Secured;
use crate::harness::secured_channel::{CHANNEL, channels_file};

/// Timeout of one command. Five timeouts of a request would be 25 s.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Every command that connects, with the user that it needs and arguments with which it uses the bus. The table in
/// docs/installing.md shows that none is missing; the program's own tests compare it.
const COMMANDS: &[(User, &str, &str)] = &[
    (User::Provisioner, "streams apply", ""),
    (User::Provisioner, "streams repair", "--yes"),
    (User::Provisioner, "setup", "--channels CHANNELS"),
    (User::Provisioner, "channel apply", "-f CHANNELS"),
    (User::Provisioner, "channel apply", "-f CHANNELS --dry-run"),
    (User::Provisioner, "channel remove", "channel-0 --yes"),
    (User::Operator, "streams check", ""),
    (User::Operator, "channel list", ""),
    (User::Operator, "channel show", "channel-0"),
    (User::Operator, "channel pause", "channel-0"),
    (User::Operator, "channel resume", "channel-0"),
    (User::Operator, "tail", "reports --no-follow"),
    (User::Operator, "tail", "webhooks"),
    (User::Operator, "tail", "sends --since 1h"),
    (User::Operator, "send", "--channel channel-0 --to 8618257518838 --text Hello"),
    (User::Operator, "lanes list", ""),
    (User::Operator, "media put", "FILE --channel channel-0 --media-url http://127.0.0.1:9"),
    (User::Operator, "top", "--json --count 1"),
    (User::Operator, "doctor", ""),
    (User::Operator, "replay webhooks", "--from-sequence 1"),
    (User::Operator, "deadletter list", ""),
    (User::Operator, "deadletter show", "1"),
    (User::Operator, "deadletter replay", "--all"),
    (User::Operator, "deadletter drop", "--all --yes"),
    (User::Operator, "simulate webhooks", "--gateway http://127.0.0.1:9 --channels CHANNELS --count 1"),
];

struct Tries {
    secured: Secured,
    channels: String,
    file: String,
}

impl Tries {
    async fn start() -> Self {
        service::process::install_crypto_provider();
        let secured = Secured::start().await;
        let in_folder = |name: &str| secured.folder().join(name).to_string_lossy().into_owned();
        let (channels, file) = (in_folder("channels.toml"), in_folder("bill.pdf"));
        std::fs::write(&channels, channels_file("https://127.0.0.1:9")).unwrap();
        std::fs::write(&file, "%PDF-1.7\n").unwrap();
        secured.cli("provisioner", &["setup", "--channels", &channels]).await;
        Self { secured, channels, file }
    }

    /// Runs a command with these additional variables, and nothing else that names a seed.
    async fn run(&self, command: &str, args: &str, more: &[(&str, &str)]) -> Output {
        let args = args.replace("CHANNELS", &self.channels).replace("FILE", &self.file);
        let words: Vec<&str> = command.split(' ').chain(args.split_whitespace()).collect();
        let key = self.secured.secret_file("credential.key");
        let url = self.secured.nats.url();
        let mut variables = vec![
            ("IMCHANNEL_NATS_URL", url.as_str()),
            ("IMCHANNEL_CREDENTIAL_KEY_FILE", key.as_str()),
            ("IMCHANNEL_INFOBIP_HOSTS", "127.0.0.1"),
            ("IMCHANNEL_MEDIA_UPLOAD_TOKEN", "a-token-of-at-least-32-characters"),
        ];
        variables.extend(more);
        run_cli_with("", "imchannel", &words, &variables).await
    }

    /// The command fails with one line with this prefix, within [`AT_ONCE`].
    async fn is_refused(
        &self,
        (needed, command, args): (User, &str, &str),
        more: &[(&str, &str)],
        why: &str,
    ) {
        let began = Instant::now();
        let output = self.run(command, args, more).await;
        let took = began.elapsed();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        let what = format!("{command} {args} with {more:?}: {said}");
        assert_eq!(output.status.code(), Some(1), "{what}");
        assert_eq!(said.trim_end().lines().count(), 1, "{what}");
        let start = format!("`{command}` needs the NATS user {needed}, and {why}");
        assert!(said.contains(&start), "{what} not {start}");
        assert!(took < AT_ONCE, "{took:?}: {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_names_the_user_that_it_needs_at_once() {
    let tries = Tries::start().await;
    let stranger = tries.secured.folder().join("stranger.nk");
    std::fs::write(&stranger, bus::NkeySeed::generate().expose()).unwrap();
    let stranger = stranger.to_string_lossy().into_owned();
    for &(needed, command, args) in COMMANDS {
        for user in User::ALL.into_iter().filter(|user| *user != needed) {
            let seed = tries.secured.secret_file(&format!("nats/{user}.nk"));
            let why = format!("{seed} is the seed of another user");
            tries.is_refused((needed, command, args), &[("IMCHANNEL_NATS_NKEY_FILE", &seed)], &why).await;
        }
        let variables = [("IMCHANNEL_NATS_NKEY_FILE", stranger.as_str())];
        let why = format!("NATS does not know the user of {stranger}");
        tries.is_refused((needed, command, args), &variables, &why).await;
        tries.is_refused((needed, command, args), &[], "no seed was given").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_takes_its_own_seed_out_of_the_folder() {
    let tries = Tries::start().await;
    let folder = tries.secured.secret_file("nats");
    let of_folder = [("IMCHANNEL_NATS_NKEYS_DIR", folder.as_str())];
    let before = tries.secured.refusals();
    for &(_, command, args) in COMMANDS {
        // Removed last, because others need the channel.
        if matches!(command, "channel remove" | "send" | "simulate webhooks" | "media put")
            || (command == "tail" && !args.contains("--no-follow"))
        {
            continue;
        }
        let output = tries.run(command, args, &of_folder).await;
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!said.contains("NATS user") && !said.contains("timed out"), "{command} {args}: {said}");
        // Dead letter 1 does not exist, and doctor finds that nothing runs.
        let is_well = output.status.success() || matches!(command, "doctor" | "deadletter show");
        assert!(is_well, "{command} {args}: {said}");
    }
    let removed = tries.run("channel remove", "channel-0 --yes", &of_folder).await;
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(tries.secured.refusals(), before, "nothing was refused");

    // A named file takes precedence over the folder.
    let seed = tries.secured.secret_file("nats/media.nk");
    let both = [of_folder[0], ("IMCHANNEL_NATS_NKEY_FILE", seed.as_str())];
    let why = format!("{seed} is the seed of another user");
    tries.is_refused((User::Operator, "channel list", ""), &both, &why).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_is_missing_is_a_clear_error() {
    let tries = Tries::start().await;
    let folder = tries.secured.secret_file("nats");
    std::fs::remove_file(Path::new(&folder).join("operator.nk")).unwrap();
    let output = tries.run("channel list", "", &[("IMCHANNEL_NATS_NKEYS_DIR", &folder)]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected =
        format!("`channel list` needs the seed of the NATS user operator: cannot read {folder}/operator.nk");
    assert!(said.contains(&expected) && said.lines().count() == 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_the_users_file_lacks_is_named() {
    let mut tries = Tries::start().await;
    let config = tries.secured.folder().join("nats-0/users.conf");
    let text = std::fs::read_to_string(&config).unwrap();
    // The operator's line, which is before the back end's.
    let right = "\"imchannel.command.send.*\"\n";
    assert_eq!(text.matches(right).count(), 2);
    let text = text.replacen(right, "\n", 1);
    std::fs::write(&config, text).unwrap();
    tries.secured.nats.stop().await;
    tries.secured.nats.start_again().await.unwrap();
    let folder = tries.secured.secret_file("nats");
    let began = Instant::now();
    let args = format!("--channel {CHANNEL} --to 8618257518838 --text Hello");
    let output = tries.run("send", &args, &[("IMCHANNEL_NATS_NKEYS_DIR", &folder)]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    let expected =
        format!("NATS does not let the user operator publish to \"imchannel.command.send.{CHANNEL}\"");
    assert!(said.contains(&expected), "{said}");
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}
