//! The functions that run inside Redis
//! (<https://redis.io/docs/latest/develop/programmability/functions-intro/>): their source, and how they are
//! loaded, checked and called.
//!
//! Scripts would work too, but a user who may `EVAL` can run a script that never ends and blocks Redis. A
//! user who may only `FCALL` can run only the functions that the provisioner loaded.

use bsp::media::MediaId;
use redis::RedisError;

use crate::inspect::Inspector;
use crate::meta::{COMMAND, meta_key};
use crate::store::{BlobError, BlobStore};

/// Name of this version's library in Redis.
pub const LIBRARY: &str = "imchannel_v1";
/// Its source.
const SOURCE: &str = include_str!("functions.lua");
const LOADED: &str = "imchannel_v1_loaded";
const SET_FIELD_OF_FILE: &str = "imchannel_v1_set_field_of_file";

/// The error of a failed function call.
fn of_call(error: RedisError) -> BlobError {
    match error.code() {
        // This error has no specific code.
        Some("ERR") if error.to_string().contains("Function not found") => BlobError::NoFunctions,
        Some("NOPERM") => BlobError::MayNotCall(error),
        _ => BlobError::from(error),
    }
}

impl BlobStore {
    /// Checks that the functions of this version are loaded and that the user may call them.
    ///
    /// # Errors
    /// [`BlobError::NoFunctions`] or [`BlobError::MayNotCall`] if not; other errors if the check itself
    /// fails.
    pub async fn check_functions(&self) -> Result<(), BlobError> {
        let mut call = redis::cmd("FCALL");
        self.call(call.arg(LOADED).arg(0)).await
    }

    /// Stores the id of the command whose message contains the file's URL. Does nothing if the file has no
    /// hash.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn tag_command(&self, id: &MediaId, command: &str) -> Result<(), BlobError> {
        let mut call = redis::cmd("FCALL");
        self.call(call.arg(SET_FIELD_OF_FILE).arg(1).arg(meta_key(id)).arg(COMMAND).arg(command)).await
    }

    /// Calls a function. Retries once if the connection is dead: all functions are idempotent.
    async fn call(&self, call: &redis::Cmd) -> Result<(), BlobError> {
        let mut connection = self.connection();
        let first = call.exec_async(&mut connection).await;
        let called = match first {
            Err(error) if error.is_connection_dropped() || error.is_connection_refusal() => {
                call.exec_async(&mut connection).await
            }
            called => called,
        };
        called.map_err(of_call)
    }
}

impl Inspector {
    /// Loads the functions of this version and replaces those of the same version. Functions of other
    /// versions stay. Needs Redis 7 and a user who may `FUNCTION LOAD`.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn load_functions(&mut self) -> Result<(), BlobError> {
        let mut load = redis::cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(SOURCE);
        Ok(load.exec_async(self.connection()).await?)
    }

    /// Whether the functions of this version are loaded. Needs a user who may `FUNCTION LIST`.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn has_functions(&mut self) -> Result<bool, BlobError> {
        let mut list = redis::cmd("FUNCTION");
        list.arg("LIST").arg("LIBRARYNAME").arg(LIBRARY);
        let libraries: Vec<redis::Value> = list.query_async(self.connection()).await?;
        Ok(!libraries.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_names_its_version_and_has_every_function_that_is_called() {
        assert_eq!(SOURCE.lines().next(), Some(format!("#!lua name={LIBRARY}").as_str()));
        for function in [LOADED, SET_FIELD_OF_FILE] {
            assert!(
                function.starts_with(LIBRARY),
                "{function} could conflict with another version's function"
            );
            assert!(SOURCE.contains(&format!("'{function}'")), "{function}");
        }
    }

    /// A call that does not end would block Redis for all clients.
    #[test]
    fn no_function_has_a_loop() {
        let code = SOURCE.lines().filter(|line| !line.trim_start().starts_with("--"));
        let words: Vec<&str> =
            code.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')).collect();
        for word in ["while", "for", "repeat", "goto"] {
            assert!(!words.contains(&word), "{word}");
        }
    }
}
