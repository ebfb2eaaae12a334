//! The payloads against the strictest parser there is among client libraries.

use serde_json::Value;
use shardman_core::id::ShardId;
use twilight_model::gateway::payload::incoming::{GuildCreate, MemberChunk, MessageCreate, Ready};
use twilight_model::oauth::Application;
use twilight_model::user::CurrentUser;

use super::{Scene, application, bot_user, dispatch};
use crate::rules::{Event, Guilds, Limits, Rules};

fn body(event: &Event) -> String {
    let limits = Limits {
        max_concurrency: 1,
        identify_window_ms: 1,
        budget_total: 1,
        budget_remaining: 1,
        resume_window_ms: 1,
        heartbeat_interval_ms: 1,
        guilds: 4,
        token: None,
        seed: 1,
        epoch_ms: 0,
    };
    let rules = Rules::new(limits);
    let scene = Scene {
        shard: ShardId::new(1, 2).unwrap(),
        session_id: "s",
        resume_gateway_url: "ws://127.0.0.1/resume",
        content: true,
        guilds: rules.guilds(),
    };
    let text = dispatch(7, event, &scene);
    assert!(
        text.starts_with(r#"{"t":""#),
        "scanned headers come before the body"
    );
    let whole: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&whole["s"], &whole["op"]), (&7.into(), &0.into()));
    whole["d"].to_string()
}

#[test]
fn every_payload_parses_in_full() {
    let ready: Ready = serde_json::from_str(&body(&Event::Ready)).unwrap();
    assert_eq!(ready.guilds.len(), 2);
    let guild: GuildCreate = serde_json::from_str(&body(&Event::Guild(3))).unwrap();
    assert_eq!(guild.id().get(), Guilds::id(3));
    let at_ms = 1_767_225_600_000;
    let message = body(&Event::Message {
        guild: 3,
        number: 5,
        at_ms,
    });
    let message: MessageCreate = serde_json::from_str(&message).unwrap();
    assert_eq!(message.content, "message 5");
    assert_eq!((message.id.get() >> 22) + super::DISCORD_EPOCH_MS, at_ms);
    let chunk = body(&Event::Members {
        guild_id: Guilds::id(3),
        nonce: Some("n".into()),
    });
    let chunk: MemberChunk = serde_json::from_str(&chunk).unwrap();
    assert_eq!(chunk.nonce.as_deref(), Some("n"));
    let _: CurrentUser = serde_json::from_str(&bot_user().to_string()).unwrap();
    let _: Application = serde_json::from_str(&application().to_string()).unwrap();
}
