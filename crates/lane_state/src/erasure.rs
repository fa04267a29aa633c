//! What an erasure asks the owner of a lane about commands to the erased customer, and the answer. Pure.
//!
//! A request names commands by their place in the stream, so that it says nothing of the customer but what the ids of commands
//! say. It is repeated until every command is settled, and asking again changes nothing.

use serde::{Deserialize, Serialize};

/// Most commands of a request.
pub const COMMANDS_MAX: usize = 100;

/// Asks the owner of a lane to settle commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureRequest {
    /// The commands, at most [`COMMANDS_MAX`].
    pub commands: Vec<CommandToErase>,
}

/// A command to an erased customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandToErase {
    /// Its sequence in COMMANDS.
    pub sequence: u64,
    /// When it was stored there, in microseconds since 1970. A stream that was created again has another command at the sequence.
    pub stored_at_us: i64,
    /// Its id, if it is known. Otherwise the owner reads it from the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_id: Option<String>,
    /// Whether its result is stored in EVENTS, or was. Then its entry in the ledger needs the result no longer.
    pub is_result_stored: bool,
}

/// What the owner of the lane answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureAnswer {
    /// The commands of the request.
    pub commands: Vec<AskedCommand>,
}

/// A command of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedCommand {
    /// Its sequence in COMMANDS.
    pub sequence: u64,
    /// When it was stored there, as the request says.
    pub stored_at_us: i64,
    /// How far it is.
    pub state: ErasureState,
}

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasureState {
    /// The ledger has no entry of it, or one without result and context.
    Settled,
    /// The same, and this request has blanked the entry.
    Blanked,
    /// Its id is not known any more, because the stream does not hold it. Its entry cannot be found, and ages out.
    Unknown,
    /// It has no result yet, or one that is not stored: it is answered, or its call ends first.
    Waits,
}

impl ErasureRequest {
    /// The bytes of the request.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a request has no map")
    }

    /// Reads a request; `None` if it has another form or too many commands.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let request: Self = bsp::json::from_slice(bytes).ok()?;
        (request.commands.len() <= COMMANDS_MAX).then_some(request)
    }
}

impl ErasureAnswer {
    /// The bytes of the answer.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an answer has no map")
    }

    /// Reads an answer; `None` if it has another form.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bsp::json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_its_answer_are_read_as_they_were_written() {
        let command =
            CommandToErase { sequence: 7, stored_at_us: 1, command_id: None, is_result_stored: true };
        let request = ErasureRequest { commands: vec![command.clone()] };
        assert_eq!(ErasureRequest::from_bytes(&request.to_bytes()), Some(request));
        let settled = AskedCommand { sequence: 7, stored_at_us: 1, state: ErasureState::Waits };
        let answer = ErasureAnswer { commands: vec![settled] };
        assert_eq!(ErasureAnswer::from_bytes(&answer.to_bytes()), Some(answer));
        let many = ErasureRequest { commands: vec![command; COMMANDS_MAX + 1] };
        assert_eq!(ErasureRequest::from_bytes(&many.to_bytes()), None);
        assert_eq!(ErasureRequest::from_bytes(b"[]"), None);
    }
}
