//! Checks of Redis: it responds, is new enough, has imchannel's functions, evicts nothing, and has free memory.

use std::collections::BTreeMap;

use blob::RedisOptions;
use blob::functions::LIBRARY;
use blob::inspect::Inspector;
use jiff::Timestamp;

use super::clock::Reading;
use super::finding::{Check, Finding, bytes, percent};
use super::probe::Probe;

const CONNECTION: Check = Check("redis.connection");
const VERSION: Check = Check("redis.version");
const ROLE: Check = Check("redis.role");
const POLICY: Check = Check("redis.policy");
const MEMORY: Check = Check("redis.memory");
const PERSISTENCE: Check = Check("redis.persistence");
const FUNCTIONS: Check = Check("redis.functions");

/// Used share of Redis' memory from which it is a warning.
const SHARE_WARNING: f64 = 0.70;
/// Used share of Redis' memory from which it is an error.
const SHARE_WRONG: f64 = 0.90;

/// State of Redis.
#[derive(Debug)]
pub(super) struct Redis {
    /// Response of `INFO`.
    pub(super) info: Probe<BTreeMap<String, String>>,
    /// Whether it has the functions of this version.
    pub(super) has_functions: Probe<bool>,
    pub(super) clock: Option<Reading>,
}

/// Reads the state of a server.
pub(super) async fn ask(options: &RedisOptions) -> Probe<Redis> {
    let words = |error: blob::BlobError| crate::words::causes(&anyhow::Error::from(error));
    let mut inspector = Inspector::connect(options).await.map_err(words)?;
    let info = inspector.info().await.map(|text| read(&text)).map_err(words);
    let asked_at = Timestamp::now();
    let time = inspector.time().await;
    let clock = time.ok().map(|said| Reading::new("Redis", asked_at, said, Timestamp::now()));
    let has_functions = inspector.has_functions().await.map_err(words);
    Ok(Redis { info, has_functions, clock })
}

fn read(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Returns findings about Redis; `redis` is `None` if its URL was not given.
pub(super) fn evaluate(redis: Option<&Probe<Redis>>) -> Vec<Finding> {
    let redis = match redis {
        Some(Ok(redis)) => redis,
        None => {
            let why =
                "Redis stores the files of messages, and its settings decide whether they can get lost.";
            let remedy = "Give --redis-url (IMCHANNEL_REDIS_URL).";
            return vec![CONNECTION.unknown("the URL of Redis was not given", why, remedy)];
        }
        Some(Err(error)) => {
            let why = "No file can be uploaded, served or sent; commands with files wait.";
            let remedy = "Start Redis, or check URL, user and password.";
            return vec![CONNECTION.error(format!("cannot reach Redis: {error}"), why, remedy)];
        }
    };
    let info = match &redis.info {
        Ok(info) => info,
        Err(error) => {
            let what = format!("it responds, but its settings cannot be read: {error}");
            let why = "This user has no permission: the users of the services have only the permissions that they need.";
            let remedy = "Use the user `operator`, which may run INFO and TIME.";
            return vec![CONNECTION.ok("it responds"), POLICY.unknown(what, why, remedy)];
        }
    };
    let mut findings = vec![CONNECTION.ok("it responds"), evaluate_version(info), evaluate_role(info)];
    findings.extend([evaluate_policy(info), evaluate_memory(info), evaluate_persistence(info)]);
    findings.push(evaluate_functions(&redis.has_functions));
    findings
}

fn evaluate_functions(has_functions: &Probe<bool>) -> Finding {
    match has_functions {
        Ok(true) => FUNCTIONS.ok(format!("it has the functions {LIBRARY}")),
        Ok(false) => FUNCTIONS.error(
            format!("it lacks the functions {LIBRARY}"),
            "The sender calls them for every command with an uploaded file. Such commands wait until they expire, and the sender is not ready.",
            "Run `imchannel setup` with the URL and the password of the Redis user `provisioner`.",
        ),
        Err(error) => FUNCTIONS.unknown(
            format!("cannot read its functions: {error}"),
            "Without them commands with uploaded files wait.",
            "Allow the user `operator` to run FUNCTION LIST, as deploy/redis/users.acl does.",
        ),
    }
}

fn text<'a>(info: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    info.get(name).map(String::as_str).unwrap_or_default()
}

fn number(info: &BTreeMap<String, String>, name: &str) -> Option<u64> {
    info.get(name)?.parse().ok()
}

fn evaluate_version(info: &BTreeMap<String, String>) -> Finding {
    let version = text(info, "redis_version");
    match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major >= 7 => VERSION.ok(format!("redis-server {version}")),
        Some(_) => VERSION.error(
            format!("redis-server {version} is older than 7"),
            "The sender extends the TTL of a file by PEXPIRE … GT, which older servers refuse: no message with a file is sent.",
            "Upgrade Redis to 7 or later.",
        ),
        None => VERSION.unknown("the server does not report its version", "", ""),
    }
}

fn evaluate_role(info: &BTreeMap<String, String>) -> Finding {
    match text(info, "role") {
        "master" => ROLE.ok("it accepts writes"),
        "" => ROLE.unknown("it does not report whether it accepts writes", "", ""),
        role => ROLE.error(
            format!("its role is {role}"),
            "It refuses every write: no file can be uploaded, and no TTL can be extended.",
            "Point IMCHANNEL_REDIS_URL at the primary.",
        ),
    }
}

fn evaluate_policy(info: &BTreeMap<String, String>) -> Finding {
    let policy = text(info, "maxmemory_policy");
    let evicted = number(info, "evicted_keys").unwrap_or(0);
    match policy {
        "" => POLICY.unknown("it does not report its eviction policy", "", ""),
        "noeviction" => POLICY.ok("it evicts nothing"),
        _ => POLICY.error(
            format!("maxmemory-policy is {policy}; {evicted} keys were evicted since its start"),
            "When memory runs out, Redis deletes files of messages in progress, and the BSP gets a 404 for them.",
            "Run `redis-cli config set maxmemory-policy noeviction`, and set it in the server's configuration too.",
        ),
    }
}

fn evaluate_memory(info: &BTreeMap<String, String>) -> Finding {
    let (Some(used), Some(max)) = (number(info, "used_memory"), number(info, "maxmemory")) else {
        return MEMORY.unknown("it does not report its memory use", "", "");
    };
    if max == 0 {
        return MEMORY.warning(
            format!("it uses {} and has no limit", bytes(used)),
            "Without maxmemory it grows until the system kills it, and all files are lost. With maxmemory, media answers uploads 507.",
            "Set maxmemory below the memory of the machine: 1.5 times the size of the files of a day.",
        );
    }
    let share = used as f64 / max as f64;
    let what = format!("it uses {} of {} ({})", bytes(used), bytes(max), percent(share));
    let why = "At its limit media answers every upload 507.";
    let remedy = "Raise maxmemory, or shorten the TTL of files (IMCHANNEL_MEDIA_TTL).";
    match share {
        _ if share > SHARE_WRONG => MEMORY.error(what, why, remedy),
        _ if share > SHARE_WARNING => MEMORY.warning(what, why, remedy),
        _ => MEMORY.ok(what),
    }
}

/// Either setting is accepted. The finding reports which one is set.
fn evaluate_persistence(info: &BTreeMap<String, String>) -> Finding {
    match text(info, "aof_enabled") {
        "1" => PERSISTENCE.ok("it has an append-only file: a restart keeps the files of messages"),
        _ => PERSISTENCE.ok(
            "it has no append-only file: a restart may lose files of messages, and commands that name them are rejected with MEDIA_NOT_FOUND",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nused_memory:10\r\nmaxmemory:100\r\n\
        maxmemory_policy:noeviction\r\n# Persistence\r\naof_enabled:0\r\n# Stats\r\nevicted_keys:0\r\n# Replication\r\nrole:master\r\n";

    fn levels(from: &str, to: &str) -> Vec<(&'static str, Level)> {
        let info = Ok(read(&INFO.replace(from, to)));
        let findings = evaluate(Some(&Ok(Redis { info, has_functions: Ok(true), clock: None })));
        let all = findings.iter().map(|found| (found.check, found.level));
        all.filter(|(_, level)| *level != Level::Ok).collect()
    }

    #[test]
    fn each_setting_is_evaluated() {
        assert_eq!(levels("", ""), []);
        assert_eq!(levels("noeviction", "allkeys-lru"), [("redis.policy", Level::Error)]);
        assert_eq!(levels("7.0.15", "6.2.1"), [("redis.version", Level::Error)]);
        assert_eq!(levels("role:master", "role:slave"), [("redis.role", Level::Error)]);
        assert_eq!(levels("maxmemory:100", "maxmemory:0"), [("redis.memory", Level::Warning)]);
        assert_eq!(levels("used_memory:10", "used_memory:80"), [("redis.memory", Level::Warning)]);
        assert_eq!(levels("used_memory:10", "used_memory:95"), [("redis.memory", Level::Error)]);
    }

    #[test]
    fn missing_functions_are_wrong_and_say_which_user_loads_them() {
        let found = evaluate_functions(&Ok(false));
        assert_eq!((found.check, found.level), ("redis.functions", Level::Error));
        assert!(found.remedy.contains("`provisioner`"), "{}", found.remedy);
        assert_eq!(evaluate_functions(&Ok(true)).level, Level::Ok);
        assert_eq!(evaluate_functions(&Err("NOPERM".to_owned())).level, Level::Unknown);
    }

    #[test]
    fn a_setting_that_must_not_be_read_is_unknown() {
        let refused =
            Redis { info: Err("NOPERM".to_owned()), has_functions: Err("NOPERM".to_owned()), clock: None };
        let findings = evaluate(Some(&Ok(refused)));
        assert_eq!((findings[1].check, findings[1].level), ("redis.policy", Level::Unknown));
        assert_eq!(evaluate(Some(&Err("refused".to_owned())))[0].level, Level::Error);
        assert_eq!(evaluate(None)[0].level, Level::Unknown);
    }
}
