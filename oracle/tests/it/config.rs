//! Configuration: declared once, and refused in one line.

use std::collections::BTreeMap;
use std::net::TcpListener;

use clap::CommandFactory as _;
use shardman_oracle::config::{Cli, SECRET_VARIABLES};

use super::support::{Oracle, run};

#[test]
fn a_bad_value_is_one_line_that_names_the_variable_the_value_and_the_remedy() {
    for (variable, value, remedy) in [
        ("ORACLE_LISTEN", "nowhere", "127.0.0.1:8000"),
        (
            "ORACLE_MODEL",
            "/no/such/model.gguf",
            "give the path of a GGUF file",
        ),
        ("ORACLE_THREADS", "0", "from 1 to 256"),
        ("ORACLE_KV_MEMORY", "lots", "such as 512M"),
        ("ORACLE_QUEUE", "-1", "whole number"),
        ("ORACLE_QUEUE_SECONDS", "soon", "give seconds"),
        ("ORACLE_ANSWERS", "0", "whole number"),
        ("ORACLE_STOP_SECONDS", "NaN", "give seconds"),
        ("SHARD_RATE_LIMIT_PER_MINUTE", "many", "from 0 to"),
        ("SHARD_MAX_PROMPT_CHARS", "0", "from 1 to"),
        ("SHARD_CORS_ORIGINS", "example", "https://"),
    ] {
        let (code, _, error) = run(&["serve"], &[("ORACLE_MODEL", "fake"), (variable, value)]);
        assert_eq!(code, 78, "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(
            error.contains(variable) && error.contains(value) && error.contains(remedy),
            "{error}"
        );
    }
    let (code, _, error) = run(&["serve", "--model", "fake", "--queue", "x"], &[]);
    assert_eq!((code, error.contains("--queue is 'x'")), (78, true), "{error}");
    // Of another command, and of a flag whose name begins so, nothing is said.
    let threads = [("ORACLE_MODEL", "fake"), ("SCOUT_THREADS", "x")];
    let (_, _, error) = run(&["scout"], &threads);
    assert!(error.contains("SCOUT_THREADS is 'x'"), "{error}");
    let queue = [("ORACLE_MODEL", "fake"), ("ORACLE_QUEUE", "x")];
    let (_, _, error) = run(&["serve", "--queue-seconds", "5"], &queue);
    assert!(error.contains("ORACLE_QUEUE is 'x'"), "{error}");
    let (_, _, error) = run(&["scout"], &[("SECRET", "x")]);
    assert!(
        error.contains("ORACLE_MODEL is not set") && error.contains("guesses"),
        "{error}"
    );
}

#[test]
fn an_address_of_another_host_is_refused_with_what_helps() {
    let variables = [("ORACLE_MODEL", "fake"), ("ORACLE_LISTEN", "192.0.2.1:8000")];
    let (code, _, error) = run(&["serve"], &variables);
    assert_eq!(code, 78, "{error}");
    assert!(error.contains("choose an address of this machine"), "{error}");
}

#[test]
fn a_manager_without_its_secret_is_told_before_the_model_is_loaded() {
    let variables = [
        ("ORACLE_MODEL", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
        ("ORACLE_LISTEN", "127.0.0.1:0"),
        ("SHARDMAN_URL", "http://127.0.0.1:7878"),
    ];
    let (code, _, error) = run(&["serve"], &variables);
    assert_eq!((code, error.lines().count()), (78, 1), "{error}");
    assert!(error.contains("SECRET is not set"), "{error}");
}

#[test]
fn a_missing_model_says_what_to_do() {
    for variables in [vec![], vec![("ORACLE_MODEL", "")]] {
        let (code, _, error) = run(&["serve"], &variables);
        assert_eq!(code, 78, "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(
            error.contains("ORACLE_MODEL is not set") && error.contains("GGUF"),
            "{error}"
        );
    }
}

#[test]
fn a_file_that_is_no_model_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, "no model").unwrap();
    let path = path.to_str().unwrap();
    let (code, out, error) = run(&["serve", "--listen", "127.0.0.1:0"], &[("ORACLE_MODEL", path)]);
    let line = error.lines().last().unwrap();
    assert_eq!((code, out.as_str()), (78, ""), "{error}");
    assert!(line.contains("ORACLE_MODEL") && line.contains(path), "{error}");
}

#[test]
fn keys_that_cannot_be_used_are_refused_and_never_shown() {
    for (keys, remedy) in [
        (" , ", "separated by commas"),
        ("top-secret,two words", "visible ASCII"),
    ] {
        let (code, out, error) = run(&["serve"], &[("ORACLE_MODEL", "fake"), ("SHARD_API_KEYS", keys)]);
        assert_eq!((code, error.lines().count()), (78, 1), "{error}");
        assert!(
            error.contains("SHARD_API_KEYS") && error.contains(remedy),
            "{error}"
        );
        assert!(
            !error.contains("secret") && !error.contains("two") && out.is_empty(),
            "{error}"
        );
    }
    let (_, help, _) = run(&["serve", "--help"], &[("SHARD_API_KEYS", "top-secret")]);
    assert!(!help.contains("top-secret"));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, error) = run(
        &["serve"],
        &[("ORACLE_MODEL", "fake"), ("ORACLE_LISTEN", &address)],
    );
    assert_eq!((code, error.lines().count()), (78, 1), "{error}");
    assert!(
        error.contains(&address) && error.contains("another port"),
        "{error}"
    );
}

#[test]
fn what_is_not_understood_is_a_usage_error() {
    for args in [vec!["serve", "--modle", "fake"], vec!["brew"], vec![]] {
        let (code, _, error) = run(&args, &[]);
        assert_eq!(code, 2, "{args:?}: {error}");
    }
    for args in [["serve", "--help"], ["scout", "--help"], ["bench", "--help"]] {
        let (code, out, _) = run(&args, &[]);
        assert_eq!((code, out.contains("Exit codes")), (0, true), "{args:?}: {out}");
    }
}

#[test]
fn a_file_in_which_nothing_is_filled_in_changes_nothing() {
    let empty: Vec<(String, String)> = declared()
        .into_keys()
        .filter(|name| name != "ORACLE_LISTEN" && name != "ORACLE_MODEL")
        .map(|name| (name, String::new()))
        .collect();
    let empty: Vec<(&str, &str)> = empty
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let oracle = Oracle::start(&empty);
    assert_eq!(oracle.get("/v1/models").number("x-ratelimit-limit"), 60);
    let origins = &oracle.get("/health").json()["cors_origins"];
    assert_eq!(
        *origins,
        serde_json::json!(["http://localhost:3000", "http://127.0.0.1:3000"])
    );
}

/// Name, meaning and default of every variable, as the program declares them.
fn declared() -> BTreeMap<String, (String, String)> {
    let mut declared: BTreeMap<_, _> = SECRET_VARIABLES
        .iter()
        .map(|(name, help)| ((*name).to_owned(), ((*help).to_owned(), String::new())))
        .collect();
    for subcommand in Cli::command().get_subcommands() {
        for arg in subcommand.get_arguments() {
            let Some(name) = arg.get_env().and_then(|name| name.to_str()) else {
                continue;
            };
            // Set by the manager for its children.
            if ["SHARDMAN_POOL", "SHARDMAN_WORKER_ID"].contains(&name) {
                continue;
            }
            let help = arg.get_long_help().or_else(|| arg.get_help());
            let help = help.map(ToString::to_string).unwrap_or_default();
            let default = arg.get_default_values().iter();
            let default = default.map(|value| value.to_str().unwrap()).collect();
            declared.entry(name.to_owned()).or_insert((help, default));
        }
    }
    declared
}

/// Name, comment and value of every variable in the file.
fn documented() -> BTreeMap<String, (String, String)> {
    let paragraphs = include_str!("../../.env.example").split("\n\n").skip(1);
    paragraphs
        .map(|paragraph| {
            let (comment, setting) = paragraph.trim_end().rsplit_once('\n').unwrap();
            let (name, value) = setting.split_once('=').unwrap();
            let words = comment.lines().map(|line| line.strip_prefix("# ").unwrap());
            let words: Vec<_> = words.collect();
            (name.to_owned(), (words.join(" "), value.to_owned()))
        })
        .collect()
}

#[test]
fn the_example_file_has_every_variable_with_its_meaning_and_default() {
    // A help text has no full stop at its end.
    let plain = |all: BTreeMap<String, (String, String)>| -> BTreeMap<String, (String, String)> {
        let plain = |text: &str| text.trim_end_matches('.').to_owned();
        all.into_iter()
            .map(|(name, (help, value))| (name, (plain(&help), value)))
            .collect()
    };
    assert_eq!(plain(documented()), plain(declared()));
}
