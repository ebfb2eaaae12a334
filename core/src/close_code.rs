//! What a gateway close code asks of the whole fleet (Discord, "Opcodes and
//! Status Codes", Gateway Close Event Codes).

/// What follows from the end of a gateway connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMeaning {
    /// No restart can help: the fleet halts until an operator has done this.
    Halt(&'static str),
    /// The number of shards is wrong; the plan must change.
    Plan,
    /// The gateway session is gone: identify.
    NewSession,
    /// Resume, and identify only if that fails.
    Resume,
}

/// The meaning of a code; `None` stands for a connection that just ended.
pub const fn meaning(code: Option<u16>) -> CloseMeaning {
    match code {
        Some(4004) => CloseMeaning::Halt(
            "the token is wrong; set BOT_TOKEN to the one on the bot's page in Discord's developer portal",
        ),
        Some(4012) => CloseMeaning::Halt("this gateway version is no longer spoken; update the worker"),
        Some(4013) => CloseMeaning::Halt("INTENTS is not a valid set of intents; correct it"),
        Some(4014) => CloseMeaning::Halt(
            "an intent in INTENTS is not approved for this bot; enable it on the bot's page in Discord's developer portal, or leave it out",
        ),
        Some(4010 | 4011) => CloseMeaning::Plan,
        Some(4006 | 4007 | 4009) => CloseMeaning::NewSession,
        Some(_) | None => CloseMeaning::Resume,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_codes_halt_two_ask_for_a_plan_and_unknown_ones_are_resumed() {
        let halting: Vec<u16> = (0..5000)
            .filter(|code| matches!(meaning(Some(*code)), CloseMeaning::Halt(_)))
            .collect();
        assert_eq!(halting, [4004, 4012, 4013, 4014]);
        let planning: Vec<u16> = (0..5000)
            .filter(|code| meaning(Some(*code)) == CloseMeaning::Plan)
            .collect();
        assert_eq!(planning, [4010, 4011]);
        for code in [None, Some(1000), Some(1001), Some(4000), Some(4008), Some(4999)] {
            assert_eq!(meaning(code), CloseMeaning::Resume);
        }
    }
}
