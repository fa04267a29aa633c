//! Finds, starts and stops a server program.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// Folders of server programs that are not in every user's `PATH`.
const MORE_FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin"];
/// Folder of Debian's versions of PostgreSQL, whose programs are in no `PATH`.
const POSTGRES_FOLDER: &str = "/usr/lib/postgresql";
/// Timeout of the start of a server, until it first responds.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(20);
/// Timeout of a server's exit after a stop signal.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Timeout of suspending a process.
const SUSPEND_LIMIT: Duration = Duration::from_secs(5);
/// Interval of the checks whether a condition holds.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program is not installed.
    #[error(
        "{0} is not installed (Debian: apt-get install {0}; macOS: brew install nats-server redis postgresql)"
    )]
    NotInstalled(&'static str),
    /// Its folder is not usable.
    #[error("cannot use folder {folder}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It could not be run.
    #[error("cannot run {program}")]
    Spawn {
        /// The program.
        program: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It exited or did not respond. The text is the end of its log.
    #[error("{program} did not start: {log}")]
    NotStarted {
        /// The program.
        program: &'static str,
        /// The end of its log.
        log: String,
    },
}

/// Path of a program.
pub(crate) fn find(program: &'static str) -> Result<PathBuf, StartError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(MORE_FOLDERS.iter().map(PathBuf::from));
    let mut candidates = folders.chain(postgres_folders()).map(|folder| folder.join(program));
    candidates.find(|candidate| candidate.is_file()).ok_or(StartError::NotInstalled(program))
}

/// The folders of PostgreSQL's programs, the latest version first.
fn postgres_folders() -> Vec<PathBuf> {
    let versions = std::fs::read_dir(POSTGRES_FOLDER).into_iter().flatten().flatten();
    let number = |name: std::ffi::OsString| name.to_string_lossy().parse::<u32>().ok();
    let mut versions: Vec<u32> = versions.filter_map(|version| number(version.file_name())).collect();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    versions.into_iter().map(|version| Path::new(POSTGRES_FOLDER).join(format!("{version}/bin"))).collect()
}

/// Creates a folder and returns its absolute path. The server's command line contains this path, which
/// identifies the server.
pub(crate) fn make_folder(folder: &Path) -> Result<PathBuf, StartError> {
    let made = std::fs::create_dir_all(folder).and_then(|()| folder.canonicalize());
    made.map_err(|source| StartError::Folder { folder: folder.to_owned(), source })
}

/// Runs a program that writes its output to `log`. Dropping the handle kills the program.
pub(crate) fn spawn(
    program: &'static str,
    args: &[String],
    environment: &[(String, String)],
    log: &Path,
) -> Result<Child, StartError> {
    let binary = find(program)?;
    let fail = |source| StartError::Spawn { program, source };
    let output = std::fs::File::create(log).map_err(fail)?;
    let errors = output.try_clone().map_err(fail)?;
    let mut command = Command::new(binary);
    command
        .args(args)
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .kill_on_drop(true);
    // Use a separate process group: Ctrl-C in a terminal then stops the gateway first and the servers after
    // it.
    command.process_group(0);
    command.spawn().map_err(fail)
}

/// Waits until `ready` returns a value, the child exits, or the timeout passes.
pub(crate) async fn wait_until<T, F: Future<Output = Option<T>>>(
    program: &'static str,
    child: &mut Child,
    log: &Path,
    ready: impl Fn() -> F,
) -> Result<T, StartError> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Some(value) = ready().await {
            return Ok(value);
        }
        if Instant::now() > deadline || !matches!(child.try_wait(), Ok(None)) {
            return Err(StartError::NotStarted { program, log: tail(log) });
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

/// Asks a child to exit and waits for it. Kills it after a timeout.
pub(crate) async fn terminate(child: &mut Child) {
    if let Some(pid) = child.id() {
        signal(pid, "TERM").await;
        if timeout(STOP_LIMIT, child.wait()).await.is_ok() {
            return;
        }
    }
    let _ = child.kill().await;
}

/// Stops a server that a killed gateway left behind: two servers on one folder destroy its data. The process
/// in the pid file is stopped only if its command line contains this program and this folder.
pub(crate) async fn stop_left_over(program: &str, folder: &Path, pid_file: &Path) {
    let Some(pid) = std::fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<u32>().ok())
    else {
        return;
    };
    if is_ours(pid, program, folder).await {
        signal(pid, "TERM").await;
        let deadline = Instant::now() + START_LIMIT;
        while is_ours(pid, program, folder).await && Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
        }
    }
    let _ = std::fs::remove_file(pid_file);
}

/// Checks /proc, or ps(1) on systems without /proc.
async fn is_ours(pid: u32, program: &str, folder: &Path) -> bool {
    let line = if Path::new("/proc/self").exists() {
        std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
    } else {
        let output = Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()]).output().await;
        output.map(|output| output.stdout).unwrap_or_default()
    };
    let line = String::from_utf8_lossy(&line);
    line.contains(program) && line.contains(&*folder.to_string_lossy())
}

/// Sends a signal with the shell's builtin `kill`: not every machine has the program `kill`.
pub(crate) async fn signal(pid: u32, name: &str) {
    let _ = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &pid.to_string()]).status().await;
}

/// Waits until every thread of a process is suspended: the signal reaches them one after the other, and until then they
/// respond. Where the system does not show its threads (macOS), it does not wait.
pub(crate) async fn until_suspended(pid: u32) {
    let until = Instant::now() + SUSPEND_LIMIT;
    while has_running_thread(pid) && Instant::now() < until {
        sleep(LOOK_AGAIN).await;
    }
}

fn has_running_thread(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let stats =
        threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    // The state is the first word behind the name, which is in parentheses.
    stats
        .into_iter()
        .any(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')))
}
