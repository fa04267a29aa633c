//! Starts a PostgreSQL server with a cluster of its own. The server refuses to run as root: then it runs as `daemon`.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::program::{self, StartError};

/// Name of the package, which the errors name.
const PROGRAM: &str = "postgresql";
/// Attempts to start: another process may take the port first, and processes of a killed server take a moment to end.
const START_TRIES: usize = 10;
/// The user instead of root.
const USER: &str = "daemon";

/// A running server.
#[derive(Debug)]
pub struct PostgresServer {
    child: Child,
    cluster: Cluster,
    port: u16,
}

/// The files of a server and the user that it runs as.
#[derive(Debug, Clone)]
struct Cluster {
    folder: PathBuf,
    /// Numbers of the user and group; `None` for the user of this process.
    user: Option<(u32, u32)>,
    args: Vec<String>,
}

impl PostgresServer {
    /// Makes a cluster in a folder, starts a server on a free port of the loopback address and waits until it responds. It
    /// trusts every connection as user `postgres`. `args` are further arguments of the server, such as `-c fsync=off`.
    ///
    /// # Errors
    /// [`StartError`] when it is not installed or does not start.
    pub async fn start(folder: PathBuf, args: Vec<String>) -> Result<Self, StartError> {
        let folder = program::make_folder(&folder)?;
        program::stop_left_over("postgres", &folder, &pid_file(&folder)).await;
        let cluster = Cluster { user: user(&folder).await?, folder, args };
        cluster.make().await?;
        let mut tries = 1;
        loop {
            let port = free_port().await.map_err(|source| StartError::Spawn { program: PROGRAM, source })?;
            match cluster.launch(port).await {
                Err(StartError::NotStarted { .. }) if tries < START_TRIES => tries += 1,
                started => return started,
            }
        }
    }

    /// Starts it again on its port, with its data, after it was stopped or killed.
    ///
    /// # Errors
    /// [`StartError`] when it does not start.
    pub async fn start_again(&mut self) -> Result<(), StartError> {
        let mut tries = 1;
        loop {
            match self.cluster.launch(self.port).await {
                Ok(started) => {
                    *self = started;
                    return Ok(());
                }
                Err(StartError::NotStarted { .. }) if tries < START_TRIES => {
                    tries += 1;
                    tokio::time::sleep(program::LOOK_AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Kills it, as a machine that fails does.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Stops the server at once; connections end and their transactions are undone.
    pub async fn stop(&mut self) {
        if let Some(pid) = self.child.id() {
            // SIGTERM would wait for the clients.
            program::signal(pid, "INT").await;
        }
        let _ = self.child.wait().await;
    }

    /// Writes a file into its data, such as `pg_hba.conf`, that only the server can read.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_file(&self, name: &str, text: &str) -> std::io::Result<()> {
        let path = self.cluster.data().join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        if let Some((user, group)) = self.cluster.user {
            chown(&path, Some(user), Some(group))?;
        }
        Ok(())
    }

    /// Makes it read its configuration again, which takes a moment.
    pub async fn reload(&self) {
        if let Some(pid) = self.child.id() {
            program::signal(pid, "HUP").await;
        }
    }

    /// URL of a database for clients. The database `postgres` is there.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// The port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Cluster {
    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    async fn make(&self) -> Result<(), StartError> {
        let data = self.data();
        if data.join("PG_VERSION").exists() {
            return Ok(());
        }
        let data_text = data.to_string_lossy();
        let args =
            ["-D", &data_text, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        let (binary, args) = self.command("initdb", &args.map(str::to_owned))?;
        let output = Command::new(binary).args(args).current_dir("/").output().await;
        let output = output.map_err(|source| StartError::Spawn { program: PROGRAM, source })?;
        if output.status.success() {
            return Ok(());
        }
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(StartError::NotStarted { program: PROGRAM, log })
    }

    /// The program and arguments that run one of PostgreSQL's programs as the cluster's user.
    fn command(
        &self,
        name: &'static str,
        args: &[String],
    ) -> Result<(&'static str, Vec<String>), StartError> {
        let binary = program::find(name).map_err(|_| StartError::NotInstalled(PROGRAM))?;
        let Some((user, group)) = self.user else { return Ok((name, args.to_vec())) };
        let mut all = vec![
            format!("--reuid={user}"),
            format!("--regid={group}"),
            "--clear-groups".to_owned(),
            binary.to_string_lossy().into_owned(),
        ];
        all.extend_from_slice(args);
        Ok(("setpriv", all))
    }

    async fn launch(&self, port: u16) -> Result<PostgresServer, StartError> {
        let folder = &self.folder;
        let log = folder.join("postgres.log");
        let data = self.data();
        let data_text = data.to_string_lossy();
        let mut args = ["-D", &data_text, "-p", &port.to_string(), "-k", &data_text, "-h", "127.0.0.1"]
            .map(str::to_owned)
            .to_vec();
        args.extend(["-c".to_owned(), format!("external_pid_file={}", pid_file(folder).display())]);
        args.extend(self.args.iter().cloned());
        let (program, args) = self.command("postgres", &args)?;
        let mut child = program::spawn(program, &args, &[], &log)?;
        let pid = child.id().unwrap_or_default();
        let state = data.join("postmaster.pid");
        let ready = || async { is_process(port, pid, &state).await.then_some(()) };
        program::wait_until(PROGRAM, &mut child, &log, ready).await?;
        Ok(PostgresServer { child, cluster: self.clone(), port })
    }
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("data").join("external.pid")
}

/// The user that the server runs as. As root: gives it the folder of the data.
async fn user(folder: &Path) -> Result<Option<(u32, u32)>, StartError> {
    let fail = |source| StartError::Folder { folder: folder.to_owned(), source };
    let data = folder.join("data");
    if data.is_dir() {
        // It was made by an earlier start.
        let owner = std::fs::metadata(&data).map_err(fail)?;
        let is_own = owner.uid() == std::fs::metadata(folder).map_err(fail)?.uid();
        return Ok((!is_own).then_some((owner.uid(), owner.gid())));
    }
    std::fs::create_dir(&data).map_err(fail)?;
    if std::fs::metadata(&data).map_err(fail)?.uid() != 0 {
        return Ok(None);
    }
    let (user, group) = (number("-u").await, number("-g").await);
    let (Some(user), Some(group)) = (user, group) else {
        return Err(StartError::NotStarted { program: PROGRAM, log: format!("there is no user {USER}") });
    };
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711)).map_err(fail)?;
    chown(&data, Some(user), Some(group)).map_err(fail)?;
    Ok(Some((user, group)))
}

/// The number of the user or its group.
async fn number(which: &str) -> Option<u32> {
    let output = Command::new("id").args([which, USER]).output().await.ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

async fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

/// Whether the process with this id responds on the port. It writes its state as the eighth line of its file.
async fn is_process(port: u16, pid: u32, state: &Path) -> bool {
    let text = std::fs::read_to_string(state).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.first() == Some(&pid.to_string().as_str())
        && lines.get(7) == Some(&"ready")
        && TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}
