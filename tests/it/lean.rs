//! What the manager is built of. The oracle lives in the same repository; none
//! of what it takes to run a model or a network of peers may get in here.
//!
//! Read from Cargo.lock, which has every platform, feature and test: more than
//! is ever built at once, and never less.

use std::collections::{BTreeMap, BTreeSet};

/// What nobody needs to keep shards running: each is a name, or how names begin.
const FOREIGN: &[&str] = &[
    "shardman-oracle",
    "async-openai",
    "burn",
    "candle",
    "ctranslate2",
    "cudarc",
    "gemm",
    "ggml",
    "gguf",
    "half",
    "hf-hub",
    "libp2p",
    "llama",
    "minijinja",
    "mistral",
    "multiaddr",
    "ndarray",
    "onnx",
    "onig",
    "ort",
    "ort-sys",
    "rayon",
    "rust-tokenizers",
    "safetensors",
    "tch",
    "tiktoken",
    "tokenizers",
    "torch",
    "tract",
    "webrtc",
    "wgpu",
];

/// Names that stand for themselves alone: others begin so and are something else.
const WHOLE: &[&str] = &["burn", "half", "ort", "rayon", "tch"];

/// The names that each package of the workspace's lock file depends on.
fn locked() -> BTreeMap<String, BTreeSet<String>> {
    let text = include_str!("../../Cargo.lock");
    let mut packages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in text.split("[[package]]").skip(1) {
        let name = package.split("name = \"").nth(1).unwrap();
        let name = name.split('"').next().unwrap();
        let list = package.split("dependencies = [").nth(1).unwrap_or("]");
        let list = list.split(']').next().unwrap();
        // `name`, or `name version` where there are several.
        let names = list.split('"').skip(1).step_by(2);
        let names = names.filter_map(|entry| entry.split(' ').next());
        let known = packages.entry(name.to_owned()).or_default();
        known.extend(names.map(str::to_owned));
    }
    packages
}

/// Everything below a package.
fn tree(package: &str) -> BTreeSet<String> {
    let locked = locked();
    let mut found = BTreeSet::new();
    let mut open = vec![package.to_owned()];
    while let Some(name) = open.pop() {
        let below = locked.get(&name);
        for name in below.unwrap_or_else(|| panic!("{name} is not locked")) {
            if found.insert(name.clone()) {
                open.push(name.clone());
            }
        }
    }
    found
}

fn foreign(package: &str) -> BTreeSet<String> {
    let is_foreign = |name: &String| {
        FOREIGN
            .iter()
            .any(|foreign| name == foreign || (!WHOLE.contains(foreign) && name.starts_with(foreign)))
    };
    tree(package).into_iter().filter(is_foreign).collect()
}

#[test]
fn the_manager_has_nothing_of_a_model_or_a_network_of_peers_in_it() {
    let ours = tree("shardman");
    assert!(ours.len() > 100 && ours.contains("tokio"), "{}", ours.len());
    assert_eq!(foreign("shardman"), BTreeSet::new());
    // The same look finds them where they are.
    let theirs = foreign("shardman-oracle");
    for name in ["candle-core", "gemm", "minijinja", "rayon", "tokenizers"] {
        assert!(theirs.contains(name), "{theirs:?}");
    }
}

/// What both are built of may know neither.
#[test]
fn what_the_oracle_and_the_manager_share_depends_on_neither() {
    for package in ["shardman-core", "shardman-lease", "shardman-serve"] {
        let below = tree(package);
        for name in ["shardman", "shardman-oracle"] {
            assert!(!below.contains(name), "{package} depends on {name}");
        }
    }
    assert!(!tree("shardman-oracle").contains("shardman"), "by HTTP alone");
}
