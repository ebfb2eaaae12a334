//! Discord's JSON, with every field that a client library demands.
//!
//! The envelope is written by hand: some clients find `t`, `s` and `op` by
//! scanning for their first occurrence, so these stand before `d`.

#[cfg(test)]
mod tests;

use serde_json::{Value, json};
use shardman_core::id::ShardId;

use crate::rules::{Event, Guilds};
pub(crate) use shardman_core::wall::rfc3339_micros as iso8601;

/// Unix milliseconds of Discord's epoch, from which snowflakes count.
const DISCORD_EPOCH_MS: u64 = 1_420_070_400_000;
const BOT_ID: &str = "200000000000000000";
const AUTHOR_ID: &str = "300000000000000000";
const OWNER_ID: &str = AUTHOR_ID;
const APPLICATION_ID: &str = BOT_ID;
/// `GATEWAY_PRESENCE`, `GATEWAY_GUILD_MEMBERS`, `GATEWAY_MESSAGE_CONTENT`.
const APPLICATION_FLAGS: u32 = 1 << 12 | 1 << 14 | 1 << 18;
const JOINED_AT: &str = "2024-01-01T00:00:00.000000+00:00";

/// What an event's JSON depends on besides the event.
pub(crate) struct Scene<'a> {
    pub(crate) shard: ShardId,
    pub(crate) session_id: &'a str,
    pub(crate) resume_gateway_url: &'a str,
    /// Whether the session may read what messages say.
    pub(crate) content: bool,
    pub(crate) guilds: &'a Guilds,
}

/// A whole dispatch.
pub(crate) fn dispatch(sequence: u64, event: &Event, scene: &Scene<'_>) -> String {
    let (name, body) = match event {
        Event::Ready => ("READY", ready(scene).to_string()),
        Event::Resumed => ("RESUMED", json!({"_trace": ["sim"]}).to_string()),
        Event::Guild(index) => ("GUILD_CREATE", guild(*index).to_string()),
        Event::GuildLeft(index) => (
            "GUILD_DELETE",
            json!({"id": Guilds::id(*index).to_string()}).to_string(),
        ),
        Event::Message { guild, number, at_ms } => {
            ("MESSAGE_CREATE", message(*guild, *number, *at_ms, scene.content))
        }
        Event::Members { guild_id, nonce } => (
            "GUILD_MEMBERS_CHUNK",
            members_chunk(*guild_id, nonce.as_deref()).to_string(),
        ),
    };
    format!(r#"{{"t":"{name}","s":{sequence},"op":0,"d":{body}}}"#)
}

/// Anything that is not a dispatch.
pub(crate) fn frame(op: u8, body: &Value) -> String {
    format!(r#"{{"t":null,"s":null,"op":{op},"d":{body}}}"#)
}

pub(crate) fn hello(heartbeat_interval_ms: u64) -> String {
    frame(
        10,
        &json!({"heartbeat_interval": heartbeat_interval_ms, "_trace": ["sim"]}),
    )
}

fn ready(scene: &Scene<'_>) -> Value {
    let guilds: Vec<Value> = scene
        .guilds
        .of(scene.shard)
        .map(|index| json!({"id": Guilds::id(index).to_string(), "unavailable": true}))
        .collect();
    json!({
        "v": 10,
        "user": bot_user(),
        "user_settings": {},
        "guilds": guilds,
        "session_id": scene.session_id,
        "session_type": "normal",
        "resume_gateway_url": scene.resume_gateway_url,
        "shard": [scene.shard.number(), scene.shard.total()],
        "application": {"id": APPLICATION_ID, "flags": APPLICATION_FLAGS},
        "private_channels": [],
        "relationships": [],
        "presences": [],
        "guild_join_requests": [],
        "geo_ordered_rtc_regions": [],
        "_trace": ["sim"],
    })
}

pub(crate) fn bot_user() -> Value {
    let mut user = user(BOT_ID, "sim", true);
    user["mfa_enabled"] = json!(true);
    user["verified"] = json!(true);
    user["email"] = Value::Null;
    user["locale"] = json!("en-US");
    user
}

fn user(id: &str, name: &str, bot: bool) -> Value {
    json!({
        "id": id, "username": name, "global_name": null, "discriminator": "0000", "avatar": null,
        "avatar_decoration_data": null, "banner": null, "accent_color": null, "bot": bot, "system": false,
        "flags": 0, "public_flags": 0,
    })
}

pub(crate) fn application() -> Value {
    json!({
        "id": APPLICATION_ID, "name": "sim", "description": "", "icon": null, "bot": bot_user(),
        "bot_public": true, "bot_require_code_grant": false, "flags": APPLICATION_FLAGS, "hook": true,
        "rpc_origins": [], "summary": "", "tags": [], "team": null, "verify_key": "00", "guild_id": null,
        "owner": user(OWNER_ID, "owner", false), "interactions_endpoint_url": null, "redirect_uris": [],
        "role_connections_verification_url": null, "integration_types_config": {}, "cover_image": null,
        "approximate_guild_count": 0, "approximate_user_install_count": 0,
    })
}

fn guild(index: u32) -> Value {
    let id = Guilds::id(index);
    let name = format!("Guild {index}");
    json!({
        "id": id.to_string(), "name": name, "icon": null, "icon_hash": null, "splash": null,
        "discovery_splash": null, "owner_id": OWNER_ID, "permissions": "0", "region": "deprecated",
        "afk_channel_id": null, "afk_timeout": 300, "widget_enabled": false, "widget_channel_id": null,
        "verification_level": 0, "default_message_notifications": 0, "explicit_content_filter": 0,
        "roles": [everyone(id)], "emojis": [], "features": [], "mfa_level": 0, "application_id": null,
        "system_channel_id": null, "system_channel_flags": 0, "rules_channel_id": null,
        "max_presences": null, "max_members": 500_000, "vanity_url_code": null, "description": null,
        "banner": null, "premium_tier": 0, "premium_subscription_count": 0, "preferred_locale": "en-US",
        "public_updates_channel_id": null, "max_video_channel_users": 25,
        "max_stage_video_channel_users": 50, "nsfw": false, "nsfw_level": 0, "stickers": [],
        "premium_progress_bar_enabled": false, "safety_alerts_channel_id": null, "incidents_data": null,
        "hub_type": null, "home_header": null, "latest_onboarding_question_id": null,
        "joined_at": JOINED_AT, "large": false, "unavailable": false, "member_count": 2, "lazy": true,
        "members": members(), "channels": [channel(id)], "threads": [], "presences": [],
        "voice_states": [], "stage_instances": [], "guild_scheduled_events": [],
        "application_command_counts": {}, "embedded_activities": [], "soundboard_sounds": [],
    })
}

fn everyone(guild_id: u64) -> Value {
    json!({
        "id": guild_id.to_string(), "name": "@everyone", "description": null, "permissions": "1071698660929",
        "position": 0, "color": 0, "hoist": false, "managed": false, "mentionable": false, "icon": null,
        "colors": {"primary_color": 0, "secondary_color": null, "tertiary_color": null},
        "unicode_emoji": null, "flags": 0, "tags": {},
    })
}

fn channel(guild_id: u64) -> Value {
    json!({
        "id": (guild_id | 1).to_string(), "guild_id": guild_id.to_string(), "type": 0, "name": "general",
        "position": 0, "topic": null, "nsfw": false, "last_message_id": null, "rate_limit_per_user": 0,
        "parent_id": null, "permission_overwrites": [], "flags": 0, "version": 0,
    })
}

fn members() -> Value {
    json!([
        member(user(BOT_ID, "sim", true)),
        member(user(AUTHOR_ID, "owner", false))
    ])
}

fn member(user: Value) -> Value {
    let mut member = json!({
        "nick": null, "avatar": null, "banner": null, "roles": [], "joined_at": JOINED_AT,
        "premium_since": null, "deaf": false, "mute": false, "flags": 0, "pending": false,
        "communication_disabled_until": null,
    });
    member["user"] = user;
    member
}

fn members_chunk(guild_id: u64, nonce: Option<&str>) -> Value {
    json!({
        "guild_id": guild_id.to_string(), "members": members(), "chunk_index": 0, "chunk_count": 1,
        "not_found": [], "presences": [], "nonce": nonce,
    })
}

/// Written by hand, because this is what there are thousands of a second of.
fn message(guild: u32, number: u64, at_ms: u64, content: bool) -> String {
    let guild_id = Guilds::id(guild);
    let channel_id = guild_id | 1;
    let id = at_ms.saturating_sub(DISCORD_EPOCH_MS) << 22 | number & 0x3f_ffff;
    let content = if content {
        format!("message {number}")
    } else {
        String::new()
    };
    let timestamp = iso8601(at_ms);
    format!(
        concat!(
            r#"{{"type":0,"tts":false,"timestamp":"{timestamp}","pinned":false,"nonce":"{number}","#,
            r#""mentions":[],"mention_roles":[],"mention_everyone":false,"member":{{"roles":[],"#,
            r#""premium_since":null,"pending":false,"nick":null,"mute":false,"joined_at":"{joined}","#,
            r#""flags":0,"deaf":false,"communication_disabled_until":null,"banner":null,"avatar":null}},"#,
            r#""id":"{id}","flags":0,"embeds":[],"edited_timestamp":null,"content":"{content}","#,
            r#""components":[],"channel_type":0,"channel_id":"{channel_id}","author":{{"username":"owner","#,
            r#""public_flags":0,"id":"{author}","global_name":null,"discriminator":"0000","bot":false,"#,
            r#""avatar_decoration_data":null,"avatar":null}},"attachments":[],"guild_id":"{guild_id}"}}"#,
        ),
        timestamp = timestamp,
        number = number,
        joined = JOINED_AT,
        id = id,
        content = content,
        channel_id = channel_id,
        author = AUTHOR_ID,
        guild_id = guild_id,
    )
}
