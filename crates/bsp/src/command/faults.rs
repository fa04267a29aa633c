//! The faults of a command. A fault names a field and its rule, and never quotes a value.

use proto::v1::CommandFault;

/// The faults of a command, field by field.
#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<CommandFault>);

impl Faults {
    pub(super) fn add(&mut self, field: &str, rule: &str) {
        self.0.push(CommandFault { field: field.to_owned(), rule: rule.to_owned() });
    }

    pub(super) fn unless(&mut self, holds: bool, field: &str, rule: &str) {
        if !holds {
            self.add(field, rule);
        }
    }

    pub(super) fn at_most(&mut self, field: &str, text: &str, characters: usize) {
        self.unless(
            text.chars().count() <= characters,
            field,
            &format!("must have at most {characters} characters"),
        );
    }

    pub(super) fn between_one_and(&mut self, characters: usize, field: &str, text: &str) {
        let fits = !text.trim().is_empty() && text.chars().count() <= characters;
        self.unless(fits, field, &format!("must have 1 to {characters} characters, not only spaces"));
    }
}
