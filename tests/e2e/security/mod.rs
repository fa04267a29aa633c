//! Tests of users, permissions and TLS, on servers with the configuration of `deploy/`.

mod permissions;
mod wrong_users;
mod redis_users;
mod stolen_seed;
mod back_end_account;
mod tls;
