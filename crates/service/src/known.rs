//! The environment variables that begin with `IMCHANNEL_`: one that nothing knows is a spelling mistake or an old name, whose
//! value would be ignored without a word. Programs often share an environment, so that a setting of one is known to all. What the
//! settings mean is declared where they are read; a test of the command line compares this list with all of them.

/// Every setting of the services and of the command line, without `IMCHANNEL_`, in alphabetical order.
pub const SETTINGS: &[&str] = &[
    "ADMIN_LISTEN",
    "BODY_LIMIT",
    "BODY_MEMORY",
    "BODY_MEMORY_CHANNEL_PERCENT",
    "BODY_TIMEOUT",
    "BSP_IDLE_TIMEOUT",
    "COMMANDS_MAX_SIZE",
    "CONNECTIONS_MAX",
    "CONNECTIONS_PER_ADDRESS_MAX",
    "CONSOLE_TOKEN",
    "CONSOLE_TOKEN_FILE",
    "CONSOLE_URL",
    "CREDENTIAL_KEY",
    "CREDENTIAL_KEY_FILE",
    "DEADLETTERS_MAX_SIZE",
    "DRAIN_DELAY",
    "DUPLICATE_WINDOW",
    "EVENTS_MAX_SIZE",
    "GROUP_COMMIT",
    "HEADER_TIMEOUT",
    "IDLE_TIMEOUT",
    "INFOBIP_CA_FILE",
    "INFOBIP_HOSTS",
    "INGRESS_LISTEN",
    "LAG_INTERVAL",
    "LOG_ADDRESSES",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "LOG_PAYLOADS",
    "LOOKUP_DELAYS",
    "MEDIA_DOWNLOADS_MAX",
    "MEDIA_FETCHED_TTL",
    "MEDIA_LEGACY_TENANT",
    "MEDIA_LISTEN",
    "MEDIA_PUBLIC_URL",
    "MEDIA_TTL",
    "MEDIA_UPLOADS_MAX",
    "MEDIA_UPLOAD_TOKEN",
    "MEDIA_UPLOAD_TOKENS_DIR",
    "MEDIA_UPLOAD_TOKEN_FILE",
    "MEDIA_URL",
    "NATS_CA_FILE",
    "NATS_MONITOR_URL",
    "NATS_NKEYS_DIR",
    "NATS_NKEY_FILE",
    "NATS_URL",
    "NORMALIZER_CONCURRENCY",
    "PUBLIC_ADDRESS",
    "PURGE_INTERVAL",
    "REDIS_CA_FILE",
    "REDIS_PASSWORD",
    "REDIS_PASSWORD_FILE",
    "REDIS_URL",
    "REPLICAS",
    "REQUESTS_MAX",
    "SECRETS_DIR",
    "SENDS_MAX_SIZE",
    "SEND_TIMEOUT",
    "SHUTDOWN_GRACE_PERIOD",
    "SPOOL_DIR",
    "SPOOL_DRAIN_RATE",
    "SPOOL_MAX_SIZE",
    "TIMELINE_ACCESS",
    "TIMELINE_ADMIN_URLS",
    "TIMELINE_BODIES",
    "TIMELINE_DIR",
    "TIMELINE_ERASER_NKEY_FILE",
    "TIMELINE_ERASURE",
    "TIMELINE_FETCH_AFTER",
    "TIMELINE_HOSTS",
    "TIMELINE_KEY",
    "TIMELINE_KEY_FILE",
    "TIMELINE_LISTEN",
    "TIMELINE_OPERATOR_USERS",
    "TIMELINE_REPORT_AFTER",
    "TIMELINE_RESULT_AFTER",
    "TIMELINE_RETENTION",
    "TIMELINE_TOKENS_FILE",
    "TIMELINE_UNMASK_USERS",
    "TIMELINE_URL",
    "TIMELINE_URL_FILE",
    "TIMELINE_USER_HEADER",
    "TIMELINE_USER_PROXIES",
    "TLS_CERTIFICATE_FILE",
    "TLS_KEY_FILE",
    "TRUSTED_PROXIES",
    "WEBHOOKS_MAX_SIZE",
];

/// What docker-compose.yml and haproxy.cfg read. A shell that runs compose often runs the command line too.
const COMPOSE: &[&str] = &[
    "BIND",
    "CHANNELS",
    "DNS",
    "NATS_GOMEMLIMIT",
    "NATS_MEMORY",
    "PROXY_CONNECTIONS",
    "PROXY_FILES",
    "REDIS_MAXMEMORY",
    "REDIS_MEMORY",
    "REVISION",
    "SECRETS",
    "SIMULATE_RATE",
    "VERSION",
];

/// Secrets that channels name as `env:IMCHANNEL_SECRET_…`, and variables of the tests and checks of this repository.
const PREFIXES: &[&str] = &["SECRET_", "TEST_", "CHECK_"];

/// Least similarity of a name that is suggested, from 0 to 1.
const SIMILARITY_MIN: f64 = 0.8;

/// Most names that are suggested.
const SUGGESTIONS_MAX: usize = 4;

/// An error for each name that begins with `IMCHANNEL_` and that nothing knows, in alphabetical order.
///
/// # Examples
/// ```
/// let errors = service::known::errors(["IMCHANNEL_GRACE_MS", "IMCHANNEL_NATS_URL", "PATH"]);
/// assert_eq!(errors, ["unknown setting IMCHANNEL_GRACE_MS: did you mean IMCHANNEL_SHUTDOWN_GRACE_PERIOD?"]);
/// ```
pub fn errors<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let names = names.into_iter().filter_map(|name| name.strip_prefix("IMCHANNEL_"));
    let mut unknown: Vec<&str> = names.filter(|name| !is_known(name)).collect();
    unknown.sort_unstable();
    let error = |name: &str| {
        let nearest: Vec<_> = nearest(name).iter().map(|known| format!("IMCHANNEL_{known}")).collect();
        let hint = match &nearest[..] {
            [] => "remove it; docs/configuration.md lists the settings, and CHANGELOG.md what was renamed"
                .to_owned(),
            nearest => format!("did you mean {}?", nearest.join(" or ")),
        };
        format!("unknown setting IMCHANNEL_{name}: {hint}")
    };
    unknown.into_iter().map(error).collect()
}

/// The errors of this process's environment.
pub fn errors_of_environment() -> Vec<String> {
    let names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    errors(names.iter().map(String::as_str))
}

fn is_known(name: &str) -> bool {
    // Kubernetes and Docker set such variables for a service whose name begins with `imchannel-`.
    let is_link = name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_");
    is_link
        || SETTINGS.contains(&name)
        || COMPOSE.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The setting of this name, the settings that have every word of it if there are few, or else the most similar one. A unit at the
/// end does not count: settings had one in their names.
fn nearest(name: &str) -> Vec<&'static str> {
    let name = name.strip_suffix("_MS").or_else(|| name.strip_suffix("_BYTES")).unwrap_or(name);
    if let Some(same) = SETTINGS.iter().find(|known| **known == name) {
        return vec![same];
    }
    let has_words = |known: &str| name.split('_').all(|word| known.split('_').any(|other| other == word));
    let with_words: Vec<_> = SETTINGS.iter().copied().filter(|known| has_words(known)).collect();
    if (1..=SUGGESTIONS_MAX).contains(&with_words.len()) {
        return with_words;
    }
    let similarity = |known: &str| strsim::jaro_winkler(name, known);
    let most = SETTINGS.iter().copied().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    most.filter(|known| similarity(known) >= SIMILARITY_MIN).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_setting_names_the_nearest_one() {
        let cases = [
            ("NATS_ULR", "NATS_URL"),
            ("LOGLEVEL", "LOG_LEVEL"),
            ("GRACE_MS", "SHUTDOWN_GRACE_PERIOD"),
            ("DRAIN_DELAY_MS", "DRAIN_DELAY"),
            ("KEEPER_INTERVAL_MS", "PURGE_INTERVAL"),
            ("IDLE_TIMEOUT_MS", "IDLE_TIMEOUT"),
            ("HEAD_TIMEOUT_MS", "HEADER_TIMEOUT"),
            ("CONCURRENCY", "NORMALIZER_CONCURRENCY"),
            ("BODY_LIMIT_BYTES", "BODY_LIMIT"),
            ("WEBHOOKS_MAX_BYTES", "WEBHOOKS_MAX_SIZE"),
            ("MEDIA_FETCHED_TTL_MS", "MEDIA_FETCHED_TTL"),
        ];
        for (name, known) in cases {
            assert_eq!(nearest(name), [known], "{name}");
        }
        assert_eq!(nearest("PROXIES"), ["TIMELINE_USER_PROXIES", "TRUSTED_PROXIES"]);
        let listen = "IMCHANNEL_ADMIN_LISTEN or IMCHANNEL_INGRESS_LISTEN or IMCHANNEL_MEDIA_LISTEN or IMCHANNEL_TIMELINE_LISTEN?";
        assert!(errors(["IMCHANNEL_LISTEN"])[0].ends_with(listen));
        assert!(errors(["IMCHANNEL_EXPOSED_ON"])[0].contains("CHANGELOG.md"));
    }

    #[test]
    fn other_programs_variables_are_left_alone() {
        let names = [
            "IMCHANNEL_SECRET_X",
            "IMCHANNEL_SIMULATE_RATE",
            "IMCHANNEL_WEBHOOKS_PORT",
            "IMCHANNEL_NATS_SERVICE_HOST",
            "IMCHANNEL_NATS_SERVICE_PORT_CLIENT",
            "IMCHANNEL_NATS_PORT_4222_TCP_ADDR",
            "IMCHANNEL",
            "OTHER_GRACE_MS",
        ];
        assert_eq!(errors(names), Vec::<String>::new());
        assert_eq!(errors(["IMCHANNEL_B", "IMCHANNEL_A"]).len(), 2, "all of them");
    }
}
