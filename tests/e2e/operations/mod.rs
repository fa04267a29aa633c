//! Tests of what operators watch: the admin port, logs and traces.

mod admin_port;
mod logs;
mod traces;
