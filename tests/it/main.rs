//! The program as its users meet it: real processes, real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "nothing outside can reach a test binary")]

mod support;

mod alerting;
mod alerts;
mod blocked;
mod book;
mod bots;
mod brake;
mod budget;
mod canary;
mod cli;
mod cli_help;
mod cli_terminal;
mod clients;
mod commands;
mod config;
mod connect;
mod contract;
mod dashboard;
mod dashboard_api;
mod deaf;
mod deploy;
mod disk;
mod events;
mod faults;
mod fleet;
mod halt;
mod held;
mod launch;
mod lean;
mod logs;
mod manager_crash;
mod memory;
mod metrics;
mod openapi;
mod oracle_settings;
mod order;
mod outlive;
mod places;
mod pools;
mod pools_ends;
mod reload;
mod rescale;
mod rescale_due;
mod rescale_plain;
mod rest;
mod restart;
mod resume;
mod sessions;
mod sim_folder;
mod simulator;
mod sink;
mod spare;
mod stop;
mod storms;
mod systemd;
mod tidy;
mod timeline;
mod totals;
mod worker_crash;
