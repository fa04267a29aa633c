//! Tests of the simulators: they compare what they posted with the events, and stay small.

mod simulation;
mod memory;
