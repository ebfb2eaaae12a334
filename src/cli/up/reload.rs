//! What changes in a running manager when its configuration is read again:
//! everything is checked first, then exchanged.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use axum::Router;
use axum::http::HeaderValue;
use shardman_core::reload::{ReloadEffect, ReloadView};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::{SIM_TOKEN, bot_token, settings};
use crate::alerts::Targets;
use crate::config::{ConfigError, UpArgs, Written};
use crate::http::{self, HttpState};
use crate::manager::{ManagerHandle, ReloadCall, ReloadError};
use crate::systemd;

/// Everything that a new configuration is told to.
pub(super) struct Reloader {
    /// What is in force.
    pub(super) args: UpArgs,
    pub(super) address: SocketAddr,
    pub(super) program: PathBuf,
    pub(super) assigns: bool,
    pub(super) handle: ManagerHandle,
    pub(super) targets: watch::Sender<Targets>,
    pub(super) router: watch::Sender<Router>,
    pub(super) token: Option<watch::Sender<String>>,
}

impl Reloader {
    /// Reads the configuration again whenever SIGHUP or a caller wants it.
    pub(super) async fn run(mut self, mut hangups: Signal, mut calls: mpsc::Receiver<ReloadCall>) {
        let in_terminal = io::stdin().is_terminal();
        loop {
            let call = tokio::select! {
                hangup = hangups.recv() => match hangup {
                    // Nobody asked for it: the terminal that it ran in was closed.
                    Some(()) if in_terminal && !io::stdin().is_terminal() => {
                        info!("the terminal is gone");
                        end_like_any_other_program();
                        return;
                    }
                    Some(()) => None,
                    None => return,
                },
                call = calls.recv() => match call {
                    Some(call) => Some(call),
                    None => return,
                },
            };
            systemd::reloading();
            let done = self.reload().await;
            let refused = match &done {
                Ok(view) => {
                    tell(view);
                    None
                }
                Err(error) => Some(format!("the configuration stays as it was: {error}")),
            };
            if let Some(line) = &refused {
                error!("{line}");
            }
            systemd::reloaded(refused.as_deref(), &self.handle.summary().borrow());
            if let Some(call) = call {
                // A caller that went away finds it in the log.
                drop(call.send(done));
            }
        }
    }

    async fn reload(&mut self) -> Result<ReloadView, ReloadError> {
        let bad = |error: ConfigError| ReloadError::BadConfiguration(error.to_string());
        let mut source = self.args.source.clone();
        let new = source.reload().map_err(bad)?;
        // What is accepted here, a manager can also be started with.
        check(&new.whole).map_err(bad)?;
        let Written {
            mut args,
            secrets,
            pools,
        } = new.applied;
        // A simulator of our own chose them.
        args.discord_api_url.clone_from(&self.args.discord_api_url);
        args.data_dir.clone_from(&self.args.data_dir);
        let token = match (args.sim, &self.token) {
            (Some(_), _) => Some(SIM_TOKEN.to_owned()),
            (None, Some(_)) => bot_token(&args, &secrets).map_err(bad)?,
            (None, None) => None,
        };
        let cors = cors(&args).map_err(bad)?;
        let targets = Targets::new(&secrets, args.webhook_content.as_deref()).map_err(bad)?;
        let assigns = args.assigns().map_err(bad)?;
        if assigns != self.assigns {
            let text =
                "WORKER_COMMAND now gets its shards in another way: that needs a restart of the manager";
            return Err(bad(ConfigError(text.to_owned())));
        }
        let token_now = token.as_deref();
        let mut settings = settings(&args, self.address, token_now, &self.program, pools, assigns);
        settings.inherit = new.inherit;
        // Their names alone: a value may be secret.
        let changes = new.changes.iter();
        let changes = changes.map(|change| (change.variable.clone(), change.effect));
        let freed = self.handle.apply(settings, changes.collect()).await?;
        // From here on nothing can fail.
        self.targets.send_replace(targets);
        let state = HttpState {
            manager: self.handle.clone(),
            public_status: args.public_status,
        };
        drop(self.router.send_replace(http::router(state, &cors)));
        if let (Some(known), Some(token)) = (&self.token, token) {
            known.send_if_modified(|old| std::mem::replace(old, token.clone()) != token);
        }
        args.source = source;
        self.args = args;
        Ok(ReloadView {
            changes: new.changes,
            freed,
        })
    }
}

/// What else is checked at the start.
fn check(written: &Written) -> Result<(), ConfigError> {
    let Written { args, secrets, .. } = written;
    args.assigns()?;
    cors(args)?;
    if args.sim.is_none() {
        bot_token(args, secrets)?;
    }
    Ok(())
}

/// As SIGTERM does.
fn end_like_any_other_program() {
    let us = rustix::process::getpid();
    if let Err(error) = rustix::process::kill_process(us, rustix::process::Signal::TERM) {
        error!(%error, "cannot stop by itself");
    }
}

/// Says in the log what changed.
fn tell(view: &ReloadView) {
    for change in &view.changes {
        let (variable, effect) = (&change.variable, change.effect.as_str());
        match change.effect {
            ReloadEffect::Applied | ReloadEffect::NewWorkers => info!("{variable} changed: {effect}"),
            ReloadEffect::ManagerRestart | ReloadEffect::Overruled => warn!("{variable} changed: {effect}"),
        }
    }
    if !view.freed.is_empty() {
        info!("no longer halted: {}", view.freed.join(", "));
    }
    if view.workers_lag() {
        info!("for the workers that run: shardman restart --all");
    }
    info!("the configuration was read again: {} changes", view.changes.len());
}

pub(super) fn cors(args: &UpArgs) -> Result<Vec<HeaderValue>, ConfigError> {
    shardman_serve::parse_origins(&args.cors_origins.join(","))
        .map_err(|error| ConfigError(format!("CORS_ORIGINS: {error}")))
}
