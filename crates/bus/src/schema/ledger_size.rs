//! Memory that the ledger of sends needs on a NATS server. A JetStream server keeps every subject of a stream in
//! memory, even if the stream is on disk, and each entry of the ledger is a separate subject.
//!
//! The figures are from `bench/measure/sizes.py` and `bench/measure/ledger_memory.py`; docs/operations.md has all of them.

/// Bytes on disk of a compact entry whose command is decided. Entries without an outcome are smaller, those of versions
/// without compact entries larger.
pub const ENTRY_BYTES: u64 = 430;

/// Memory of the server for each entry, in bytes, if `GOMEMLIMIT` is set to [`server_memory`]. Of these a server keeps 110
/// to 162 after a garbage collection: 162 (nats-server 2.9.10), 135 (2.10.27), 110 (2.15.1). The rest is for what it has
/// not collected yet.
pub const KEY_MEMORY_BYTES: u64 = 200;

/// Memory in bytes that a server needs in addition to the keys: the process, its buffers, the blocks of streams that it
/// reads and writes, and the message ids of 40 s. Under load it uses more as far as its limit allows.
pub const SERVER_MEMORY_BYTES: u64 = 256 * 1024 * 1024;

/// Memory in bytes that a server needs for a full ledger of `ledger_max_bytes` bytes.
pub fn server_memory(ledger_max_bytes: u64) -> u64 {
    ledger_max_bytes / ENTRY_BYTES * KEY_MEMORY_BYTES + SERVER_MEMORY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::streams::SENDS_MAX_BYTES_DEFAULT;

    const COMPOSE: &str = include_str!("../../../../docker-compose.yml");
    const VALUES: &str = include_str!("../../../../deploy/kubernetes/nats/values.yaml");
    const DEV_NATS: &str = include_str!("../../../../deploy/kubernetes/overlays/dev/nats.yaml");
    const DEV_SETUP: &str = include_str!("../../../../deploy/kubernetes/overlays/dev/setup.env");
    const PRODUCTION_SETUP: &str =
        include_str!("../../../../deploy/kubernetes/overlays/production/setup.env");
    /// Highest share of a container's memory for `GOMEMLIMIT`, which limits the heap and little else. The process needs
    /// the rest.
    const GO_SHARE_MAX: f64 = 0.85;

    /// Returns the text after `name` in the first line that contains it after `from`.
    fn value<'t>(text: &'t str, from: &str, name: &str) -> &'t str {
        let rest = text.split_once(from).unwrap_or_else(|| panic!("no {from:?}")).1;
        let rest = rest.split_once(name).unwrap_or_else(|| panic!("no {name:?} after {from:?}")).1;
        rest.lines().next().unwrap().trim().trim_end_matches('}')
    }

    /// `1536m`, `6Gi`, `1250MiB`, or the default of `${NAME:-1536m}`.
    fn bytes(text: &str) -> u64 {
        let text = text.rsplit(":-").next().unwrap().trim_end_matches('}');
        let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
        let unit: u64 = match &text[digits.len()..].to_ascii_lowercase()[..] {
            "" => 1,
            "m" | "mi" | "mib" => 1024 * 1024,
            "g" | "gi" | "gib" => 1024 * 1024 * 1024,
            other => panic!("{text}: {other}"),
        };
        digits.parse::<u64>().unwrap() * unit
    }

    fn fits(what: &str, ledger: u64, go_limit: u64, container: u64) {
        let need = server_memory(ledger);
        let mib = |bytes: u64| bytes / 1024 / 1024;
        assert!(
            need <= go_limit,
            "{what}: a full ledger of {} MiB needs {} MiB of memory, and GOMEMLIMIT is {} MiB",
            mib(ledger),
            mib(need),
            mib(go_limit)
        );
        assert!(
            go_limit as f64 <= container as f64 * GO_SHARE_MAX,
            "{what}: GOMEMLIMIT is {} MiB of {} MiB",
            mib(go_limit),
            mib(container)
        );
    }

    #[test]
    fn a_full_ledger_fits_the_memory_that_compose_and_kubernetes_give_nats() {
        let nats = "\n  nats:\n";
        let (go, container) = (value(COMPOSE, nats, "GOMEMLIMIT: "), value(COMPOSE, nats, "mem_limit: "));
        fits("docker-compose.yml", SENDS_MAX_BYTES_DEFAULT, bytes(go), bytes(container));

        let (go, container) = (value(VALUES, "", "GOMEMLIMIT: "), value(VALUES, "limits:", "memory: "));
        let requested = value(VALUES, "requests:", "memory: ");
        assert_eq!(bytes(requested), bytes(container), "NATS must request the memory of its limit");
        let ledger = bytes(value(PRODUCTION_SETUP, "", "IMCHANNEL_SENDS_MAX_SIZE="));
        fits("overlays/production", ledger, bytes(go), bytes(container));

        let (go, container) =
            (value(DEV_NATS, "GOMEMLIMIT", "value: "), value(DEV_NATS, "limits:", "memory: "));
        let ledger = bytes(value(DEV_SETUP, "", "IMCHANNEL_SENDS_MAX_SIZE="));
        fits("overlays/dev", ledger, bytes(go), bytes(container));
    }
}
