//! The book: every command in it is run on the real program, block after block,
//! each page in a folder of its own. What a page is to keep to stands in
//! docs/README.md, "How this book is tested".

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::support::tools;

mod page;
mod session;

use page::{Block, Page};
use session::Session;

/// What the commands of the book need beside the program.
const TOOLS: &[&[&str]] = &[
    &["curl", "--version"],
    &["python3", "--version"],
    &["node", "--version"],
];

/// The pages that have a test of their own, so that they are run side by side.
const OWN: [&str; 7] = [
    "README.md",
    "docs/API.md",
    "docs/OPERATE.md",
    "docs/RESCALE.md",
    "docs/START.md",
    "docs/TROUBLESHOOTING.md",
    "docs/WORKERS.md",
];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<Page> {
    let docs = fs::read_dir(root().join("docs")).unwrap().flatten();
    let docs = docs.map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = docs
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    paths.push(root().join("README.md"));
    paths.sort();
    paths.into_iter().map(|path| Page::read(root(), &path)).collect()
}

/// Runs the pages that are `wanted`, one after the other.
fn run(test: &str, wanted: impl Fn(&str) -> bool) {
    if !tools(test, TOOLS) {
        return;
    }
    let all = pages();
    let mut commands = 0;
    for page in all.iter().filter(|page| wanted(&page.name)) {
        commands += Session::new(page, &all).run();
    }
    eprintln!("{commands} commands");
    assert!(commands > 0, "nothing to run");
}

#[test]
fn the_commands_of_the_readme_work() {
    run("the readme", |name| name == "README.md");
}

#[test]
fn the_commands_of_the_start_work() {
    run("the start", |name| name == "docs/START.md");
}

#[test]
fn the_commands_of_operation_work() {
    run("operation", |name| name == "docs/OPERATE.md");
}

#[test]
fn the_commands_of_rescaling_work() {
    run("rescaling", |name| name == "docs/RESCALE.md");
}

#[test]
fn the_commands_of_troubleshooting_work() {
    run("troubleshooting", |name| name == "docs/TROUBLESHOOTING.md");
}

#[test]
fn the_two_calls_of_the_api_work() {
    run("the API", |name| name == "docs/API.md");
}

#[test]
fn the_workers_of_the_book_work() {
    run("the workers", |name| name == "docs/WORKERS.md");
}

#[test]
fn the_commands_of_all_other_pages_work() {
    run("the other pages", |name| !OWN.contains(&name));
}

/// `#some-words` of a heading, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for page in pages() {
        let here = root().join(&page.name);
        for target in page
            .text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', ' ']).next())
        {
            if target.contains("://") {
                continue;
            }
            let (file, part) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                here.clone()
            } else {
                here.parent().unwrap().join(file)
            };
            assert!(path.exists(), "{}: {target}", page.name);
            if !part.is_empty() {
                let text = fs::read_to_string(&path).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|line| anchor(line.trim_start_matches('#')) == part),
                    "{}: {target}",
                    page.name
                );
            }
            links += 1;
        }
    }
    assert!(links > 50, "{links}");
}

/// What is wrong with `shardman …`, if it is a command line of ours.
fn flaw(line: &str) -> Option<String> {
    let ours = shardman::config::Cli::command();
    let mut words = line.split_whitespace().skip(1).peekable();
    let name = *words.peek()?;
    // A path, or a user's name in another command; and what the manager starts
    // its children with.
    let is_word = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.contains(['.', '/']);
    if !is_word || name == "exec-child" {
        return None;
    }
    let Some(command) = ours.find_subcommand(name) else {
        return Some(format!("there is no `shardman {name}`"));
    };
    // What another program gets, and text in quotes, is not ours.
    let words = words
        .skip(1)
        .take_while(|word| !["|", "&&", "#", "||", ">"].contains(word));
    let mut quoted = false;
    for word in words {
        let quotes = word.matches('\'').count();
        let begins_outside = !quoted;
        quoted ^= quotes % 2 == 1;
        let Some(flag) = word.strip_prefix("--").filter(|_| begins_outside) else {
            continue;
        };
        let flag = flag
            .split('=')
            .next()
            .unwrap_or(flag)
            .trim_end_matches([',', ';', ')']);
        let named = |arg: &clap::Arg| {
            arg.get_long() == Some(flag) || arg.get_all_aliases().is_some_and(|all| all.contains(&flag))
        };
        if flag != "help" && !command.get_arguments().any(named) {
            return Some(format!("`shardman {name}` has no --{flag}"));
        }
    }
    None
}

/// Everything in the book that looks like a command line of ours: in the text,
/// and within the blocks that are not run.
fn mentions(page: &Page) -> Vec<String> {
    let blocks = page.blocks.iter().filter(|block| block.is_shell());
    let lines = blocks
        .flat_map(|block| block.commands())
        .map(|command| command.line);
    // Further words before it: variables, or a container's command line.
    let lines = lines.filter_map(|line| {
        let (before, _) = line.rsplit_once("shardman ")?;
        let begins = before.is_empty() || before.ends_with(' ');
        begins.then(|| line[before.len()..].to_owned())
    });
    let spans = page.prose.split('`').skip(1).step_by(2);
    let spans = spans
        .filter(|span| span.starts_with("shardman "))
        .map(str::to_owned);
    lines.chain(spans).collect()
}

#[test]
fn every_command_that_is_named_exists_with_its_flags() {
    let mut found = 0;
    for page in pages() {
        for line in mentions(&page) {
            assert_eq!(flaw(&line), None, "{}: {line}", page.name);
            found += 1;
        }
    }
    assert!(found > 60, "{found}");
    assert!(flaw("shardman restrat").is_some() && flaw("shardman restart --canery 3").is_some());
}

#[test]
fn every_variable_is_in_the_table_of_settings() {
    let example = fs::read_to_string(root().join(".env.example")).unwrap();
    let names = example
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='));
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let rows: Vec<_> = readme.lines().filter(|line| line.starts_with("| `")).collect();
    let missing: BTreeSet<_> = names
        .map(|(name, _)| name)
        .filter(|name| !rows.iter().any(|row| row.contains(&format!("`{name}`"))))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_is_left_to_the_reader_names_files_that_exist() {
    let pages = pages();
    let by_hand = pages
        .iter()
        .flat_map(|page| page.blocks.iter().map(move |block| (page, block)));
    let by_hand = by_hand.filter(|(_, block)| block.is_shell() && block.is_by_hand());
    let mut found = 0;
    for (page, block) in by_hand {
        let words = block.text.split([' ', '\n', '\'', ':', '=']);
        for word in words.filter(|word| is_ours(word)) {
            assert!(
                root().join(word.trim_start_matches("./")).exists(),
                "{}: {word}",
                page.name
            );
            found += 1;
        }
    }
    assert!(found > 5, "{found}");
}

fn is_ours(word: &str) -> bool {
    [
        "deploy/",
        "clients/",
        "./clients/",
        "examples/",
        "docs/",
        "oracle/",
    ]
    .iter()
    .any(|folder| word.starts_with(folder))
}

#[test]
fn outputs_are_compared_by_their_shape() {
    for (shown, printed, alike) in [
        ("8 of 8 shards ready, …", "16 of 16 shards ready, 16 leased", true),
        (
            "     4 min ago  ready after RESUME",
            "     2 s ago  ready after RESUME",
            true,
        ),
        ("ready after RESUME", "ready after IDENTIFY", false),
        (
            r#"{"shard_id":0,"session_id":"9f1c…",…}"#,
            r#"{"shard_id":7,"session_id":"0a-b","x":1}"#,
            true,
        ),
        ("! halted: …", "! waiting for Discord", false),
    ] {
        assert_eq!(page::alike(shown, printed), alike, "{shown} / {printed}");
    }
    let block = Block::new("console", 1, "$ a \\\n    b\n1\n…\n2\n");
    let commands = block.commands();
    assert_eq!(
        (commands.len(), &*commands[0].line, &*commands[0].shown),
        (1, "a \\\n    b", &["1", "…", "2"].map(str::to_owned)[..])
    );
    assert!(commands[0].is_shown_by("0\n1\nx\ny\n2\n") && !commands[0].is_shown_by("2\nz\n"));
}
