//! Metrics that Linux reports for this process, under the names that every Prometheus client library uses
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>, read 2026-11-26).
//!
//! They are read from `/proc` at each scrape, which does not access a disk. A value that cannot be read is
//! omitted.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The unit of the times in `/proc/self/stat`, in ticks per second. Linux reports this value on every
/// architecture that has a Rust standard library (proc(5), `include/asm-generic/param.h`: `USER_HZ`).
const TICKS_PER_S: f64 = 100.0;

/// A registry of only these metrics: their names have no `imchannel` prefix.
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
            let help = "CPU time of the process, user and system, in seconds";
            let cpu = ConstCounter::new(seconds);
            cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        }
        for (name, help, value) in [
            (
                "process_start_time_seconds",
                "Start time of the process, in seconds since 1970",
                read.started_s,
            ),
            (
                "process_resident_memory_bytes",
                "Resident memory of the process, in bytes",
                read.resident_bytes,
            ),
            ("process_virtual_memory_bytes", "Virtual memory of the process, in bytes", read.virtual_bytes),
            ("process_open_fds", "Open files and connections of the process", read.open_fds),
            ("process_max_fds", "Maximum open files and connections of the process", read.max_fds),
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

/// Linux 6.2 and later report the number as the size of the folder. On older versions the entries are
/// counted.
fn open_files() -> Option<u64> {
    /// Folder of the open files of this process.
    const FOLDER: &str = "/proc/self/fd";
    let told = std::fs::metadata(FOLDER).ok()?.len();
    if told > 0 {
        return Some(told);
    }
    // The folder that is being read is one of the open files.
    Some((std::fs::read_dir(FOLDER).ok()?.count() as u64).saturating_sub(1))
}

/// CPU time, and the start time after the boot of the machine, in seconds, from `/proc/self/stat`. The name,
/// in brackets, may contain any character.
fn times(stat: &str) -> Option<(f64, f64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    // The first field here is the third field of proc(5).
    let field = |number: usize| rest.split(' ').nth(number - 3)?.parse::<f64>().ok();
    Some(((field(14)? + field(15)?) / TICKS_PER_S, field(22)? / TICKS_PER_S))
}

/// The number after this prefix of a line; `None` if it is `unlimited`.
fn number_after(text: &str, words: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(words))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc_are_read_by_position() {
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
