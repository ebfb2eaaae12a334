//! The house rules that a machine can check.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = [
        "src", "core", "lease", "serve", "worker", "sim", "oracle", "tests", "benches",
    ]
    .map(|name| root().join(name))
    .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("node_modules") && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 40);
    found
}

#[track_caller]
fn none(what: &str, found: &[PathBuf]) {
    assert!(found.is_empty(), "{what}: {found:?}");
}

fn files_where(rule: impl Fn(&Path, &str) -> bool) -> Vec<PathBuf> {
    sources()
        .into_iter()
        .filter(|(path, text)| rule(path, text))
        .map(|(path, _)| path)
        .collect()
}

#[test]
fn no_file_is_longer_than_four_hundred_lines() {
    none(
        "split by duty",
        &files_where(|_, text| text.lines().count() > 400),
    );
}

#[test]
fn modules_are_named_by_their_file() {
    none(
        "foo.rs beside foo/",
        &files_where(|path, _| path.ends_with("mod.rs")),
    );
}

#[test]
fn tests_wait_for_events() {
    let sleeps = |path: &Path, text: &str| {
        let is_test = path.starts_with("tests") || path.to_str().unwrap().contains("tests");
        let may = path.ends_with("tidy.rs");
        is_test && !may && text.contains("sleep(")
    };
    none("wait for what is to happen", &files_where(sleeps));
}

#[test]
fn every_file_says_what_it_is_for() {
    let is_tests = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.to_str().unwrap().contains("tests"))
    };
    none(
        "begin with //!",
        &files_where(|path, text| !text.starts_with("//!") && !is_tests(path)),
    );
}

#[test]
fn the_environment_is_read_in_one_place() {
    let reads = |path: &Path, text: &str| {
        // A secret is no flag: where it is read is the same for all who need one.
        let may = [
            "src/config",
            "worker/src/config",
            "oracle/src/config",
            "lease/src/secret",
            "tests",
            "oracle/tests",
            "benches",
        ];
        text.contains("env::var")
            && !may
                .iter()
                .any(|place| path.starts_with(place) || path.with_extension("").starts_with(place))
    };
    none("declare it in config.rs", &files_where(reads));
}

#[test]
fn the_rules_know_no_runtime_and_no_clock() {
    let manifest = fs::read_to_string(root().join("core/Cargo.toml")).unwrap();
    let dependencies = manifest
        .split("[dependencies]")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    for runtime in ["tokio", "async", "hyper", "axum", "rustix", "getrandom"] {
        assert!(!dependencies.contains(runtime), "core depends on {runtime}");
    }
}

/// `[words](../FILE "name")` in a document: the file and the name.
fn linked_tests(text: &str) -> Vec<(&str, &str)> {
    let links = text.split("](../").skip(1);
    let parts = links.filter_map(|link| link.split_once(')')?.0.split_once(" \""));
    parts
        .map(|(file, name)| (file, name.trim_end_matches('"')))
        .collect()
}

#[test]
fn every_yes_of_the_comparison_leads_to_its_test() {
    let text = fs::read_to_string(root().join("docs/SUPERVISION.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let ours: Vec<_> = rows.filter_map(|row| row.split('|').nth(2)).collect();
    assert!(
        ours.iter().all(|cell| !cell.trim_start().starts_with("yes")),
        "a yes without a test"
    );
    let tests = linked_tests(&text);
    assert!(tests.len() > 40, "{}", tests.len());
    for (file, name) in tests {
        let source = fs::read_to_string(root().join(file)).unwrap();
        assert!(source.contains(&format!("fn {name}()")), "{file} has no {name}");
    }
}
