//! What the tests share: real processes and real sockets.

mod arrivals;
mod browser;
mod clients;
mod http;
mod process;
mod shardman;
mod sim;
mod terminal;
mod webhook;

pub use arrivals::Arrivals;
pub use browser::Browser;
pub use http::{Connection, Response, call, get, post};
pub use process::{Program, Running};
pub use shardman::{How, SECRET, Shardman};
pub use shardman_testing::{eventually, free_port, let_pass, seconds, signal, tools};
pub use sim::Sim;
pub use terminal::Terminal;
pub use webhook::{Hook, Reply, webhook};
