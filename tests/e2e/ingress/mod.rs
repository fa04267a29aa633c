//! Tests of ingress: what it answers, what it stores, and what strangers and slow clients cannot do.

mod rejections;
mod rejection_causes;
mod failed_credentials;
mod registry;
mod first_reading;
mod slow_clients;
mod body_memory;
mod connection_limits;
mod unread_responses;
mod nats_outage;
mod start_without_bus;
mod spool;
mod spool_disk;
