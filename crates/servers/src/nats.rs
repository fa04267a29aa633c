//! nats-server with JetStream.

use std::path::{Path, PathBuf};

use tokio::process::{Child, Command};

use crate::program::{self, StartError};

/// Name of the program.
const PROGRAM: &str = "nats-server";
/// File with its process id.
const PID_FILE: &str = "nats-server.pid";
/// File with its log.
const LOG_FILE: &str = "nats-server.log";
/// File with its configuration.
const CONFIG_FILE: &str = "nats-server.conf";

/// Options of a nats-server.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// Folder of its streams, log and state. Each server needs its own.
    pub folder: PathBuf,
    /// Its port on the loopback address; `None` for a free one.
    pub port: Option<u16>,
    /// A configuration file of the caller. It must set the storage folder (newer servers reject a second
    /// setting of it). The address and port of these options still apply.
    pub config: Option<PathBuf>,
    /// Limit of the server's file storage in bytes, if there is no configuration file. The server's default
    /// is three quarters of the free disk space.
    pub file_store_max: Option<u64>,
    /// Environment variables that its configuration refers to.
    pub environment: Vec<(String, String)>,
}

impl NatsOptions {
    /// Options of a server with JetStream and without authentication.
    pub fn open(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            port: None,
            config: None,
            file_store_max: None,
            environment: Vec::new(),
        }
    }
}

/// A running server.
///
/// # Examples
/// ```no_run
/// use servers::{NatsOptions, NatsServer};
///
/// # async fn example() -> Result<(), servers::StartError> {
/// let mut server = NatsServer::start(NatsOptions::open("/tmp/example")).await?;
/// println!("a server with JetStream on {}", server.url());
/// server.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    /// The options, with the absolute path of the folder and the actual port.
    options: NatsOptions,
    port: u16,
}

impl NatsServer {
    /// Starts a server and waits until it responds.
    ///
    /// # Errors
    /// [`StartError`] when it is not installed or does not start.
    pub async fn start(options: NatsOptions) -> Result<Self, StartError> {
        let folder = program::make_folder(&options.folder)?;
        program::stop_left_over(PROGRAM, &folder, &folder.join(PID_FILE)).await;
        let options = NatsOptions { folder, ..options };
        let (child, port) = launch(&options).await?;
        Ok(Self { child, options: NatsOptions { port: Some(port), ..options }, port })
    }

    /// Starts a server on `port` if it is free, otherwise on any free port. `file_store_max` limits its file storage,
    /// in bytes.
    ///
    /// # Errors
    /// [`StartError`] when it is not installed or does not start.
    pub async fn start_near(folder: PathBuf, port: u16, file_store_max: u64) -> Result<Self, StartError> {
        let folder = program::make_folder(&folder)?;
        // A killed gateway may have left a server behind that holds the port.
        program::stop_left_over(PROGRAM, &folder, &folder.join(PID_FILE)).await;
        let is_free = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.is_ok();
        let (port, file_store_max) = (is_free.then_some(port), Some(file_store_max));
        Self::start(NatsOptions { port, file_store_max, ..NatsOptions::open(folder) }).await
    }

    /// Waits until the server has exited, for any reason.
    pub async fn ended(&mut self) {
        let _ = self.child.wait().await;
    }

    /// URL for clients.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Contents of its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.options.folder.join(LOG_FILE)).unwrap_or_default()
    }

    /// The port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Id of its process; 0 once it has exited.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Stops the server gracefully.
    pub async fn stop(&mut self) {
        program::terminate(&mut self.child).await;
    }

    /// Kills the server as a crash would.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Suspends the server: it keeps its connections and does not respond until [`resume`](Self::resume).
    pub async fn suspend(&self) {
        let pid = self.child.id().unwrap_or_default();
        program::signal(pid, "STOP").await;
        program::until_suspended(pid).await;
    }

    /// Resumes a server after [`suspend`](Self::suspend).
    pub async fn resume(&self) {
        program::signal(self.child.id().unwrap_or_default(), "CONT").await;
    }

    /// Starts it again with its port and data, after [`stop`](Self::stop) or [`kill`](Self::kill).
    ///
    /// # Errors
    /// [`StartError`] when it does not start.
    pub async fn start_again(&mut self) -> Result<(), StartError> {
        let (child, _) = launch(&self.options).await?;
        self.child = child;
        Ok(())
    }
}

/// Version of the nats-server that would be started, such as `2.9.10`.
///
/// # Errors
/// [`StartError`] when it is not installed or cannot be run.
pub async fn version() -> Result<String, StartError> {
    let output = Command::new(program::find(PROGRAM)?).arg("--version").output().await;
    let output = output.map_err(|source| StartError::Spawn { program: PROGRAM, source })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.trim().rsplit([' ', 'v']).next().unwrap_or_default().to_owned())
}

/// Writes a configuration with the storage folder of the streams and the limit of its size in bytes, if there is one. NATS
/// accepts a JSON string as a quoted string. `deploy/nats/nats.conf` says why there is no cache of subjects.
fn write_config(file: &Path, store: &Path, file_store_max: Option<u64>) -> Result<(), StartError> {
    let store = serde_json::Value::from(store.to_string_lossy().into_owned());
    let limit = file_store_max.map(|max| format!(", max_file_store: {max}")).unwrap_or_default();
    let text = format!("disable_sublist_cache: true\njetstream {{ store_dir: {store}{limit} }}\n");
    std::fs::write(file, text).map_err(|source| StartError::Folder { folder: file.to_owned(), source })
}

async fn launch(options: &NatsOptions) -> Result<(Child, u16), StartError> {
    let folder = &options.folder;
    let ports_folder = folder.join("ports");
    let _ = std::fs::remove_dir_all(&ports_folder);
    program::make_folder(&ports_folder)?;
    let log = folder.join(LOG_FILE);
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    // -1 lets the server choose a free port, which it writes into the ports file.
    let port = options.port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
    let mut args = vec![
        "--addr".to_owned(),
        "127.0.0.1".to_owned(),
        "--port".to_owned(),
        port,
        "--ports_file_dir".to_owned(),
        ports_folder.to_string_lossy().into_owned(),
        "--pid".to_owned(),
        path(PID_FILE),
    ];
    if let Some(config) = &options.config {
        args.extend(["--config".to_owned(), config.to_string_lossy().into_owned()]);
        // The file's port for it may be in use by another server.
        args.extend(["--http_port", "-1"].map(str::to_owned));
    } else {
        write_config(&folder.join(CONFIG_FILE), &folder.join("jetstream"), options.file_store_max)?;
        args.extend(["--config".to_owned(), path(CONFIG_FILE)]);
    }
    let mut child = program::spawn(PROGRAM, &args, &options.environment, &log)?;
    // The name of the file contains the child's process id, so another server on the port cannot be mistaken
    // for the child.
    let ports_file = ports_folder.join(format!("nats-server_{}.ports", child.id().unwrap_or_default()));
    let ready = || async { answering_port(&ports_file).await };
    let port = program::wait_until(PROGRAM, &mut child, &log, ready).await?;
    Ok((child, port))
}

/// The port in the file, as soon as the file is written and the server accepts connections on it.
async fn answering_port(ports_file: &Path) -> Option<u16> {
    let text = std::fs::read(ports_file).ok()?;
    let ports: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let url = ports["nats"][0].as_str()?;
    let port = url.rsplit(':').next()?.parse().ok()?;
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    Some(port)
}
