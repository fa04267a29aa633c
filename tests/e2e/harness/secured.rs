//! A locked-down installation: NATS and Redis with the configuration of `deploy/`, and secrets of the command line.

use std::path::{Path, PathBuf};

use bus::{Bus, BusOptions, NkeySeed};
use servers::nats::{self, NatsOptions, NatsServer};
use servers::{RedisOptions, RedisServer};
use tempfile::TempDir;

use super::{Program, bus_options, run_cli_with};

/// The repository's own folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

pub(crate) struct Secured {
    pub(crate) nats: NatsServer,
    /// The other servers of its cluster.
    pub(crate) others: Vec<NatsServer>,
    pub(crate) redis: RedisServer,
    folder: TempDir,
}

impl Secured {
    pub(crate) async fn start() -> Self {
        Self::start_servers(1).await
    }

    /// The same with this number of NATS servers, which form a cluster if there are several.
    pub(crate) async fn start_servers(count: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let secrets = folder.path().join("secrets");
        let made =
            run_cli_with("", "imchannel", &["secrets", "generate", secrets.to_str().unwrap()], &[]).await;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let environment = std::fs::read_to_string(secrets.join("nats/users.env")).unwrap();
        let environment = environment.lines().filter_map(|line| line.split_once('='));
        let environment: Vec<_> = environment.map(|(name, key)| (name.to_owned(), key.to_owned())).collect();
        let routes: Vec<String> = (0..count).map(|_| free_address()).collect();
        let mut servers = Vec::new();
        for number in 0..count {
            let home = folder.path().join(format!("nats-{number}"));
            let config = nats_config(&home).await;
            if count > 1 {
                in_cluster(&config, number, &routes);
            }
            let options = NatsOptions {
                config: Some(config),
                environment: environment.clone(),
                ..NatsOptions::open(home)
            };
            servers.push(NatsServer::start(options).await.unwrap());
        }
        let acl = secrets.join("redis/users.acl").to_string_lossy().into_owned();
        let redis = RedisServer::start_with(RedisOptions {
            folder: folder.path().join("redis"),
            config: Some(root().join("deploy/redis/redis.conf")),
            args: vec!["--aclfile".to_owned(), acl],
        });
        let nats = servers.remove(0);
        Self { nats, others: servers, redis: redis.await.unwrap(), folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of the folder of secrets.
    pub(crate) fn secret_file(&self, name: &str) -> String {
        self.folder.path().join("secrets").join(name).to_string_lossy().into_owned()
    }

    pub(crate) fn secret(&self, name: &str) -> String {
        std::fs::read_to_string(self.secret_file(name)).unwrap().trim().to_owned()
    }

    pub(crate) fn seed(&self, user: &str) -> NkeySeed {
        NkeySeed::parse(&self.secret(&format!("nats/{user}.nk"))).unwrap()
    }

    /// Connects as one of the users.
    pub(crate) async fn bus(&self, name: &'static str, user: &str) -> Bus {
        let options = BusOptions { nkey: Some(self.seed(user)), ..bus_options(name, self.nats.url()) };
        Bus::connect_now(&options).await.unwrap()
    }

    /// The variables of a program with that user, and the Redis user of the same name if there is one.
    pub(crate) fn variables(&self, user: &str) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("IMCHANNEL_NATS_URL", self.nats.url()),
            ("IMCHANNEL_NATS_NKEY_FILE", self.secret_file(&format!("nats/{user}.nk"))),
            ("IMCHANNEL_SECRETS_DIR", self.secret_file("channels")),
        ];
        if matches!(user, "ingress" | "provisioner") {
            variables.push(("IMCHANNEL_CREDENTIAL_KEY_FILE", self.secret_file("credential.key")));
        }
        let password = self.secret_file(&format!("redis/{user}.password"));
        if Path::new(&password).exists() {
            variables
                .push(("IMCHANNEL_REDIS_URL", format!("redis://{user}@127.0.0.1:{}", self.redis.port())));
            variables.push(("IMCHANNEL_REDIS_PASSWORD_FILE", password));
        }
        variables
    }

    /// A service, with these additional variables.
    pub(crate) fn program(&self, service: &str, more: &[(&'static str, &str)]) -> Program {
        let variables = self.variables(service);
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .chain(more.iter().copied())
            .collect();
        Program::start_with_args(&format!("imchannel-{service}"), "", &[], &variables)
    }

    /// Runs a command as the operator or the provisioner; returns its output. It must succeed.
    pub(crate) async fn cli(&self, user: &str, args: &[&str]) -> String {
        let variables = self.variables(user);
        let mut variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        variables.push(("IMCHANNEL_INFOBIP_HOSTS", "127.0.0.1"));
        let output = run_cli_with("", "imchannel", args, &variables).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// What the NATS server has refused.
    pub(crate) fn refusals(&self) -> Vec<String> {
        self.nats.log().lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
    }
}

/// The configuration of `deploy/nats`, except the folder of the streams. nats-server 2.9 does not support all of it,
/// and gets only the users.
async fn nats_config(folder: &Path) -> PathBuf {
    let store = format!("store_dir: \"{}\"", folder.join("jetstream").display());
    let version = nats::version().await.unwrap();
    let text = if version.starts_with("2.9.") {
        format!("jetstream {{ {store} }}\ninclude users.conf\n")
    } else {
        let text = std::fs::read_to_string(root().join("deploy/nats/nats.conf")).unwrap();
        assert_eq!(text.matches("store_dir: /data").count(), 1);
        text.replace("store_dir: /data", &store)
    };
    std::fs::create_dir_all(folder).unwrap();
    std::fs::copy(root().join("deploy/nats/users.conf"), folder.join("users.conf")).unwrap();
    let config = folder.join("nats.conf");
    std::fs::write(&config, text).unwrap();
    config
}

/// The same configuration for one server of a cluster.
fn in_cluster(config: &Path, number: usize, routes: &[String]) {
    let text = std::fs::read_to_string(config).unwrap();
    let text = text.lines().filter(|line| !line.starts_with("server_name:")).collect::<Vec<_>>().join("\n");
    let listen = &routes[number];
    let routes: Vec<String> = routes.iter().map(|address| format!("\"nats://{address}\"")).collect();
    let routes = routes.join(", ");
    let cluster = format!(
        "server_name: server-{number}\ncluster {{ name: c, listen: \"{listen}\", routes: [{routes}] }}\n"
    );
    std::fs::write(config, cluster + &text).unwrap();
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
