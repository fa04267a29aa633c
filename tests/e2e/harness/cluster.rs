//! Three nats-servers in one cluster, each with the limit of deploy/kubernetes/nats.

use std::net::TcpListener;

use servers::{NatsOptions, NatsServer};
use tempfile::TempDir;

/// The cluster; its servers are named `n0`, `n1` and `n2`.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<NatsServer>,
    _folder: TempDir,
}

/// Ports that were free a moment ago. All are bound before any is released, so that all are different.
fn free_ports(count: usize) -> Vec<u16> {
    let bound: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    bound.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let ports = free_ports(3);
        let routes: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let mut servers = Vec::new();
        for (number, port) in ports.iter().enumerate() {
            let home = folder.path().join(format!("n{number}"));
            std::fs::create_dir_all(&home).unwrap();
            let config = home.join("nats.conf");
            let text = format!(
                "server_name: n{number}\njetstream {{ store_dir: \"{}\", max_file_store: 28GB }}\n\
                 cluster {{ name: tests, listen: \"127.0.0.1:{port}\", routes: [{}] }}\n",
                home.join("jetstream").display(),
                routes.join(", ")
            );
            std::fs::write(&config, text).unwrap();
            let options = NatsOptions { config: Some(config), ..NatsOptions::open(home) };
            servers.push(NatsServer::start(options).await.unwrap());
        }
        Self { servers, _folder: folder }
    }
}
