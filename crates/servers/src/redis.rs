//! redis-server, as media needs it: nothing is evicted, and blobs live no longer than the server.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;

use crate::program::{self, StartError};

const PROGRAM: &str = "redis-server";
const PID_FILE: &str = "redis-server.pid";
/// Another process may take the port between our asking for a free one and the server's start.
const PORT_TRIES: usize = 5;

/// A running server.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl RedisServer {
    /// Starts a server on a free port of the loopback address and waits until it answers.
    ///
    /// # Errors
    /// [`StartError`] when it is not installed or does not come up.
    pub async fn start(folder: PathBuf) -> Result<Self, StartError> {
        let folder = program::make_folder(&folder)?;
        program::stop_left_over(PROGRAM, &folder, &folder.join(PID_FILE)).await;
        let mut tries = 1;
        loop {
            let port = free_port().await.map_err(|source| StartError::Spawn { program: PROGRAM, source })?;
            match launch(&folder, port).await {
                Err(StartError::NotStarted { .. }) if tries < PORT_TRIES => tries += 1,
                started => return started,
            }
        }
    }

    /// Starts it again on its port, empty, after it was stopped.
    ///
    /// # Errors
    /// [`StartError`] when it does not come up.
    pub async fn start_again(&mut self) -> Result<(), StartError> {
        *self = launch(&self.folder, self.port).await?;
        Ok(())
    }

    /// Waits until the server has ended, whatever the reason.
    pub async fn ended(&mut self) {
        let _ = self.child.wait().await;
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends the server in order.
    pub async fn stop(&mut self) {
        program::terminate(&mut self.child).await;
    }
}

async fn launch(folder: &Path, port: u16) -> Result<RedisServer, StartError> {
    let log = folder.join("redis-server.log");
    let args = [
        "--bind",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--dir",
        &folder.to_string_lossy(),
        "--save",
        "",
        "--appendonly",
        "no",
        "--maxmemory-policy",
        "noeviction",
        // The command line stays as it is, so that a left-over can be told by its folder.
        "--set-proc-title",
        "no",
        "--pidfile",
        &folder.join(PID_FILE).to_string_lossy(),
    ]
    .map(str::to_owned);
    let mut child = program::spawn(PROGRAM, &args, &log)?;
    let pid = child.id().unwrap_or_default();
    let ready = || async move { is_process(port, pid).await.then_some(()) };
    program::wait_until(PROGRAM, &mut child, &log, ready).await?;
    Ok(RedisServer { child, folder: folder.to_owned(), port })
}

async fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

/// Whether the server on the port is the process of that id.
async fn is_process(port: u16, pid: u32) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"INFO server\r\nQUIT\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    ask.await.is_ok_and(|answer| answer.contains(&format!("process_id:{pid}\r\n")))
}
