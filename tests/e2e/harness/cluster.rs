//! Three nats-servers in one cluster, each with the limit of deploy/kubernetes/nats.

use std::net::TcpListener;
use std::time::Duration;

use async_nats::jetstream::stream;
use servers::{NatsOptions, NatsServer};
use tempfile::TempDir;

/// How long a cluster may take until every server is a member of it.
const JOIN_LIMIT: Duration = Duration::from_secs(15);

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
        let mut cluster = Self { servers, _folder: folder };
        cluster.join().await;
        cluster
    }

    /// Waits until streams can have three replicas. nats-server 2.10.27 leaves a server out of one new cluster in a hundred: two stood for
    /// election at the same time, and the leader never counts the other. That one's restart helps.
    async fn join(&mut self) {
        for number in 0..self.servers.len() {
            if takes_replicas(&self.servers[0].url()).await {
                return;
            }
            self.servers[number].stop().await;
            self.servers[number].start_again().await.unwrap();
        }
        assert!(
            takes_replicas(&self.servers[0].url()).await,
            "the servers form no cluster: {}",
            self.servers[0].log()
        );
    }
}

/// Whether a stream with three replicas can be created, within [`JOIN_LIMIT`].
async fn takes_replicas(url: &str) -> bool {
    let config = stream::Config {
        name: "PROBE".to_owned(),
        num_replicas: 3,
        storage: stream::StorageType::Memory,
        ..stream::Config::default()
    };
    let made = async {
        let jetstream = async_nats::jetstream::new(async_nats::connect(url).await.ok()?);
        while jetstream.create_stream(config.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        jetstream.delete_stream(&config.name).await.ok()
    };
    tokio::time::timeout(JOIN_LIMIT, made).await.is_ok_and(|made| made.is_some())
}
