//! Which CPUs each role of a measurement uses: the load generator, the servers (NATS, Redis) and the measured program.
//!
//! From four CPUs on, each role has its own, and the measured program has the fewest, so that it is what limits. On two or
//! three, only the load generator is pinned, to the first: servers and measured program need more than one CPU
//! together, and with one each the server would limit both sides of a pair and hide their difference.
//!
//! A process has the CPUs of the thread that starts it. [`Cpus::pin_thread`] sets those of a thread until its value is dropped.

use std::fmt;

/// From this number of CPUs on, each role has its own.
const SEPARATE_MIN: usize = 4;
/// CPUs that can be named here; others are not used.
const CPUS_MAX: usize = 128;

/// A set of CPUs; empty where the system cannot pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpus(u128);

impl Cpus {
    /// The CPUs that this process may use.
    pub(crate) fn available() -> Self {
        system::available()
    }

    fn of(numbers: impl IntoIterator<Item = usize>) -> Self {
        let known = numbers.into_iter().filter(|number| *number < CPUS_MAX);
        Self(known.fold(0, |mask, number| mask | (1 << number)))
    }

    fn numbers(self) -> impl Iterator<Item = usize> {
        (0..CPUS_MAX).filter(move |number| self.0 & (1 << number) != 0)
    }

    /// Each CPU as a set.
    pub(crate) fn each(self) -> impl Iterator<Item = Self> {
        let unpinned = (self.0 == 0).then_some(self);
        self.numbers().map(|number| Self::of([number])).chain(unpinned)
    }

    /// Pins this thread, and what it starts, until the value is dropped.
    pub(crate) fn pin_thread(self) -> Pinned {
        let before = system::available();
        system::pin(None, self);
        Pinned { before }
    }

    /// Pins all threads of this process. New threads have the CPUs of the thread that starts them.
    pub(crate) fn pin_process(self) {
        for thread in system::threads() {
            system::pin(Some(thread), self);
        }
    }
}

impl fmt::Display for Cpus {
    /// As `taskset -c` reads it: `0`, `0-1`, `0,2-3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for number in self.numbers() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        let shown = ranges
            .iter()
            .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
        let shown = shown.collect::<Vec<_>>().join(",");
        f.write_str(if shown.is_empty() { "any" } else { &shown })
    }
}

/// A thread that is pinned; it has the CPUs of before when this is dropped.
#[derive(Debug)]
pub(crate) struct Pinned {
    before: Cpus,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        system::pin(None, self.before);
    }
}

/// The CPUs of each role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) all: Cpus,
    pub(crate) load: Cpus,
    pub(crate) servers: Cpus,
    pub(crate) measured: Cpus,
}

impl Layout {
    /// The layout of a machine with these CPUs.
    pub(crate) fn of(all: Cpus) -> Self {
        let numbers: Vec<usize> = all.numbers().collect();
        if numbers.len() < SEPARATE_MIN {
            let load = Cpus::of(numbers.first().copied());
            return Self { all, load, servers: all, measured: all };
        }
        let quarter = numbers.len() / SEPARATE_MIN;
        let (load, rest) = numbers.split_at(quarter);
        let (servers, measured) = rest.split_at(rest.len() - quarter);
        let of = |numbers: &[usize]| Cpus::of(numbers.iter().copied());
        Self { all, load: of(load), servers: of(servers), measured: of(measured) }
    }

    /// All roles on all CPUs.
    pub(crate) fn shared(all: Cpus) -> Self {
        Self { all, load: all, servers: all, measured: all }
    }
}

#[cfg(target_os = "linux")]
mod system {
    //! sched_setaffinity(2).

    use rustix::process::Pid;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::{CPUS_MAX, Cpus};

    /// CPUs of the calling thread; none if the kernel does not say.
    pub(super) fn available() -> Cpus {
        let Ok(set) = sched_getaffinity(None) else { return Cpus::of([]) };
        Cpus::of((0..CPUS_MAX).filter(|number| set.is_set(*number)))
    }

    /// Pins a thread, or the calling one. A kernel that refuses leaves it where it is, which costs precision only.
    pub(super) fn pin(thread: Option<Pid>, cpus: Cpus) {
        let mut set = CpuSet::new();
        cpus.numbers().for_each(|number| set.set(number));
        let _ = sched_setaffinity(thread, &set);
    }

    /// The threads of this process.
    pub(super) fn threads() -> Vec<Pid> {
        let Ok(folder) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
        let ids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter_map(Pid::from_raw).collect()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    //! Systems on which nothing is pinned.

    use super::Cpus;

    pub(super) fn available() -> Cpus {
        Cpus::of([])
    }

    pub(super) fn pin(_thread: Option<()>, _cpus: Cpus) {}

    pub(super) fn threads() -> Vec<()> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(layout: Layout) -> [String; 3] {
        [layout.load, layout.servers, layout.measured].map(|cpus| cpus.to_string())
    }

    #[test]
    fn few_cpus_are_shared_and_many_are_divided() {
        assert_eq!(shown(Layout::of(Cpus::of([0]))), ["0", "0", "0"]);
        assert_eq!(shown(Layout::of(Cpus::of(0..2))), ["0", "0-1", "0-1"]);
        assert_eq!(shown(Layout::of(Cpus::of(0..4))), ["0", "1-2", "3"]);
        assert_eq!(shown(Layout::of(Cpus::of(0..9))), ["0-1", "2-6", "7-8"]);
        assert_eq!(shown(Layout::of(Cpus::of([]))), ["any", "any", "any"]);
        assert_eq!(shown(Layout::shared(Cpus::of(0..4))), ["0-3", "0-3", "0-3"]);
    }

    #[test]
    fn cpus_are_shown_as_taskset_reads_them() {
        assert_eq!(Cpus::of([0, 2, 3, 5, 6, 7]).to_string(), "0,2-3,5-7");
        assert_eq!(Cpus::of([1000]).to_string(), "any");
        assert_eq!(Cpus::of([3, 5]).each().map(|cpu| cpu.to_string()).collect::<Vec<_>>(), ["3", "5"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_has_the_cpus_of_the_thread_that_starts_it() {
        let all = Cpus::available();
        let one = all.each().last().expect("there is a CPU");
        let pinned = one.pin_thread();
        let output = std::process::Command::new("grep")
            .args(["Cpus_allowed_list", "/proc/self/status"])
            .output()
            .expect("grep runs");
        drop(pinned);
        let line = String::from_utf8(output.stdout).expect("text");
        assert_eq!(line.split_whitespace().last(), Some(one.to_string().as_str()), "{line}");
        assert_eq!(Cpus::available(), all, "the thread has its CPUs again");
    }
}
