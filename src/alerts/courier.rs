//! One receiver of alerts: what is on its way to it, and what it last said.

use std::sync::Arc;

use shardman_core::Tick;
use shardman_core::alerting::{Notice, Outbox, Outcome};
use tracing::{debug, error, info, warn};

use super::answer::{Verdict, verdict};
use super::targets::Target;
use super::{Flight, discord, json};
use crate::client::{Answer, CallError, Client};
use crate::metrics::{AlertEnd, Metrics};

/// How a receiver wants its alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A message of a Discord webhook.
    Discord,
    /// JSON for programs.
    Json,
}

impl Form {
    fn variable(self) -> &'static str {
        match self {
            Self::Discord => "WEBHOOK_URL",
            Self::Json => "ALERT_URL",
        }
    }

    /// Entries in one message.
    fn entries(self) -> usize {
        match self {
            Self::Discord => discord::EMBEDS,
            Self::Json => 100,
        }
    }
}

pub(super) struct Courier {
    pub(super) form: Form,
    outbox: Outbox,
    target: Option<Target>,
    /// The message under way; what answers an earlier one counts no more.
    number: u64,
    /// How many alerts it stands for.
    alerts: u64,
    metrics: Arc<Metrics>,
    /// Whether it was said that nothing gets through.
    complained: bool,
    /// The end has come; one failure is enough now.
    ending: bool,
    ended: bool,
}

impl Courier {
    pub(super) fn new(form: Form, metrics: Arc<Metrics>, now: Tick) -> Self {
        Self {
            form,
            outbox: Outbox::new(now),
            target: None,
            number: 0,
            alerts: 0,
            metrics,
            complained: false,
            ending: false,
            ended: false,
        }
    }

    /// The configuration was read. Another receiver is told what the former one
    /// was not; of the same one, what it asked for still holds.
    pub(super) fn retarget(&mut self, target: Option<&Target>, now: Tick) {
        let url = |target: Option<&Target>| target.map(|target| target.url.clone());
        let same = url(self.target.as_ref()) == url(target);
        self.target = target.cloned();
        if same {
            return self.outbox.retry(now);
        }
        self.number += 1;
        self.complained = false;
        match &self.target {
            Some(_) => self.outbox.reset_pace(now),
            None => self.outbox = Outbox::new(now),
        }
    }

    /// Tells the metrics how it is.
    pub(super) fn measure(&self) {
        let receiver = self.form.variable();
        self.metrics
            .receiver(receiver, self.outbox.waiting(), self.outbox.is_ok());
    }

    pub(super) fn raise(&mut self, notice: Notice, now: Tick) {
        if self.target.is_some() {
            self.outbox.raise(notice, now);
        }
    }

    pub(super) fn has_target(&self) -> bool {
        self.target.is_some()
    }

    pub(super) fn due(&self) -> Option<Tick> {
        self.outbox.due()
    }

    /// Sends the next message, if it is due.
    pub(super) fn take(
        &mut self,
        client: &Client,
        now: Tick,
    ) -> Option<impl Future<Output = Flight> + use<>> {
        // While one is under way nothing is due.
        self.outbox.due().filter(|due| *due <= now)?;
        self.send(client, now, Outbox::take)
    }

    /// Sends what waits, due or not.
    pub(super) fn take_last(
        &mut self,
        client: &Client,
        now: Tick,
    ) -> Option<impl Future<Output = Flight> + use<>> {
        self.ending = true;
        // Nothing is due while a message is under way, or after it was given up.
        self.outbox.due().filter(|_| !self.ended)?;
        self.send(client, now, Outbox::take_last)
    }

    fn send(
        &mut self,
        client: &Client,
        now: Tick,
        take: for<'a> fn(&'a mut Outbox, usize, Tick) -> Vec<&'a shardman_core::alerting::Entry>,
    ) -> Option<impl Future<Output = Flight> + use<>> {
        let Target {
            url,
            authorization,
            content,
        } = self.target.clone()?;
        let form = self.form;
        // It may be what is refused.
        let content = content.filter(|_| !self.outbox.goes_singly());
        let entries = take(&mut self.outbox, form.entries(), now);
        if entries.is_empty() {
            return None;
        }
        self.alerts = entries.iter().map(|entry| entry.count).sum();
        let message = match form {
            Form::Discord => discord::message(content.as_deref(), &entries),
            Form::Json => json::message(&entries),
        };
        self.number += 1;
        let (number, client) = (self.number, client.clone());
        Some(async move {
            let body = message.to_string().into_bytes();
            let answer = client.post_json(&url, authorization.as_deref(), body).await;
            (form, number, answer)
        })
    }

    /// What came of a message.
    pub(super) fn land(&mut self, number: u64, answer: &Result<Answer, CallError>, chance: u8, now: Tick) {
        if number != self.number {
            return;
        }
        let Verdict { outcome, reason } = verdict(answer, chance);
        let variable = self.form.variable();
        self.ended |= self.ending && !matches!(outcome, Outcome::Taken { .. });
        match outcome {
            Outcome::Taken { .. } => self.metrics.alerts(AlertEnd::Sent, self.alerts),
            Outcome::Unavailable { .. }
            | Outcome::Misconfigured { .. }
            | Outcome::Refused
            | Outcome::Gone => {
                self.metrics.alerts(AlertEnd::Failed, self.alerts);
            }
            Outcome::Limited { .. } | Outcome::Dropped => {}
        }
        let refused = self.outbox.settle(outcome, now);
        let waiting = self.outbox.waiting();
        match outcome {
            Outcome::Taken { .. } => {
                if std::mem::take(&mut self.complained) {
                    info!("alerts reach {variable} again");
                }
            }
            Outcome::Limited { retry_after } => {
                debug!("{variable} takes the next message in {retry_after:?}: {reason}");
            }
            Outcome::Unavailable { .. } => {
                if !std::mem::replace(&mut self.complained, true) {
                    warn!("alerts do not reach {variable}: {reason}; they are kept, and tried again");
                }
            }
            Outcome::Misconfigured { .. } => {
                if !std::mem::replace(&mut self.complained, true) {
                    error!(
                        "alerts do not reach {variable}: {reason}; they are kept, and tried again more and more seldom. Look at {variable} and what is behind it; `shardman reload` tries at once"
                    );
                }
            }
            Outcome::Refused if refused.is_empty() => {
                warn!("{variable} refuses a message: {reason}; its alerts are sent one by one");
            }
            Outcome::Refused => {
                let causes: Vec<_> = refused.iter().flat_map(|entry| entry.causes.first()).collect();
                error!("{variable} refuses these alerts: {reason}: {causes:?}");
            }
            Outcome::Gone => error!(
                "{variable} takes no alerts any more: {reason}; nothing is sent there until then (alerts kept: {waiting}). Set {variable} anew, then run `shardman reload`"
            ),
            Outcome::Dropped => {}
        }
    }

    /// At the end: what will not be told.
    pub(super) fn say_left(&self) {
        let waiting = self.outbox.waiting();
        if waiting > 0 {
            warn!("alerts that did not reach {}: {waiting}", self.form.variable());
        }
    }
}
