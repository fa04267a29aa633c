//! CPU time of a process.

use std::time::Duration;

/// Duration of a tick of `/proc/PID/stat`: Linux reports hundredths of a second (`USER_HZ`) on every processor.
const TICK: Duration = Duration::from_millis(10);

/// CPU time that a process has used, in user and system mode; zero if the system does not report it.
pub(crate) fn of_process(pid: u32) -> Duration {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default())
}

/// Fields 14 and 15 of proc_pid_stat(5). The second field, a name in parentheses, may have spaces.
fn parse(text: &str) -> Duration {
    let (_, fields) = text.rsplit_once(')').unwrap_or_default();
    let ticks: u32 =
        fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    TICK * ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let text = "17 (a) b (c) S 1 17 17 0 -1 4194560 1 2 3 4 150 25 7 7 20 0 1 0 99";
        assert_eq!(parse(text), Duration::from_millis(1750));
        assert_eq!(parse(""), Duration::ZERO);
    }

    #[test]
    fn this_process_has_used_some() {
        let pid = std::process::id();
        let before = of_process(pid);
        while of_process(pid) == before {
            std::hint::spin_loop();
        }
    }
}
