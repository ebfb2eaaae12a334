//! What a session dispatches. An event is a recipe, not its JSON: replay buffers
//! stay small, and the same event is rendered the same way every time.

/// `GUILDS`: without it no GUILD_CREATE is dispatched.
pub const GUILDS: u64 = 1 << 0;
/// `GUILD_MESSAGES`: without it no MESSAGE_CREATE is dispatched.
pub const GUILD_MESSAGES: u64 = 1 << 9;
/// `MESSAGE_CONTENT`: without it messages come without their text.
pub const MESSAGE_CONTENT: u64 = 1 << 15;
/// Every intent that Discord documents.
pub const KNOWN_INTENTS: u64 = 0x1_ffff | 1 << 20 | 1 << 21 | 1 << 24 | 1 << 25;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Ready,
    Resumed,
    /// GUILD_CREATE of the guild with this index.
    Guild(u32),
    /// GUILD_DELETE of the guild with this index: the bot is no longer in it.
    GuildLeft(u32),
    /// MESSAGE_CREATE: message number `number`, sent at `at_ms` (Unix time).
    Message {
        guild: u32,
        number: u64,
        at_ms: u64,
    },
    /// GUILD_MEMBERS_CHUNK in answer to op 8.
    Members {
        guild_id: u64,
        nonce: Option<Box<str>>,
    },
}

impl Event {
    /// Load events are what the report's `events` counts; the rest belongs to
    /// the session's own ceremony.
    pub(crate) const fn is_load(&self) -> bool {
        self.message().is_some()
    }

    /// The number of a message.
    pub(crate) const fn message(&self) -> Option<u64> {
        match self {
            Self::Message { number, .. } => Some(*number),
            Self::Ready | Self::Resumed | Self::Guild(_) | Self::GuildLeft(_) | Self::Members { .. } => None,
        }
    }
}
