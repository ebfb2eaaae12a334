//! What the program says of itself, against `docs/CLI.md`. With
//! `SHARDMAN_TEST_BLESS` set the document is brought up to date.

use std::path::Path;

use crate::support::Program;

const BEGIN: &str = "<!-- begin: shardman --help -->\n";
const END: &str = "<!-- end: shardman --help -->\n";

fn document() -> (std::path::PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CLI.md");
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

fn printed(args: &[&str]) -> String {
    let (code, text, errors) = Program::shardman(args).run();
    assert_eq!(code, 0, "{args:?}: {errors}");
    text
}

/// The names of all commands.
fn commands() -> Vec<String> {
    let help = printed(&["--help"]);
    let list = help.split("Commands:\n").nth(1).unwrap();
    let list = list.split("\n\n").next().unwrap();
    let names = list
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names = names.filter(|name| !name.is_empty() && *name != "help");
    names.map(str::to_owned).collect()
}

#[test]
fn the_document_has_the_help_of_every_command() {
    let commands = commands();
    assert!(commands.len() >= 18, "{commands:?}");
    let mut expected = String::new();
    for command in &commands {
        let help = printed(&[command, "--help"]);
        assert!(
            help.contains("Exit codes:\n  0 "),
            "{command} does not tell its exit codes"
        );
        let lines = help.lines().map(|line| format!("{}\n", line.trim_end()));
        let help: String = lines.collect();
        expected.push_str(&format!("\n### shardman {command}\n\n```text\n{help}```\n"));
    }
    expected.push('\n');
    let (path, text) = document();
    let (before, rest) = text.split_once(BEGIN).expect("the mark where it begins");
    let (found, after) = rest.split_once(END).expect("the mark where it ends");
    if std::env::var_os("SHARDMAN_TEST_BLESS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    let differ = found
        .lines()
        .zip(expected.lines())
        .find(|(found, expected)| found != expected);
    assert_eq!(differ, None, "SHARDMAN_TEST_BLESS=1 writes docs/CLI.md anew");
    assert_eq!(found.len(), expected.len());
}

#[test]
fn the_table_of_exit_codes_has_every_code_of_every_command() {
    let (_, text) = document();
    let text = text.split("## Exit codes").nth(1).unwrap();
    let row = |command: &str| {
        let begin = format!("| `{command}` |");
        let row = text.lines().find(|line| line.starts_with(&begin));
        row.unwrap_or_else(|| panic!("no row for {command}")).to_owned()
    };
    for command in commands() {
        let help = printed(&[&command, "--help"]);
        let codes = help.split("Exit codes:\n").nth(1).unwrap().lines();
        let codes = codes.filter_map(|line| line.trim_start().split(' ').next()?.parse::<u8>().ok());
        let codes: Vec<_> = codes.map(|code| code.to_string()).collect();
        let row = row(&command);
        let told: Vec<_> = row
            .split('|')
            .nth(2)
            .unwrap()
            .split(", ")
            .map(str::trim)
            .collect();
        assert_eq!(told, codes, "{command}");
    }
}

#[test]
fn the_api_the_manual_and_completions_are_printed() {
    let api: serde_json::Value = serde_json::from_str(&printed(&["openapi"])).unwrap();
    assert!(api["paths"]["/fleet/stop"].is_object());
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        assert!(
            script.contains("rescale") && script.contains("spend-reserve"),
            "{shell}"
        );
    }
    assert!(printed(&["man"]).contains(".TH shardman 1"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man");
    printed(&["man", "--out", out.to_str().unwrap()]);
    for command in commands() {
        let page = std::fs::read_to_string(out.join(format!("shardman-{command}.1"))).unwrap();
        assert!(page.contains("Exit codes:"), "{command}");
    }
    assert!(out.join("shardman.1").exists());
}
