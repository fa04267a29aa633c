//! `imchannel secrets`: generates every secret of an installation, each in a separate file, in the layout that
//! docker-compose.yml and deploy/kubernetes expect.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bus::{NkeySeed, User};
use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;
use service::example_secrets;
use sha2::{Digest, Sha256};

use crate::exit::Exit;
use crate::output::{GOOD, Out, styled, text};

/// Redis users with a password.
const REDIS_USERS: [&str; 5] = ["media", "sender", "eraser", "provisioner", "operator"];
/// Permissions of the Redis users, with placeholders for the passwords' hashes.
const REDIS_ACL: &str = include_str!("../../../../deploy/redis/users.acl");
/// Host names of the simulated Infobip.
const SIMULATED_HOSTS: [&str; 2] = ["infobip", "localhost"];

#[derive(Debug, Subcommand)]
pub(crate) enum Secrets {
    /// Create a folder with every secret of an installation. Existing files are never changed.
    Generate(Generate),
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// The folder, which must not exist yet.
    folder: PathBuf,
    /// Create public example secrets. They are rejected on an installation unless its address is a loopback address.
    #[arg(long)]
    example: bool,
    /// Create an upload token for a tenant, in media-tokens/TENANT. May be given several times.
    #[arg(long, value_name = "TENANT", value_parser = tenant)]
    tenant: Vec<String>,
}

fn tenant(name: &str) -> Result<String, String> {
    if !channel::file::is_tenant(name) {
        return Err(format!(
            "must have 1 to {} letters, digits, '_' or '-'",
            channel::file::TENANT_LENGTH_MAX
        ));
    }
    Ok(name.to_owned())
}

pub(crate) fn run(command: &Secrets, out: &Out) -> anyhow::Result<Exit> {
    let Secrets::Generate(make) = command;
    if make.folder.exists() {
        bail!(
            "{} already exists; secrets are never overwritten. Choose another folder",
            make.folder.display()
        );
    }
    let folder = Folder(make.folder.clone());
    let prefix = if make.example { example_secrets::PREFIX } else { "" };
    folder.write("credential.key", &random(prefix)?)?;
    folder.write("media.token", &random(prefix)?)?;
    make_timeline(&folder, prefix)?;
    // Media mounts this folder even if no tenant has a separate token.
    folder.make("media-tokens")?;
    for tenant in &make.tenant {
        folder.write(&format!("media-tokens/{tenant}"), &random(prefix)?)?;
    }
    folder.write("channels/infobip_api_key", &random(prefix)?)?;
    make_nats(&folder)?;
    make_redis(&folder, prefix)?;
    make_simulated(&folder)?;
    out.print(&text!(
        "{} the secrets of an installation in {}",
        styled(GOOD, "created"),
        make.folder.display()
    ));
    out.lines(
        "Everybody who can enter the folder can read the files, and only you can enter it: containers run as another user and mount\n\
         single files. Write the real API key of your BSP into channels/infobip_api_key.",
    );
    out.object(&json!({ "generated": make.folder, "example": make.example }));
    Ok(Exit::Ok)
}

/// Writes the tokens of the timeline, one for reading and one for everything, and the second once more for the command line.
fn make_timeline(folder: &Folder, prefix: &str) -> anyhow::Result<()> {
    let (viewer, operator) = (random(prefix)?, random(prefix)?);
    let tokens = format!(
        "# A role (viewer, unmask or operator), a name and a token. The timeline reads a change by itself.\n\
         viewer viewer {viewer}\noperator operator {operator}"
    );
    folder.write("timeline.tokens", &tokens)?;
    folder.write("timeline.token", &operator)
}

/// Writes the seeds for the users, and the public keys for the server's environment.
fn make_nats(folder: &Folder) -> anyhow::Result<()> {
    let mut environment = String::from(
        "# Public keys of the NATS users, for nats-server's environment. They are not secret.\n",
    );
    for user in User::ALL {
        let seed = NkeySeed::generate();
        folder.write(&format!("nats/{}", user.seed_file()), seed.expose())?;
        environment.push_str(&format!("NATS_{}_NKEY={}\n", user.name().to_uppercase(), seed.public_key()));
    }
    folder.write("nats/users.env", environment.trim_end())
}

fn make_redis(folder: &Folder, prefix: &str) -> anyhow::Result<()> {
    let mut passwords = Vec::new();
    for user in REDIS_USERS {
        let password = random(prefix)?;
        folder.write(&format!("redis/{user}.password"), &password)?;
        passwords.push((user, password));
    }
    folder.write("redis/users.acl", &acl(&passwords))
}

/// Returns the users' permissions with their passwords, of which Redis stores only the SHA-256.
fn acl(passwords: &[(&str, String)]) -> String {
    let lines: Vec<&str> = REDIS_ACL.lines().filter(|line| line.starts_with("user ")).collect();
    let mut acl = lines.join("\n");
    for (user, password) in passwords {
        acl = acl.replace(&format!("<{user}>"), &hex::encode(Sha256::digest(password)));
    }
    acl
}

/// Creates a CA for simulated BSPs, because the sender calls every BSP by HTTPS, and signs their certificate with it.
fn make_simulated(folder: &Folder) -> anyhow::Result<()> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "imchannel, simulated BSPs only");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut server = CertificateParams::new(SIMULATED_HOSTS.map(str::to_owned))?;
    server.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
    server.distinguished_name.push(DnType::CommonName, SIMULATED_HOSTS[0]);
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &authority)?;
    folder.write("simulate/ca.pem", authority.pem().trim_end())?;
    folder.write("simulate/infobip.pem", certificate.pem().trim_end())?;
    folder.write("simulate/infobip.key", key.serialize_pem().trim_end())
}

fn random(prefix: &str) -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("cannot get random numbers from the system: {error}"))?;
    Ok(format!("{prefix}{}", hex::encode(bytes)))
}

/// A folder that only its owner can enter.
struct Folder(PathBuf);

impl Folder {
    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.0.join(name);
        self.try_write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Creates a folder in it.
    fn make(&self, name: &str) -> anyhow::Result<()> {
        let path = self.0.join(name);
        self.try_make(&path).with_context(|| format!("cannot create {}", path.display()))
    }

    fn try_make(&self, path: &Path) -> std::io::Result<()> {
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&self.0)?;
        std::fs::DirBuilder::new().mode(0o755).recursive(true).create(path)?;
        // Independent of the umask.
        std::fs::set_permissions(path, Permissions::from_mode(if path == self.0 { 0o700 } else { 0o755 }))
    }

    fn try_write(&self, path: &Path, text: &str) -> std::io::Result<()> {
        self.try_make(path.parent().unwrap_or(&self.0))?;
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        writeln!(file, "{text}")?;
        file.set_permissions(Permissions::from_mode(0o644))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_users_of_redis_have_the_current_permissions() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/compose/example/redis");
        let password = |user: &'static str| {
            let text = std::fs::read_to_string(example.join(format!("{user}.password"))).unwrap();
            (user, text.trim().to_owned())
        };
        let wanted = acl(&REDIS_USERS.map(password));
        assert!(!wanted.contains('<'), "{wanted}");
        assert_eq!(std::fs::read_to_string(example.join("users.acl")).unwrap().trim_end(), wanted);
    }
}
