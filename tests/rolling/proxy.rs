//! haproxy in front of two ingress processes, with the file of `deploy/haproxy`.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::process::{Child, Command};

use crate::PART_LIMIT;
use crate::harness::secured::root;
use crate::harness::{Installation, Program, binary, within};

/// An address that is free, and stays free: below the ports that the system uses for outgoing connections (from 32,768
/// on), and never the same twice. The program that listens there starts later.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(16_000..30_000)));
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// The two ports of one replica, which its successor uses too.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) listen: String,
    pub(crate) admin: SocketAddr,
}

impl Place {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, listen: free_address().to_string(), admin: free_address() }
    }

    /// Ingress at these ports; `program` is its name, or a path of another version.
    pub(crate) fn ingress(&self, program: &str, installation: &Installation) -> Program {
        self.ingress_with(program, installation, &[])
    }

    /// The same with these additional variables.
    pub(crate) fn ingress_with(
        &self,
        program: &str,
        installation: &Installation,
        more: &[(&str, &str)],
    ) -> Program {
        let admin = self.admin.to_string();
        let listen = self.listen.as_str();
        // The drain delay as docker-compose.yml has it: longer than haproxy needs to detect it.
        let variables = if has_older_names(program) {
            [
                ("IMCHANNEL_LISTEN", listen),
                ("IMCHANNEL_DRAIN_DELAY_MS", "5000"),
                ("IMCHANNEL_PROXIES", "127.0.0.1"),
            ]
        } else {
            [
                ("IMCHANNEL_INGRESS_LISTEN", listen),
                ("IMCHANNEL_DRAIN_DELAY", "5s"),
                ("IMCHANNEL_TRUSTED_PROXIES", "127.0.0.1"),
            ]
        };
        let variables = [&variables[..], &[("IMCHANNEL_ADMIN_LISTEN", admin.as_str())], more].concat();
        Program::start(program, installation, &variables)
    }
}

/// Whether a program is of a version whose settings and commands had their first names, such as `IMCHANNEL_LISTEN` and
/// `imchannel simulate` without a subcommand.
pub(crate) fn has_older_names(program: &str) -> bool {
    let help = std::process::Command::new(binary(program)).arg("--help").env_clear().output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(!help.is_empty(), "{program} has no help");
    help.contains("--exposed-on")
}

/// haproxy with the file of `deploy/`, where names that only a container knows are replaced by addresses.
pub(crate) struct Proxy {
    pub(crate) webhooks: SocketAddr,
    admin: SocketAddr,
    _child: Child,
}

impl Proxy {
    pub(crate) fn start(folder: &Path, places: &[Place]) -> Self {
        let (webhooks, files, admin) = (free_address(), free_address(), free_address());
        let mut file = std::fs::read_to_string(root().join("deploy/haproxy/haproxy.cfg")).unwrap();
        let server = |place: &Place| {
            format!("  server {} {} check port {}", place.name, place.listen, place.admin.port())
        };
        let servers: Vec<String> = places.iter().map(server).collect();
        for (found, wanted) in [
            ("bind :8080", format!("bind {webhooks}")),
            ("bind :8081", format!("bind {files}")),
            ("bind :8404", format!("bind {admin}")),
            ("  server-template ingress 1-32 ingress:8080", servers.join("\n")),
            ("  server-template media 1-32 media:8081", "  server media 127.0.0.1:1".to_owned()),
        ] {
            assert_eq!(file.matches(found).count(), 1, "{found} in haproxy.cfg");
            file = file.replace(found, &wanted);
        }
        let path = folder.join("haproxy.cfg");
        std::fs::write(&path, file).unwrap();
        let search = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let child = Command::new("haproxy")
            .arg("-f")
            .arg(&path)
            .env("PATH", search)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        Self { webhooks, admin, _child: child.expect("haproxy is installed") }
    }

    /// Waits until it sends requests to a replica, or sends it none.
    pub(crate) async fn until(&self, place: &Place, is_up: bool) {
        let url = format!("http://{}/metrics", self.admin);
        let wanted = format!(
            "haproxy_server_status{{proxy=\"ingress\",server=\"{}\",state=\"UP\"}} {}",
            place.name,
            u8::from(is_up)
        );
        within(PART_LIMIT, &wanted, || async {
            let metrics = reqwest::get(&url).await.ok()?.text().await.ok()?;
            metrics.contains(&wanted).then_some(())
        })
        .await;
    }
}
