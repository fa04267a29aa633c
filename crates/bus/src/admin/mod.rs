//! What operators and tools read and change from outside: the state of streams and consumers, gauges of the backlog, the
//! consumers of lanes, commands that no lane reads.

pub mod command_consumers;
pub mod inspect;
pub mod lag;
pub mod orphans;
