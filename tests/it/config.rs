//! Configuration: declared once, and refused in one line.

use std::collections::BTreeMap;

use clap::CommandFactory;

use crate::support::Program;

fn up(args: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::shardman(&["up"]).dir(folder.path());
    for arg in args {
        program = program.arg(arg);
    }
    for (name, value) in variables {
        program = program.env(name, value);
    }
    let (code, _, error) = program.run();
    (code, error)
}

#[test]
fn a_bad_value_is_one_line_that_names_the_variable_the_value_and_the_remedy() {
    for (variable, value, remedy) in [
        ("MAX_SECONDS", "soon", "give seconds"),
        ("MAX_SHARDS", "-1", "whole number"),
        ("WORKERS", "some", "auto"),
        ("LISTEN", "nowhere", "127.0.0.1:7878"),
        ("DISCORD_API_URL", "discord", "https://discord.com"),
        ("CORS_ORIGINS", "example", "https://"),
        ("PUBLIC_STATUS", "maybe", "true or false"),
        ("REGISTER_SECONDS", "0", "give seconds"),
        ("WORKER_MEMORY", "512", "such as 512M"),
        ("WORKER_OPEN_FILES", "many", "whole number"),
        ("RESCALE", "maybe", "give one of off, propose, auto"),
    ] {
        let (code, error) = up(&[], &[("MAX_SHARDS", "1"), ("WORKERS", "0"), (variable, value)]);
        assert_eq!(code, 78, "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(
            error.contains(variable) && error.contains(value) && error.contains(remedy),
            "{error}"
        );
    }
    for (variable, value, remedy) in [
        ("EVENT_SINK", "file", "give one of none, stdout"),
        ("INTENTS", "guild", "known are guilds"),
    ] {
        let (code, error) = up(&[], &[("BOT_TOKEN", "t"), (variable, value)]);
        assert_eq!((code, error.lines().count()), (78, 1), "{error}");
        let said = format!("{variable} is '{value}'");
        assert!(error.contains(&said) && error.contains(remedy), "{error}");
    }
    let (code, error) = up(&["--max-seconds", "soon"], &[]);
    assert_eq!(
        (code, error.contains("--max-seconds is 'soon'")),
        (78, true),
        "{error}"
    );
}

#[test]
fn a_manager_is_looked_for_at_a_url() {
    let command = Program::shardman(&["status"]);
    let (code, _, error) = command.env("SHARDMAN_URL", "127.0.0.1:7878").run();
    assert_eq!(code, 78, "{error}");
    assert!(
        error.contains("SHARDMAN_URL") && error.contains("http://HOST:PORT"),
        "{error}"
    );
}

#[test]
fn what_cannot_start_does_not_pass_the_check() {
    let check = |variables: &[(&str, &str)]| {
        let mut command = Program::shardman(&["check"]);
        for (name, value) in variables {
            command = command.env(name, value);
        }
        let (code, _, error) = command.run();
        (code, error)
    };
    let (code, error) = check(&[("MAX_SHARDS", "2")]);
    assert_eq!(
        (code, error.contains("BOT_TOKEN is not set")),
        (78, true),
        "{error}"
    );
    let (code, error) = check(&[("BOT_TOKEN", "t"), ("INTENTS", "guild")]);
    assert_eq!(
        (code, error.contains("INTENTS is 'guild'")),
        (78, true),
        "{error}"
    );
    // Where no bundled worker is started, they may be another bot's own.
    let (code, error) = check(&[("MAX_SHARDS", "2"), ("WORKERS", "0"), ("INTENTS", "guild")]);
    assert_eq!(code, 0, "{error}");
}

#[test]
fn a_missing_token_says_what_to_do() {
    let (code, error) = up(&[], &[]);
    assert_eq!(code, 78);
    assert!(
        error.contains("BOT_TOKEN is not set") && error.contains("--sim"),
        "{error}"
    );
}

#[test]
fn an_unknown_flag_is_a_usage_error() {
    let (code, error) = up(&["--shards", "3"], &[]);
    assert_eq!(code, 2, "{error}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, error) = up(
        &[],
        &[("MAX_SHARDS", "1"), ("WORKERS", "0"), ("LISTEN", &address)],
    );
    assert_eq!(code, 78, "{error}");
    assert!(
        error.contains(&address) && error.contains("another port"),
        "{error}"
    );
}

#[test]
fn a_damaged_store_is_refused_by_name_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let file = data.join("shardman.redb");
    std::fs::write(&file, "not a store").unwrap();
    let (code, _, error) = Program::shardman(&["up", "--listen", "127.0.0.1:0"])
        .dir(folder.path())
        .env("MAX_SHARDS", "1")
        .env("WORKERS", "0")
        .run();
    assert_eq!(code, 78, "{error}");
    assert!(
        error.contains("shardman.redb") && error.contains("move it away"),
        "{error}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"not a store");
}

#[test]
fn empty_variables_of_a_file_are_unset() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join(".env"),
        "MAX_SHARDS=\nBOT_TOKEN=\nSECRET=\nCORS_ORIGINS=\n",
    )
    .unwrap();
    let (code, _, error) = Program::shardman(&["check", "--max-shards", "2", "--workers", "0"])
        .dir(folder.path())
        .run();
    assert_eq!(code, 0, "{error}");
}

/// Name, meaning and default of every variable, as the program declares them.
fn declared() -> BTreeMap<String, (String, String)> {
    let mut declared: BTreeMap<_, _> = shardman::config::SECRET_VARIABLES
        .iter()
        .map(|(name, help)| ((*name).to_owned(), ((*help).to_owned(), String::new())))
        .collect();
    for subcommand in shardman::config::Cli::command().get_subcommands() {
        // Set by the manager for its children, or for asking one.
        for arg in subcommand.get_arguments().filter(|arg| arg.get_env().is_some()) {
            let name = arg.get_env().unwrap().to_str().unwrap().to_owned();
            if name.starts_with("SHARDMAN_") {
                continue;
            }
            let help = arg
                .get_long_help()
                .or_else(|| arg.get_help())
                .map(ToString::to_string)
                .unwrap_or_default();
            let default = arg
                .get_default_values()
                .iter()
                .map(|value| value.to_str().unwrap())
                .collect::<String>();
            declared.entry(name).or_insert((help, default));
        }
    }
    declared
}

#[test]
fn the_example_file_has_every_variable_with_its_meaning_and_default() {
    let text = include_str!("../../.env.example");
    let mut shown = BTreeMap::new();
    let mut comment = String::new();
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("# ") {
            comment = if comment.is_empty() {
                words.to_owned()
            } else {
                format!("{comment} {words}")
            };
        } else if let Some((name, value)) = line.split_once('=') {
            shown.insert(name.to_owned(), (std::mem::take(&mut comment), value.to_owned()));
        } else {
            comment.clear();
        }
    }
    let plain = |text: &str| {
        text.trim_end_matches('.')
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    let tidy = |map: BTreeMap<String, (String, String)>| -> BTreeMap<String, (String, String)> {
        map.into_iter()
            .map(|(name, (help, value))| (name, (plain(&help), value)))
            .collect()
    };
    assert_eq!(tidy(shown), tidy(declared()));
}
