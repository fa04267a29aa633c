//! The NATS user of each command. Tests compare the table of users in docs/installing.md with this table, and every
//! command that a document prints (`tests/documents`).

use bus::User;

/// Every command, with the user that it connects as; `None` if it does not connect to NATS, or only to a server that it
/// starts.
const USERS: &[(&str, Option<User>)] = &[
    ("up", None),
    ("streams apply", Some(User::Provisioner)),
    ("streams check", Some(User::Operator)),
    ("streams repair", Some(User::Provisioner)),
    ("setup", Some(User::Provisioner)),
    ("secrets generate", None),
    ("channel apply", Some(User::Provisioner)),
    ("channel list", Some(User::Operator)),
    ("channel show", Some(User::Operator)),
    ("channel remove", Some(User::Provisioner)),
    ("channel pause", Some(User::Operator)),
    ("channel resume", Some(User::Operator)),
    ("tail", Some(User::Operator)),
    ("trace", None),
    ("erase", None),
    ("send", Some(User::Operator)),
    ("lanes list", Some(User::Operator)),
    ("media put", Some(User::Operator)),
    ("media get", None),
    ("media stat", None),
    ("top", Some(User::Operator)),
    ("doctor", Some(User::Operator)),
    ("replay webhooks", Some(User::Operator)),
    ("deadletter list", Some(User::Operator)),
    ("deadletter show", Some(User::Operator)),
    ("deadletter replay", Some(User::Operator)),
    ("deadletter drop", Some(User::Operator)),
    ("simulate webhooks", Some(User::Operator)),
    ("simulate infobip", None),
    ("health", None),
    ("completions", None),
];

/// A command's name and the user that it needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needed {
    /// Such as `channel apply`.
    pub(crate) command: String,
    /// `None` if it does not connect.
    pub(crate) user: Option<User>,
}

/// Returns the command that was entered.
pub(crate) fn needed(matches: &clap::ArgMatches) -> Needed {
    let mut words = Vec::new();
    let mut matches = matches;
    while let Some((name, of_command)) = matches.subcommand() {
        words.push(name);
        matches = of_command;
    }
    let command = words.join(" ");
    let user = of(&command);
    Needed { command, user }
}

/// The user that a command connects as. `command` is its name, such as `channel apply`.
pub(crate) fn of(command: &str) -> Option<User> {
    USERS.iter().find(|(name, _)| *name == command).and_then(|(_, user)| *user)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn commands(of: &clap::Command, before: &str, found: &mut Vec<String>) {
        for command in of.get_subcommands() {
            let name = format!("{before}{}", command.get_name());
            if command.has_subcommands() {
                commands(command, &format!("{name} "), found);
            } else {
                found.push(name);
            }
        }
    }

    #[test]
    fn every_command_is_in_the_table_once() {
        let mut found = Vec::new();
        commands(&crate::Cli::command(), "", &mut found);
        let known: Vec<_> = USERS.iter().map(|(name, _)| *name).collect();
        assert_eq!(found, known);
    }

    #[test]
    fn the_table_of_users_in_the_documents_is_this_one() {
        let page = include_str!("../../../docs/installing.md");
        let of = |wanted| {
            let names = USERS.iter().filter(|(_, user)| *user == wanted).map(|(name, _)| format!("`{name}`"));
            names.collect::<Vec<_>>().join(", ")
        };
        let provisioner = format!(
            "make and change streams, durables, buckets and channels: {} |",
            of(Some(User::Provisioner))
        );
        assert!(page.contains(&provisioner), "no row that ends with {provisioner}");
        let operator = format!("every other command but {}:", of(None));
        assert!(page.contains(&operator), "no row with {operator}");
        for user in User::ALL {
            assert!(page.contains(&format!("\n| `{user}` | ")), "no row of {user}");
        }
    }
}
