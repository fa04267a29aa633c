//! Tests of what all services share on NATS: the worker loop, streams, purges and buckets.

mod worker;
mod follow;
mod full_streams;
mod purge;
mod stream_sizes;
mod lost_sequences;
mod slow_streams;
mod reply_subjects;
mod buckets;
mod publish_headers;
mod group_commit;
