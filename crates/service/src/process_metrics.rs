//! What Linux says of this process, under the names that every Prometheus client library uses
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>, looked at 2026-11-26).
//!
//! Read from `/proc` when somebody asks, which waits for no disk; what cannot be read is left out.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The unit of the times in `/proc/self/stat`, in ticks a second: what Linux shows user space on every architecture that Rust
/// has a standard library for (proc(5), `include/asm-generic/param.h`: `USER_HZ`).
const TICKS_PER_S: f64 = 100.0;

/// A registry of these alone: their names begin with no prefix of ours.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    registry
}

#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let read = Read::now();
        if let Some(seconds) = read.cpu_s {
            let help = "Time on the processor, user and system, in seconds";
            let cpu = ConstCounter::new(seconds);
            cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        }
        for (name, help, value) in [
            ("process_start_time_seconds", "When it was started, in seconds since 1970", read.started_s),
            ("process_resident_memory_bytes", "Memory that it holds, in bytes", read.resident_bytes),
            ("process_virtual_memory_bytes", "Addresses that it has reserved, in bytes", read.virtual_bytes),
            ("process_open_fds", "Files and connections that it has open", read.open_fds),
            ("process_max_fds", "Files and connections that it may have open", read.max_fds),
        ] {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[derive(Debug, Default, PartialEq)]
struct Read {
    cpu_s: Option<f64>,
    started_s: Option<f64>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
}

impl Read {
    fn now() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let status = text("/proc/self/status");
        let (cpu_s, since_boot_s) = times(&text("/proc/self/stat")).unzip();
        let booted_s = number_after(&text("/proc/stat"), "btime ");
        Self {
            cpu_s,
            started_s: booted_s.zip(since_boot_s).map(|(booted, since)| booted + since),
            resident_bytes: number_after(&status, "VmRSS:").map(|kib| kib * 1024.0),
            virtual_bytes: number_after(&status, "VmSize:").map(|kib| kib * 1024.0),
            open_fds: open_files().map(|open| open as f64),
            max_fds: number_after(&text("/proc/self/limits"), "Max open files "),
        }
    }
}

/// Linux 6.2 and later say how many there are in the size of the folder; before that they are counted.
fn open_files() -> Option<u64> {
    /// Folder of the open files of this process.
    const FOLDER: &str = "/proc/self/fd";
    let told = std::fs::metadata(FOLDER).ok()?.len();
    if told > 0 {
        return Some(told);
    }
    // The folder that is being read is one of them.
    Some((std::fs::read_dir(FOLDER).ok()?.count() as u64).saturating_sub(1))
}

/// Time on the processor and the start after the machine's, in seconds, of `/proc/self/stat`. The name, in brackets, may hold anything.
fn times(stat: &str) -> Option<(f64, f64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    // The third field of proc(5) is the first one here.
    let field = |number: usize| rest.split(' ').nth(number - 3)?.parse::<f64>().ok();
    Some(((field(14)? + field(15)?) / TICKS_PER_S, field(22)? / TICKS_PER_S))
}

/// The number after these words at the beginning of a line; none where it is `unlimited`.
fn number_after(text: &str, words: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(words))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc_are_read_by_their_places() {
        let stat = "77 (a ) b) S 1 77 77 0 -1 4194304 9 0 0 0 250 150 0 0 20 0 9 0 12300 1000 50";
        assert_eq!(times(stat), Some((4.0, 123.0)));
        assert_eq!(times(""), None);
        assert_eq!(number_after("Name:\tx\nVmRSS:\t  2048 kB\n", "VmRSS:"), Some(2048.0));
        assert_eq!(
            number_after("Max open files            unlimited  unlimited  files\n", "Max open files "),
            None
        );
    }

    #[test]
    fn this_process_is_measured() {
        let read = Read::now();
        assert!(read.open_fds >= Some(3.0) && read.max_fds > read.open_fds, "{read:?}");
        assert!(
            read.resident_bytes > Some(1024.0 * 1024.0) && read.virtual_bytes > read.resident_bytes,
            "{read:?}"
        );
        let now = jiff::Timestamp::now().as_second() as f64;
        let age = now - read.started_s.unwrap();
        assert!((-2.0..3600.0).contains(&age) && read.cpu_s.unwrap() <= 8.0 * (age + 3.0), "{read:?}");
    }
}
