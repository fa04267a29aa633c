//! Starts redis-server with the settings that media needs: it evicts nothing, and its data ends with the
//! server.

use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;

use crate::program::{self, StartError};

/// Name of the program.
const PROGRAM: &str = "redis-server";
/// File with its process id.
const PID_FILE: &str = "redis-server.pid";
/// Attempts to start with a free port: another process may take the port before the server does.
const PORT_TRIES: usize = 5;

/// A running server.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    options: RedisOptions,
    port: u16,
}

/// Options of a redis-server.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Folder of its log and state. Each server needs its own.
    pub folder: PathBuf,
    /// A configuration file of the caller. It sets everything except address, port and folder.
    pub config: Option<PathBuf>,
    /// Further arguments, such as `--aclfile FILE`. The word `PORT` is replaced by its port.
    pub args: Vec<String>,
}

impl RedisServer {
    /// Starts a server on a free port of the loopback address and waits until it responds.
    ///
    /// # Errors
    /// [`StartError`] when it is not installed or does not start.
    pub async fn start(folder: PathBuf) -> Result<Self, StartError> {
        Self::start_with(RedisOptions { folder, config: None, args: Vec::new() }).await
    }

    /// Starts a server with options.
    ///
    /// # Errors
    /// [`StartError`] when it is not installed or does not start.
    pub async fn start_with(options: RedisOptions) -> Result<Self, StartError> {
        let folder = program::make_folder(&options.folder)?;
        program::stop_left_over(PROGRAM, &folder, &folder.join(PID_FILE)).await;
        let options = RedisOptions { folder, ..options };
        let mut tries = 1;
        loop {
            let port = free_port().await.map_err(|source| StartError::Spawn { program: PROGRAM, source })?;
            match launch(&options, port).await {
                Err(StartError::NotStarted { .. }) if tries < PORT_TRIES => tries += 1,
                started => return started,
            }
        }
    }

    /// Starts it again on its port, without data, after it was stopped.
    ///
    /// # Errors
    /// [`StartError`] when it does not start.
    pub async fn start_again(&mut self) -> Result<(), StartError> {
        *self = launch(&self.options, self.port).await?;
        Ok(())
    }

    /// Waits until the server has exited, for any reason.
    pub async fn ended(&mut self) {
        let _ = self.child.wait().await;
    }

    /// URL for clients.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server gracefully.
    pub async fn stop(&mut self) {
        program::terminate(&mut self.child).await;
    }
}

async fn launch(options: &RedisOptions, port: u16) -> Result<RedisServer, StartError> {
    let folder = &options.folder;
    let log = folder.join("redis-server.log");
    let pid_file = folder.join(PID_FILE);
    let _ = std::fs::remove_file(&pid_file);
    let port_text = port.to_string();
    let mut args: Vec<String> =
        options.config.iter().map(|config| config.to_string_lossy().into_owned()).collect();
    if args.is_empty() {
        let ours = ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"];
        args.extend(ours.map(str::to_owned));
    }
    args.extend(
        [
            "--bind",
            "127.0.0.1",
            "--port",
            &port_text,
            "--dir",
            &folder.to_string_lossy(),
            // Keep the command line unchanged, so that `stop_left_over` can identify the server by its
            // folder.
            "--set-proc-title",
            "no",
            "--pidfile",
            &pid_file.to_string_lossy(),
        ]
        .map(str::to_owned),
    );
    args.extend(options.args.iter().map(|arg| arg.replace("PORT", &port_text)));
    let mut child = program::spawn(PROGRAM, &args, &[], &log)?;
    let pid = child.id().unwrap_or_default();
    let ready = || async { is_process(port, pid, &pid_file).await.then_some(()) };
    program::wait_until(PROGRAM, &mut child, &log, ready).await?;
    Ok(RedisServer { child, options: options.clone(), port })
}

async fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

/// Whether the process with this id listens on the port. It writes its pid file when it listens, and exits
/// when it cannot.
async fn is_process(port: u16, pid: u32, pid_file: &Path) -> bool {
    let written = std::fs::read_to_string(pid_file).unwrap_or_default();
    written.trim() == pid.to_string() && TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}
