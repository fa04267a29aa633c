//! The users of NATS. `deploy/nats/users.conf` says what each may do, and `imchannel secrets make` makes a seed for each.

use std::fmt;

/// A user of NATS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Stores webhooks.
    Ingress,
    /// Turns webhooks into events.
    Normalizer,
    /// Works the lanes.
    Sender,
    /// Serves files.
    Media,
    /// The back end, in an account of its own.
    Aicc,
    /// Makes streams, durables, buckets and channels.
    Provisioner,
    /// A person with the command line.
    Operator,
}

impl User {
    /// Every user, in the order of `users.conf`.
    pub const ALL: [Self; 7] = [
        Self::Ingress,
        Self::Normalizer,
        Self::Sender,
        Self::Media,
        Self::Aicc,
        Self::Provisioner,
        Self::Operator,
    ];

    /// Its name in `users.conf` and in the documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Normalizer => "normalizer",
            Self::Sender => "sender",
            Self::Media => "media",
            Self::Aicc => "aicc",
            Self::Provisioner => "provisioner",
            Self::Operator => "operator",
        }
    }

    /// The name of its connections. Its answers come under `_INBOX_{client}`, which no other user may read.
    pub fn client(self) -> &'static str {
        match self {
            Self::Ingress => "imchannel-ingress",
            Self::Normalizer => "imchannel-normalizer",
            Self::Sender => "imchannel-sender",
            Self::Media => "imchannel-media",
            Self::Aicc => "aicc",
            Self::Provisioner => "imchannel-provisioner",
            Self::Operator => "imchannel-operator",
        }
    }

    /// The file of its seed in the folder of the seeds.
    pub fn seed_file(self) -> String {
        format!("{}.nk", self.name())
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_configuration_has_every_user_with_its_inbox() {
        let configuration = include_str!("../../../deploy/nats/users.conf");
        for user in User::ALL {
            let key = format!("nkey: $NATS_{}_NKEY", user.name().to_uppercase());
            let inbox = format!("subscribe: {{ allow: [\"_INBOX_{}.>\"] }}", user.client());
            assert!(configuration.contains(&key) && configuration.contains(&inbox), "{user}");
        }
        assert_eq!(configuration.matches("nkey: $NATS_").count(), User::ALL.len());
    }
}
