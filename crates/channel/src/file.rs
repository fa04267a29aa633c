//! Reads the channels file (TOML) and reports every fault in it with its line.

use std::collections::HashMap;

use bsp::secret_reference::SecretReference;
use bsp::toml_table::{Table, TomlError, TomlErrors};
use bsp::{Bsp, ChannelId, CredentialForm, Profile, SettingsContext, registry};
use toml::de::DeTable;

use crate::credential::{CREDENTIALS_MAX, CredentialKey};
use crate::record::{RECORD_VERSION, Record, SignatureRecord};
use crate::secret::Secret;

/// Longest password or user name, in bytes. Every proxy accepts a header of this length.
pub const CREDENTIAL_LENGTH_MAX: usize = 256;
/// Longest tenant name, in bytes.
pub const TENANT_LENGTH_MAX: usize = 64;

/// Longest time after which a message without a report is a problem, in seconds: a day.
pub const REPORT_AFTER_S_MAX: u32 = 86_400;

/// A channel of a channels file, with passwords in clear text.
#[derive(Debug, Clone)]
pub struct ChannelSpec {
    id: ChannelId,
    bsp: &'static dyn Bsp,
    tenant: String,
    webhook: Vec<CredentialSpec>,
    signature: Option<SignatureRecord>,
    spool: Option<bool>,
    report_after_s: Option<u32>,
    reconcile: bool,
    settings: serde_json::Value,
}

/// A webhook login: user and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialSpec {
    /// The user; `None` if the BSP has none.
    pub user: Option<String>,
    /// The password.
    pub password: Secret,
}

impl ChannelSpec {
    /// The channel's id.
    pub fn id(&self) -> &ChannelId {
        &self.id
    }

    /// The BSP behind it.
    pub fn bsp(&self) -> &'static dyn Bsp {
        self.bsp
    }

    /// The BSP's own settings.
    pub fn settings(&self) -> &serde_json::Value {
        &self.settings
    }

    /// Its webhook logins in clear text.
    pub fn credentials(&self) -> &[CredentialSpec] {
        &self.webhook
    }

    /// The first signing key and the URL to which the BSP posts; `None` if signatures are not verified.
    pub fn signing(&self) -> Option<(SecretReference, &str)> {
        let signature = self.signature.as_ref()?;
        let reference =
            SecretReference::parse(signature.auth_tokens.first()?, self.bsp.profile().secret_variables)?;
        Some((reference, &signature.public_url))
    }

    /// Its record for the registry.
    pub fn to_record(&self, key: &CredentialKey) -> Record {
        let digest = |login: &CredentialSpec| {
            let password = String::from_utf8_lossy(login.password.expose());
            hex::encode(key.digest(&self.bsp.expected_credential(login.user.as_deref(), &password)))
        };
        Record {
            version: RECORD_VERSION,
            id: self.id.as_str().to_owned(),
            bsp: self.bsp.profile().id.as_str().to_owned(),
            tenant: self.tenant.clone(),
            webhook: self.webhook.iter().map(digest).collect(),
            key_fingerprint: key.fingerprint(),
            signature: self.signature.clone(),
            spool: self.spool,
            report_after_s: self.report_after_s,
            reconcile: self.reconcile,
            settings: self.settings.clone(),
            paused: false,
        }
    }
}

/// Parses a channels file.
///
/// # Errors
/// Every fault of the file, with its line. A fault never quotes a value.
///
/// # Examples
/// ```
/// use bsp::SettingsContext;
/// use channel::{CredentialKey, file};
///
/// let source = r#"
///     [[channel]]
///     id = "sales"
///     bsp = "koomessage"
///     tenant = "acme"
///     webhook = [{ password = "a-password" }]
/// "#;
/// let channels = file::parse(source, &SettingsContext::default()).expect("a valid file");
/// let key = CredentialKey::new(&[7; 32])?;
/// let record = channels[0].to_record(&key);
/// assert_eq!(record.id, "sales");
/// // Only the digest of the password is stored.
/// assert_eq!(record.webhook[0].len(), 64);
///
/// let faults = file::parse("[[channel]]\nid = 'sales'", &SettingsContext::default()).unwrap_err();
/// assert_eq!(faults[0].line, 1);
/// # Ok::<(), channel::credential::CredentialKeyTooShort>(())
/// ```
pub fn parse(source: &str, context: &SettingsContext) -> Result<Vec<ChannelSpec>, Vec<TomlError>> {
    let mut faults = TomlErrors::new(source);
    let (document, errors) = DeTable::parse_recoverable(source);
    // Report only the first error: the later ones are mostly its consequences.
    let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    if let Some(first) = errors.iter().min_by_key(|error| start(error)) {
        faults.add(start(first), format!("invalid TOML: {}", first.message()));
        return Err(faults.finish());
    }
    let mut channels = Vec::new();
    let mut lines: HashMap<ChannelId, usize> = HashMap::new();
    let mut root = Table::new("file", 0, Some(document.get_ref()), &mut faults);
    let count = root.tables("channel", |mut table| {
        let Some(channel) = read_channel(&mut table, context) else {
            return;
        };
        if lines.insert(channel.id.clone(), table.offset()).is_some() {
            table.add_fault(table.offset(), format_args!("duplicate id '{}'", channel.id));
        }
        channels.push(channel);
    });
    root.refuse_unknown_keys();
    if count == 0 {
        root.add_fault(0, "no [[channel]] table found; add at least one");
    }
    let found = faults.finish();
    if found.is_empty() { Ok(channels) } else { Err(found) }
}

/// Reads one channel; `None` if its id or its BSP is missing or invalid. The fault is then recorded.
fn read_channel(table: &mut Table<'_, '_>, context: &SettingsContext) -> Option<ChannelSpec> {
    let id = read_id(table);
    let bsp = read_bsp(table);
    let tenant = read_tenant(table);
    let Some(bsp) = bsp else {
        // Without the BSP, the rest cannot be checked.
        return None;
    };
    let webhook = read_webhook(table, bsp.profile().credential);
    let signature = if bsp.profile().signs_requests { read_signature(table, bsp.profile()) } else { None };
    let spool = table.boolean("spool");
    let report_after_s = table.integer("report_after", 1, REPORT_AFTER_S_MAX);
    let reconcile = table.boolean_at("reconcile").filter(|reconcile| reconcile.value);
    let settings = bsp.read_settings(&mut table.table(bsp.profile().id.as_str()), context);
    table.refuse_unknown_keys();
    if let Some(reconcile) = reconcile
        && let Err(fault) = check_reconcile(bsp, &settings)
    {
        table.add_fault(reconcile.offset, fault);
    }
    let reconcile = reconcile.is_some();
    Some(ChannelSpec { id: id?, bsp, tenant, webhook, signature, spool, report_after_s, reconcile, settings })
}

/// Whether a channel has a message log that can be asked.
fn check_reconcile(bsp: &dyn Bsp, settings: &serde_json::Value) -> Result<(), String> {
    let name = bsp.profile().id;
    if !bsp.sending().is_some_and(bsp::sending::Sending::has_reports_in_log) {
        return Err(format!(
            "'reconcile' is true, but imchannel can ask no message log of {name}; remove it"
        ));
    }
    if settings.is_null() {
        return Err(format!(
            "'reconcile' is true, but the channel has no account whose message log can be asked; add [channel.{name}] or remove it"
        ));
    }
    Ok(())
}

fn read_id(table: &mut Table<'_, '_>) -> Option<ChannelId> {
    let text = table.required_string("id")?;
    match ChannelId::parse(text.value) {
        Ok(id) => Some(id),
        Err(error) => {
            table.add_fault(text.offset, format_args!("'id': {error}"));
            None
        }
    }
}

fn read_bsp(table: &mut Table<'_, '_>) -> Option<&'static dyn Bsp> {
    let name = table.required_string("bsp")?;
    let found = registry::find(name.value);
    if found.is_none() {
        let known: Vec<_> = registry::REGISTRY.iter().map(|bsp| bsp.profile().id.as_str()).collect();
        table.add_fault(name.offset, format_args!("'bsp' must be one of {}", known.join(", ")));
    }
    found
}

/// Whether a text is a valid tenant name.
pub fn is_tenant(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=TENANT_LENGTH_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

fn read_tenant(table: &mut Table<'_, '_>) -> String {
    let Some(tenant) = table.required_string("tenant") else {
        return String::new();
    };
    if !is_tenant(tenant.value) {
        let message = format!("invalid 'tenant': use 1 to {TENANT_LENGTH_MAX} letters, digits, '_' or '-'");
        table.add_fault(tenant.offset, message);
    }
    tenant.value.to_owned()
}

fn read_webhook(table: &mut Table<'_, '_>, form: CredentialForm) -> Vec<CredentialSpec> {
    let mut logins: Vec<CredentialSpec> = Vec::new();
    let count = table.tables("webhook", |mut login| {
        let user = match form {
            CredentialForm::Password => None,
            CredentialForm::UserAndPassword => Some(read_credential(&mut login, "user").unwrap_or_default()),
        };
        let password = read_credential(&mut login, "password");
        login.refuse_unknown_keys();
        if user.as_ref().is_some_and(|user| user.contains(':')) {
            // RFC 7617 section 2: the first colon ends the user.
            login.add_fault(login.offset(), "invalid 'user': remove the colon");
        }
        let Some(password) = password else { return };
        let found = CredentialSpec { user, password: Secret::new(password.into_bytes()) };
        if logins.contains(&found) {
            login.add_fault(login.offset(), "duplicate credential; list each credential once");
        }
        logins.push(found);
    });
    if count == 0 {
        table.add_fault(table.offset(), "'webhook' is empty; list at least one credential");
    }
    if count > CREDENTIALS_MAX {
        table.add_fault(
            table.offset(),
            format_args!("too many credentials in 'webhook'; list at most {CREDENTIALS_MAX}"),
        );
    }
    logins
}

/// Reads a text that a header can carry unchanged.
fn read_credential(table: &mut Table<'_, '_>, key: &'static str) -> Option<String> {
    let text = table.required_string(key)?;
    let printable = text.value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.value.len() > CREDENTIAL_LENGTH_MAX || !printable || text.value.trim() != text.value {
        let rule = "printable ASCII characters, without a space at the start or end";
        table
            .add_fault(text.offset, format_args!("invalid '{key}': use 1 to {CREDENTIAL_LENGTH_MAX} {rule}"));
        return None;
    }
    Some(text.value.to_owned())
}

fn read_signature(table: &mut Table<'_, '_>, profile: &Profile) -> Option<SignatureRecord> {
    let mut signature = table.table("signature");
    let public_url = signature.required_string("public_url");
    let tokens = signature.strings("auth_tokens");
    signature.refuse_unknown_keys();
    if !signature.is_present() {
        return None;
    }
    if tokens.is_empty() {
        signature.add_fault(signature.offset(), "'auth_tokens' is empty; list at least one reference");
    }
    for token in &tokens {
        let variables = profile.secret_variables;
        if SecretReference::parse(token.value, variables).is_none() {
            let message =
                format!("invalid reference in 'auth_tokens'; write env:{variables}NAME or file:NAME");
            signature.add_fault(token.offset, message);
        }
    }
    if let Some(url) = public_url
        && !is_origin(url.value)
    {
        signature.add_fault(
            url.offset,
            "invalid 'public_url': write https://host or http://host with an optional port and no path",
        );
    }
    Some(SignatureRecord {
        auth_tokens: tokens.iter().map(|token| token.value.to_owned()).collect(),
        public_url: public_url.map(|url| url.value.trim_end_matches('/').to_owned()).unwrap_or_default(),
    })
}

fn is_origin(url: &str) -> bool {
    let is_bare = |uri: http::Uri| uri.path() == "/" && uri.query().is_none();
    bsp::web_url::parse(url).is_ok_and(is_bare) && !url.contains('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_valid_port() {
        for good in ["https://gateway.example", "http://127.0.0.1:8080/", "https://gateway.example:443"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "https://gateway.example/x",
            "https://gateway.example?x",
            "https://gateway.example#x",
            "https://anna@gateway.example",
            "https://gateway.example:99999",
            "https://gateway..example",
            "ftp://gateway.example",
            "gateway.example",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
