//! Who may use the database: passwords, rights, certificates, the number of connections.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use timeline::store::error::StoreFault;
use timeline::store::postgres::PostgresStore;
use timeline::store::{SharedStore as _, Store as _, StoreError};

use crate::postgres::database::Server;
use crate::sample::{batch, event, found, keys};

async fn open(url: &str) -> Result<PostgresStore, StoreError> {
    PostgresStore::open(url, &keys()).await
}

/// The error and what caused it.
fn words(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Waits until the server has read what was changed: then it refuses, or accepts, the URL.
async fn refused(url: &str) -> StoreError {
    loop {
        match open(url).await {
            Err(error) if error.fault() == StoreFault::Refused => return error,
            _ => tokio::task::yield_now().await,
        }
    }
}

async fn accepted(url: &str) -> PostgresStore {
    loop {
        if let Ok(store) = open(url).await {
            return store;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_the_password_and_the_right_to_make_the_schema() {
    let server = Server::start().await;
    let admin = server.sql("postgres").await;
    let make = "CREATE DATABASE rows; CREATE ROLE imchannel LOGIN PASSWORD 'pass-word'";
    for statement in make.split(';') {
        admin.batch_execute(statement).await.unwrap();
    }
    let hba = "host all postgres 127.0.0.1/32 trust\nhost all imchannel 127.0.0.1/32 scram-sha-256\n";
    server.postgres.write_file("pg_hba.conf", hba).unwrap();
    server.postgres.reload().await;
    let url =
        |password: &str| format!("postgres://imchannel:{password}@127.0.0.1:{}/rows", server.postgres.port());
    let error = refused(&url("wrong-one")).await;
    let text = words(&error);
    assert!(text.contains("password") && text.contains("IMCHANNEL_TIMELINE_URL"), "{text}");
    assert!(!format!("{text} {error:?}").contains("wrong-one"), "{text}");
    let text = words(&open(&url("pass-word")).await.unwrap_err());
    assert!(text.contains("permission denied for database rows"), "{text}");
    admin.batch_execute("GRANT CREATE ON DATABASE rows TO imchannel").await.unwrap();
    let store = open(&url("pass-word")).await.unwrap();
    assert_eq!(store.append(batch([event(1, 0).id("m-1")])).await.unwrap().rows, 1);
    assert_eq!(store.expire(jiff::Timestamp::MAX).await.unwrap().days, 1);
    drop(store);
    let missing = url("pass-word").replace("/rows", "/missing");
    assert_eq!(open(&missing).await.unwrap_err().fault(), StoreFault::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_certificate_is_not_valid_is_refused() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (issuer, other) = (issuer(), issuer());
    for (name, authority) in [("ca.pem", &issuer), ("other.pem", &other)] {
        std::fs::write(folder.path().join(name), authority.pem()).unwrap();
    }
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    server.postgres.write_file("server.crt", &certificate.pem()).unwrap();
    server.postgres.write_file("server.key", &key.serialize_pem()).unwrap();
    let url = |host: &str, mode: &str, authority: &Path| {
        let (port, authority) = (server.postgres.port(), authority.display());
        format!("postgres://postgres@{host}:{port}/postgres?sslmode={mode}&sslrootcert={authority}")
    };
    let authority = folder.path().join("ca.pem");
    // A server without TLS is not used without it.
    let error = open(&url("localhost", "verify-full", &authority)).await.unwrap_err();
    assert!(words(&error).contains("does not support TLS"), "{}", words(&error));
    let admin = server.sql("postgres").await;
    admin.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    server.postgres.reload().await;
    for mode in ["verify-full", "require"] {
        let store = accepted(&url("localhost", mode, &authority)).await;
        store.append(batch([event(1, 0).id("m-1")])).await.unwrap();
        assert_eq!(found(&store, "m-1").await.len(), 1);
        let encrypted = "SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
            WHERE a.application_name = 'imchannel-timeline'";
        assert_eq!(admin.query_one(encrypted, &[]).await.unwrap().get::<_, Option<bool>>(0), Some(true));
    }
    for wrong in [
        url("localhost", "verify-full", &folder.path().join("other.pem")),
        url("localhost", "require", &folder.path().join("other.pem")),
        url("127.0.0.1", "verify-full", &authority),
        // The authorities of the system do not know it.
        format!("postgres://postgres@localhost:{}/postgres?sslmode=verify-full", server.postgres.port()),
    ] {
        let error = open(&wrong).await.unwrap_err();
        assert_eq!(error.fault(), StoreFault::Refused, "{}", words(&error));
        assert!(words(&error).contains("certificate"), "{}", words(&error));
    }
    let error = open(&url("localhost", "verify-full", &folder.path().join("missing.pem"))).await.unwrap_err();
    assert!(error.to_string().contains("missing.pem"), "{error}");
    let plain = format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", server.postgres.port());
    assert!(open(&plain).await.is_ok());
}

fn issuer() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_needs_eight_connections_and_waits_for_a_server_that_has_none() {
    let server = Server::start().await;
    let admin = server.sql("postgres").await;
    for statement in ["CREATE DATABASE rows", "CREATE ROLE imchannel LOGIN CONNECTION LIMIT 8"] {
        admin.batch_execute(statement).await.unwrap();
    }
    admin.batch_execute("GRANT CREATE ON DATABASE rows TO imchannel").await.unwrap();
    let url = format!("postgres://imchannel@127.0.0.1:{}/rows", server.postgres.port());
    let store = open(&url).await.unwrap();
    let lease = store.lease(timeline::row::StreamNumber::Events).await.unwrap();
    assert!(lease.is_some());
    let asked = (0..100).map(|number| {
        let store = &store;
        async move {
            store.append(batch([event(number + 1, 0).id("m-1")])).await.unwrap();
            store.find(vec![], 1).await.unwrap();
            store.positions().await.unwrap();
        }
    });
    futures_util::future::join_all(asked).await;
    assert_eq!(store.condition(), Ok(()));
    admin.batch_execute("ALTER ROLE imchannel CONNECTION LIMIT 0").await.unwrap();
    let error = open(&url).await.unwrap_err();
    assert_eq!(error.fault(), StoreFault::Unavailable);
    assert!(words(&error).contains("too many connections"), "{}", words(&error));
}
