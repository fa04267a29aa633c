//! Commands for trying imchannel out and for developing it: the whole gateway in one process, and simulated BSPs.

pub(crate) mod simulate;
pub(crate) mod simulate_infobip;
pub(crate) mod up;
