//! The oracle: an OpenAI-compatible inference API on a model of its own, with
//! scouts that a Shardman manager leases and supervises.
//!
//! `http` knows the scheduler's handle; the scheduler drives the engine and
//! asks the sampler what follows; drafters only guess. Scouts are workers of
//! the pool `scouts` and know the manager by its documented calls alone.

pub mod bench;
pub mod config;
pub mod draft;
pub mod engine;
pub mod http;
pub mod network;
pub mod openai;
pub mod sampler;
pub mod sampling;
pub mod scheduler;
pub mod scout;
pub mod scouts;
pub mod serve;
pub mod slot;
pub mod text;
pub mod verify;
