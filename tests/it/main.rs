//! The program as its users meet it: real processes, real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "nothing outside can reach a test binary")]

mod support;

mod alerts;
mod bots;
mod budget;
mod clients;
mod config;
mod connect;
mod contract;
mod disk;
mod fleet;
mod halt;
mod logs;
mod manager_crash;
mod order;
mod places;
mod rescale;
mod rescale_due;
mod rescale_plain;
mod rest;
mod restart;
mod resume;
mod sessions;
mod simulator;
mod sink;
mod storms;
mod tidy;
mod totals;
mod worker_crash;
