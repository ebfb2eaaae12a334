//! A command of somebody else's: how it gets its shards, and the words in it
//! that stand for them.
//!
//! A command is given to a shell, and braces mean something there: only these
//! names in braces count, not after a `$`, and nothing else is touched.

use shardman_core::{PoolId, SessionId, ShardId, WorkerId};

/// How children get their shards (`WORKER_REGISTER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WorkerRegister {
    /// They call `GET /connect`.
    Connect,
    /// The manager gives them at the start.
    Assigned,
    /// `assigned` where the command names its shards, else `connect`.
    Auto,
}

/// The names that stand for something of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Shards,
    Shard,
    Total,
    Worker,
}

const NAMES: &[(&str, Name)] = &[
    ("{shards}", Name::Shards),
    ("{shard}", Name::Shard),
    ("{shard_id}", Name::Shard),
    ("{total}", Name::Total),
    ("{shard_count}", Name::Total),
    ("{worker}", Name::Worker),
];

/// What a child was given, and the names of its leases.
pub(super) type Assigned = [(ShardId, SessionId)];

/// Whether the command names the shards that it is to run.
pub fn names_shards(command: &str) -> bool {
    let of_shards = |part: &Part<'_>| matches!(part, Part::Name(name) if *name != Name::Worker);
    parts(command).iter().any(of_shards)
}

/// The command for one child. Without shards of its own only its name is known.
pub(super) fn fill(command: &str, worker: &WorkerId, assigned: &Assigned) -> String {
    let text = |part: &Part<'_>| match part {
        Part::Text(text) => (*text).to_owned(),
        Part::Name(Name::Worker) => worker.to_string(),
        Part::Name(Name::Shards) => numbers(assigned),
        Part::Name(Name::Shard) => numbers(assigned.get(..1).unwrap_or_default()),
        Part::Name(Name::Total) => total(assigned),
    };
    parts(command).iter().map(text).collect()
}

/// What such a child finds in its environment: its slot, or, of the pool
/// `discord`, its shards. An unmodified discord.js client
/// reads `SHARDS` and `SHARD_COUNT`.
pub(super) fn environment(pool: &PoolId, assigned: &Assigned) -> Vec<(&'static str, String)> {
    let Some((first, _)) = assigned.first() else {
        return Vec::new();
    };
    if !pool.is_discord() {
        return vec![("SHARDMAN_SLOT", first.number().to_string())];
    }
    let sessions: Vec<_> = assigned.iter().map(|(_, session)| session.reveal()).collect();
    vec![
        ("SHARDMAN_SHARD_IDS", numbers(assigned)),
        ("SHARDMAN_TOTAL_SHARDS", total(assigned)),
        ("SHARDMAN_SESSIONS", sessions.join(",")),
        ("SHARDS", format!("[{}]", numbers(assigned))),
        ("SHARD_COUNT", total(assigned)),
    ]
}

fn numbers(assigned: &Assigned) -> String {
    let numbers: Vec<_> = assigned
        .iter()
        .map(|(shard, _)| shard.number().to_string())
        .collect();
    numbers.join(",")
}

fn total(assigned: &Assigned) -> String {
    let first = assigned.first();
    first.map_or_else(String::new, |(shard, _)| shard.total().to_string())
}

enum Part<'a> {
    Text(&'a str),
    Name(Name),
}

fn parts(command: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(brace) = command[at..].find('{').map(|brace| at + brace) {
        at = brace + 1;
        let known = |text: &str| {
            let found = NAMES.iter().find(|(name, _)| text.starts_with(name));
            found.copied()
        };
        // A name in double braces stands for itself in single ones.
        if let Some((name, _)) = known(&command[at..])
            && command[at + name.len()..].starts_with('}')
        {
            let end = at + name.len();
            parts.push(Part::Text(&command[from..brace]));
            parts.push(Part::Text(&command[at..end]));
            (from, at) = (end + 1, end + 1);
            continue;
        }
        // After a `$` it is the shell's.
        if let Some((text, name)) = known(&command[brace..])
            && !command[..brace].ends_with('$')
        {
            parts.push(Part::Text(&command[from..brace]));
            parts.push(Part::Name(name));
            (from, at) = (brace + text.len(), brace + text.len());
        }
    }
    parts.push(Part::Text(&command[from..]));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(numbers: &[u32]) -> Vec<(ShardId, SessionId)> {
        let one = |number: &u32| {
            let shard = ShardId::new(*number, 8).unwrap();
            (shard, SessionId::from_random(u128::from(*number)))
        };
        numbers.iter().map(one).collect()
    }

    fn check(command: &str, expected: &str) {
        let worker = WorkerId::new(&PoolId::discord(), 1);
        assert_eq!(fill(command, &worker, &assigned(&[2, 3])), expected, "{command}");
    }

    #[test]
    fn names_in_braces_stand_for_what_the_child_is_given() {
        check("python bot.py {shards} {total}", "python bot.py 2,3 8");
        check("bot --shard={shard} --of={shard_count}", "bot --shard=2 --of=8");
        check("bot -i{shard_id} >{worker}.txt", "bot -i2 >discord-1.txt");
        check("{shards}{shards}", "2,32,3");
        check("node bot.js", "node bot.js");
    }

    #[test]
    fn what_belongs_to_the_shell_is_left_alone() {
        for command in [
            "echo ${shards} ${total:-1} $shard",
            "awk '{print}' x | awk '{ print $1 }'",
            "f() { total; }; f {shard,total} {a..c}",
            "echo {} {unknown} {Shards} {shards",
            "docker ps --format '{{.Names}}' {{ }}",
            "echo é{ß}",
        ] {
            check(command, command);
            assert!(!names_shards(command), "{command}");
        }
    }

    #[test]
    fn double_braces_around_a_name_give_it_in_single_ones() {
        check("echo {{shards}} {{total}}", "echo {shards} {total}");
        check("echo {{shards}", "echo {2,3");
        check("echo {{{shard}}}", "echo {{shard}}");
        assert!(!names_shards("echo {{shards}}"));
    }

    #[test]
    fn the_name_of_the_worker_alone_assigns_nothing() {
        assert!(!names_shards("bot {worker}"));
        for name in ["shards", "shard", "shard_id", "total", "shard_count"] {
            assert!(names_shards(&format!("bot {{{name}}}")), "{name}");
        }
    }

    #[test]
    fn the_environment_has_the_shards_in_the_forms_that_bots_read() {
        let discord = PoolId::discord();
        let environment = environment(&discord, &assigned(&[2, 3]));
        let of = |wanted| &environment.iter().find(|(name, _)| *name == wanted).unwrap().1;
        assert_eq!(of("SHARDS"), "[2,3]");
        assert_eq!(of("SHARD_COUNT"), "8");
        assert_eq!(of("SHARDMAN_SHARD_IDS"), "2,3");
        assert_eq!(of("SHARDMAN_TOTAL_SHARDS"), "8");
        assert_eq!(of("SHARDMAN_SESSIONS").split(',').count(), 2);
        assert!(super::environment(&discord, &[]).is_empty());
    }

    #[test]
    fn a_child_of_another_pool_is_told_its_slot() {
        let environment = environment(&"web".parse().unwrap(), &assigned(&[2]));
        assert_eq!(environment, [("SHARDMAN_SLOT", "2".to_owned())]);
    }
}
