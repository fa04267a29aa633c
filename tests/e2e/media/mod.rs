//! Tests of media: uploads and downloads over real HTTP and a real Redis.

mod files;
mod file_types;
mod upload_tokens;
