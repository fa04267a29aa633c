//! TLS by settings: NATS, Redis and both HTTP ports, with a certificate of a test CA; and a renewed certificate, which
//! is used without a restart.

use std::path::{Path, PathBuf};

use blob::{BlobStore, RedisOptions as RedisClient};
use bus::{Bus, BusOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use servers::{NatsOptions, NatsServer, RedisOptions, RedisServer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Installation, Program, bus_options, eventually, within};

/// A CA, and a folder of files that it has signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, folder: TempDir::new().unwrap() };
        std::fs::write(authority.file("ca.pem"), authority.issuer.pem()).unwrap();
        authority.sign();
        authority
    }

    /// Writes a new certificate for this machine in place of the last one.
    fn sign(&self) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file("server.pem"), certificate.pem()).unwrap();
        std::fs::write(self.file("server.key"), key.serialize_pem()).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.file(name).to_string_lossy().into_owned()
    }

    /// A client that trusts the CA.
    fn client(&self) -> reqwest::Client {
        let pem = std::fs::read(self.file("ca.pem")).unwrap();
        let certificate = reqwest::Certificate::from_pem(&pem).unwrap();
        reqwest::Client::builder().add_root_certificate(certificate).tls_info(true).build().unwrap()
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_accepts_only_tls_clients_that_trust_its_ca() {
    service::process::install_crypto_provider();
    let authority = Authority::new();
    let config = authority.file("nats.conf");
    let tls = format!(
        "jetstream {{ store_dir: \"{}\" }}\ntls {{ cert_file: \"{}\", key_file: \"{}\" }}\n",
        authority.text("jetstream"),
        authority.text("server.pem"),
        authority.text("server.key")
    );
    std::fs::write(&config, tls).unwrap();
    let options = NatsOptions { config: Some(config), ..NatsOptions::open(authority.file("nats")) };
    let nats = NatsServer::start(options).await.unwrap();
    let url = nats.url().replace("nats://", "tls://");
    assert!(Bus::connect_now(&bus_options("test", &*url)).await.is_err(), "an unknown authority is refused");
    let known = BusOptions { ca_file: Some(authority.file("ca.pem")), ..bus_options("test", &*url) };
    let bus = Bus::connect_now(&known).await.unwrap();
    bus::provision::apply(&bus, &bus::streams::StreamSettings::default()).await.unwrap();
    // The same by the settings of a program.
    let ca = authority.text("ca.pem");
    let variables = [("IMCHANNEL_NATS_URL", url.as_str()), ("IMCHANNEL_NATS_CA_FILE", &ca)];
    let mut stranger = Program::start_with_args("imchannel-normalizer", "", &[], &variables[..1]);
    stranger.line_with("no connection to NATS").await;
    let mut normalizer = Program::start_with_args("imchannel-normalizer", "", &[], &variables);
    normalizer.line_with("the streams have what this service needs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_accepts_only_tls_clients_that_trust_its_ca() {
    service::process::install_crypto_provider();
    let authority = Authority::new();
    let args = [
        ("--tls-port", "PORT"),
        ("--port", "0"),
        ("--tls-cert-file", &authority.text("server.pem")),
        ("--tls-key-file", &authority.text("server.key")),
        ("--tls-ca-cert-file", &authority.text("ca.pem")),
        ("--tls-auth-clients", "no"),
    ];
    let args = args.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_owned()]);
    let options = RedisOptions { folder: authority.file("redis"), config: None, args: args.collect() };
    let redis = RedisServer::start_with(options).await.unwrap();
    let url = format!("rediss://127.0.0.1:{}", redis.port());
    let stranger = BlobStore::new(&RedisClient::at(&*url)).unwrap();
    assert!(stranger.ping().await.is_err(), "an unknown authority is refused");
    let plain = BlobStore::new(&RedisClient::at(redis.url())).unwrap();
    assert!(plain.ping().await.is_err(), "nothing is said in clear");
    let known = RedisClient { ca_file: Some(authority.file("ca.pem")), ..RedisClient::at(url) };
    BlobStore::new(&known).unwrap().ping().await.unwrap();
}

/// The certificate that a port shows, by its DER.
async fn shown(url: &str, authority: &Authority) -> Option<Vec<u8>> {
    let answer = authority.client().get(url).send().await.ok()?;
    let info = answer.extensions().get::<reqwest::tls::TlsInfo>()?;
    info.peer_certificate().map(<[u8]>::to_vec)
}

#[tokio::test(flavor = "multi_thread")]
async fn ingress_and_media_speak_https_and_take_up_a_renewed_certificate() {
    service::process::install_crypto_provider();
    let authority = Authority::new();
    let installation = Installation::start().await;
    let redis = RedisServer::start(installation.folder().join("redis")).await.unwrap();
    let (certificate, key) = (authority.text("server.pem"), authority.text("server.key"));
    let redis_url = redis.url();
    let variables = [
        ("IMCHANNEL_TLS_CERTIFICATE_FILE", certificate.as_str()),
        ("IMCHANNEL_TLS_KEY_FILE", &key),
        ("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0"),
        ("IMCHANNEL_MEDIA_LISTEN", "127.0.0.1:0"),
        ("IMCHANNEL_REDIS_URL", &redis_url),
        ("IMCHANNEL_MEDIA_PUBLIC_URL", "https://media.example"),
        ("IMCHANNEL_MEDIA_UPLOAD_TOKEN", "a-token-of-sixteen-and-more"),
    ];
    let mut ingress = Program::start("imchannel-ingress", &installation, &variables[..3]);
    let mut media = Program::start("imchannel-media", &installation, &variables);
    let ingress = ingress.address_after("accepts webhooks on").await;
    let media_address = media.address_after("accepts and serves files on").await;

    let webhook = format!("https://{ingress}/social/on/whatsapp/infobip/report/202105102694809992");
    let post = |client: reqwest::Client| {
        let post = client.post(&webhook).header("AccountKey", "infobip-secret");
        post.header("content-type", "application/json").body("{\"results\":[]}").send()
    };
    let client = authority.client();
    eventually("a webhook is stored", || async {
        (post(client.clone()).await.ok()?.status() == 200).then_some(())
    })
    .await;
    assert!(post(reqwest::Client::new()).await.is_err(), "a client that does not know the authority");
    assert!(client.get(webhook.replace("https", "http")).send().await.is_err(), "HTTP on the port of HTTPS");

    let file = format!("https://{media_address}/tenantname/imchannel/getImageMessage/none");
    let before = eventually("media answers", || shown(&file, &authority)).await;
    authority.sign();
    within(std::time::Duration::from_secs(40), "media shows the renewed certificate", || async {
        (shown(&file, &authority).await? != before).then_some(())
    })
    .await;
    // One new file of a pair does not match the other old one: the port keeps its certificate.
    std::fs::write(text(Path::new(&key)), "no key").unwrap();
    media.line_within(std::time::Duration::from_secs(40), "the old one stays in use").await;
    assert!(shown(&file, &authority).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_tls_files_stop_the_start_with_their_fault() {
    let authority = Authority::new();
    let other = Authority::new();
    let (certificate, other_key) = (authority.text("server.pem"), other.text("server.key"));
    for (variables, fault) in [
        (vec![("IMCHANNEL_TLS_CERTIFICATE_FILE", certificate.as_str())], "must be set together"),
        (
            vec![
                ("IMCHANNEL_TLS_CERTIFICATE_FILE", certificate.as_str()),
                ("IMCHANNEL_TLS_KEY_FILE", &other_key),
            ],
            "invalid certificate or key",
        ),
        (
            vec![("IMCHANNEL_TLS_CERTIFICATE_FILE", "/nowhere.pem"), ("IMCHANNEL_TLS_KEY_FILE", &other_key)],
            "cannot read /nowhere.pem",
        ),
    ] {
        let output =
            crate::harness::run_cli_with("nats://127.0.0.1:1", "imchannel-ingress", &[], &variables).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(fault), "{said}");
    }
}

/// A TLS connection to a port, with no request on it yet.
async fn connect(address: &str, authority: &Authority) -> tokio_rustls::client::TlsStream<TcpStream> {
    let pem = std::fs::read(authority.file("ca.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
}

/// Load balancers open connections in advance, and probe ports without sending anything. Neither is a slow request.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_may_rest_before_its_first_request_and_a_silent_one_does_not_hold_up_a_stop() {
    service::process::install_crypto_provider();
    let authority = Authority::new();
    let installation = Installation::start().await;
    let (certificate, key) = (authority.text("server.pem"), authority.text("server.key"));
    let variables = [
        ("IMCHANNEL_TLS_CERTIFICATE_FILE", certificate.as_str()),
        ("IMCHANNEL_TLS_KEY_FILE", &key),
        ("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0"),
        ("IMCHANNEL_HEADER_TIMEOUT", "500ms"),
        ("IMCHANNEL_SHUTDOWN_GRACE_PERIOD", "1m"),
    ];
    let mut ingress = Program::start("imchannel-ingress", &installation, &variables);
    let address = ingress.address_after("accepts webhooks on").await;
    let mut ahead = connect(&address, &authority).await;
    // Three times as long as the timeout of a head, and it is not closed.
    let mut answer = [0; 12];
    let rested = tokio::time::timeout(std::time::Duration::from_millis(1500), ahead.read(&mut answer)).await;
    assert!(rested.is_err(), "the resting connection was closed");
    ahead.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    ahead.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
    drop(ahead);
    // It never sends anything; a stop that waits for it would take a minute, longer than the harness waits.
    let _silent = TcpStream::connect(&address).await.unwrap();
    assert!(ingress.stop().await);
}
