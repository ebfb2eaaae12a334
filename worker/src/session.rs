//! One of Discord's own sessions, as far as it takes to resume it.

use shardman_core::wire::ResumePoint;

use crate::gateway_url::gateway_url;
use crate::sink::Acks;

/// A resume URL that fails this often in a row is dropped in favour of the
/// main one.
const URL_FAILURES_MAX: u32 = 3;
/// A session whose RESUME comes to nothing this often, without Discord saying
/// why, is given up. Connections that never got as far do not count: while
/// nobody answers, nobody has forgotten the session.
const UNANSWERED_MAX: u32 = 2 * URL_FAILURES_MAX;

#[derive(Debug)]
pub(crate) struct GatewaySession {
    pub(crate) id: String,
    pub(crate) resume_url: String,
    /// The last sequence that was handed to the sink: where this process goes on.
    pub(crate) taken: u64,
    /// The last one that the sink acknowledged: where another process goes on.
    pub(crate) acks: Acks,
    /// Failures in a row, of any kind.
    failures: u32,
    /// Those of them where RESUME was sent.
    unanswered: u32,
}

impl GatewaySession {
    /// The session that a READY just opened.
    pub(crate) fn opened(id: String, resume_url: String) -> Self {
        Self {
            id,
            resume_url,
            taken: 0,
            acks: Acks::default(),
            failures: 0,
            unanswered: 0,
        }
    }

    /// The session that an earlier holder left behind.
    pub(crate) fn inherited(point: ResumePoint) -> Self {
        Self {
            id: point.session_id,
            resume_url: point.resume_url,
            taken: point.sequence,
            acks: Acks::up_to(point.sequence),
            failures: 0,
            unanswered: 0,
        }
    }

    /// Where to resume; `None` for the main gateway URL.
    pub(crate) fn url(&self) -> Option<String> {
        if self.failures < URL_FAILURES_MAX {
            gateway_url(&self.resume_url)
        } else {
            None
        }
    }

    /// A resume came to nothing, before RESUME was sent or after. False when
    /// the session should be given up.
    pub(crate) fn failed(&mut self, sent: bool) -> bool {
        self.failures += 1;
        self.unanswered += u32::from(sent);
        self.unanswered < UNANSWERED_MAX
    }

    /// The session is active again.
    pub(crate) fn resumed(&mut self) {
        self.failures = 0;
        self.unanswered = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_url_that_fails_three_times_gives_way_to_the_main_one_then_to_an_identify() {
        let mut session = GatewaySession::opened("s".to_owned(), "wss://resume.example".to_owned());
        let mut urls = Vec::new();
        loop {
            urls.push(session.url().is_some());
            if !session.failed(true) {
                break;
            }
        }
        assert_eq!(urls, [true, true, true, false, false, false]);
    }

    #[test]
    fn an_outage_costs_the_url_and_never_the_session() {
        let mut session = GatewaySession::opened("s".to_owned(), "wss://resume.example".to_owned());
        for _ in 0..100 {
            assert!(session.failed(false));
        }
        assert!(session.url().is_none());
    }

    #[test]
    fn a_success_forgives_earlier_failures() {
        let mut session = GatewaySession::opened("s".to_owned(), "wss://resume.example".to_owned());
        for _ in 0..3 {
            assert!(session.failed(true));
        }
        session.resumed();
        assert!(session.url().is_some());
    }
}
