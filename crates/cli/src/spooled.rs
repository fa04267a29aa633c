//! The spool of ingress, as `top` and `doctor` see it: what each process reports in its metrics, and the folder itself if it is on
//! this machine. What follows from it is left to them.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

/// Prefix of the metrics.
const PREFIX: &str = "imchannel_ingress_spool_";

/// The spool of one ingress, from its metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spooled {
    /// Webhooks that wait in it for NATS.
    pub(crate) entries: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Age of the oldest, in seconds.
    pub(crate) oldest_age_s: u64,
    /// Bytes on disk, and how many there may be.
    pub(crate) size_bytes: u64,
    pub(crate) limit_bytes: u64,
    /// Whether it takes webhooks now.
    pub(crate) is_usable: bool,
    /// Records that were kept aside since the process started.
    pub(crate) aside: u64,
}

/// Reads the metrics of a service; `None` if it has no spool.
pub(crate) fn read(metrics: &str) -> Option<Spooled> {
    let limit_bytes = sum(metrics, "limit_bytes");
    if limit_bytes == 0 {
        return None;
    }
    Some(Spooled {
        entries: sum(metrics, "entries"),
        bytes: sum(metrics, "bytes"),
        oldest_age_s: sum(metrics, "oldest_age_seconds"),
        size_bytes: sum(metrics, "size_bytes"),
        limit_bytes,
        is_usable: sum(metrics, "usable") == 1,
        aside: sum(metrics, "aside_total"),
    })
}

/// The sum of a metric over its labels; 0 if a version does not have it.
fn sum(metrics: &str, name: &str) -> u64 {
    let of_metric = |line: &str| -> Option<f64> {
        let rest = line.strip_prefix(PREFIX)?.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.split_once("} ")?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split(' ').next()?.parse().ok()
    };
    metrics.lines().filter_map(of_metric).sum::<f64>() as u64
}

/// A sub-folder of the spool, which one process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Its name.
    pub(crate) number: u32,
    /// Whether a process holds it.
    pub(crate) has_owner: bool,
    /// Webhooks in it, and their bytes.
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// Age of the oldest one.
    pub(crate) oldest: Option<Duration>,
    /// Whether another version of imchannel has written it.
    pub(crate) is_of_another_version: bool,
}

impl Folder {
    /// Whether it has webhooks and no process.
    pub(crate) fn is_abandoned(&self) -> bool {
        !self.has_owner && self.entries > 0
    }
}

/// Reads the folder of a spool on this machine. It changes nothing.
///
/// # Errors
/// If it cannot be read.
pub(crate) async fn read_folders(folder: PathBuf) -> anyhow::Result<Vec<Folder>> {
    let states = tokio::task::spawn_blocking(move || spool::inspect(&folder)).await??;
    let now_ms = Timestamp::now().as_millisecond();
    let age = |since_ms: i64| Duration::from_millis(u64::try_from(now_ms - since_ms).unwrap_or_default());
    let folder = |state: spool::FolderState| Folder {
        number: state.number,
        has_owner: state.has_owner,
        entries: state.entries,
        bytes: state.bytes,
        oldest: state.oldest_ms.map(age),
        is_of_another_version: matches!(state.format, spool::Format::Unknown(_)),
    };
    Ok(states.into_iter().map(folder).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ingress_with_a_spool_has_one() {
        let metrics = "# TYPE imchannel_ingress_spool_entries gauge\n\
             imchannel_ingress_spool_entries 120\n\
             imchannel_ingress_spool_bytes 65536\n\
             imchannel_ingress_spool_oldest_age_seconds 95\n\
             imchannel_ingress_spool_size_bytes 70000\n\
             imchannel_ingress_spool_limit_bytes 1073741824\n\
             imchannel_ingress_spool_usable 1\n\
             imchannel_ingress_spool_aside_total{reason=\"unreadable\"} 2\n\
             imchannel_ingress_spool_aside_total{reason=\"unpublishable\"} 1\n\
             imchannel_ingress_spool_spooled_total{bsp=\"twilio\"} 500\n";
        let spooled = read(metrics).unwrap();
        let expected = Spooled {
            entries: 120,
            bytes: 65536,
            oldest_age_s: 95,
            size_bytes: 70000,
            limit_bytes: 1 << 30,
            is_usable: true,
            aside: 3,
        };
        assert_eq!(spooled, expected);
        assert_eq!(read(&metrics.replace("limit_bytes 1073741824", "limit_bytes 0")), None, "it has none");
        assert_eq!(read("imchannel_build_info{program=\"imchannel-media\"} 1\n"), None);
    }
}
