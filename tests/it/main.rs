//! The program as its users meet it: real processes, real sockets.

mod support;

mod bots;
mod config;
mod connect;
mod contract;
mod fleet;
mod manager_crash;
mod storms;
mod tidy;
mod worker_crash;
