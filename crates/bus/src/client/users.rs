//! The users of NATS. `deploy/nats/users.conf` has their permissions, and `imchannel secrets generate` creates a seed for
//! each.

use std::fmt;

/// A user of NATS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Stores webhooks.
    Ingress,
    /// Turns webhooks into events.
    Normalizer,
    /// Sends the commands of the lanes.
    Sender,
    /// Serves files.
    Media,
    /// Reads the streams for the timeline of messages.
    Timeline,
    /// Overwrites the messages of a customer who is erased, and asks lanes to settle their commands.
    Eraser,
    /// The AICC back end, in an account of its own.
    Aicc,
    /// Creates streams, durable consumers, buckets and channels.
    Provisioner,
    /// A person with the command line.
    Operator,
}

impl User {
    /// Every user, in the order of `users.conf`.
    pub const ALL: [Self; 9] = [
        Self::Ingress,
        Self::Normalizer,
        Self::Sender,
        Self::Media,
        Self::Timeline,
        Self::Eraser,
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
            Self::Timeline => "timeline",
            Self::Eraser => "eraser",
            Self::Aicc => "aicc",
            Self::Provisioner => "provisioner",
            Self::Operator => "operator",
        }
    }

    /// Name of its connections. Its responses are delivered to `_INBOX_{client}`, which no other user may read.
    pub fn client(self) -> &'static str {
        match self {
            Self::Ingress => "imchannel-ingress",
            Self::Normalizer => "imchannel-normalizer",
            Self::Sender => "imchannel-sender",
            Self::Media => "imchannel-media",
            Self::Timeline => "imchannel-timeline",
            Self::Eraser => "imchannel-eraser",
            Self::Aicc => "aicc",
            Self::Provisioner => "imchannel-provisioner",
            Self::Operator => "imchannel-operator",
        }
    }

    /// Name of its seed's file in the folder of seeds.
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
        let configuration = include_str!("../../../../deploy/nats/users.conf");
        for user in User::ALL {
            let key = format!("nkey: $NATS_{}_NKEY", user.name().to_uppercase());
            let inbox = format!("subscribe: {{ allow: [\"_INBOX_{}.>\"", user.client());
            assert!(configuration.contains(&key) && configuration.contains(&inbox), "{user}");
        }
        assert_eq!(configuration.matches("nkey: $NATS_").count(), User::ALL.len());
    }
}
