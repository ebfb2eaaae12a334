//! The published document's own examples, word for word, but for the address:
//! each block of code in it is run.

use std::fmt::Write as _;
use std::process::{Command, Output};

use super::sdk::KEY;
use super::support::{Oracle, tools};

const DOCUMENT: &str = include_str!("published.md");

/// Where the document's examples are served.
const PUBLISHED: &str = "https://api.shard.network";

/// The blocks of code in one language, in order.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let after = DOCUMENT.split(&fence[..]).skip(1);
    after.map(|rest| rest.split("\n```").next().unwrap()).collect()
}

fn at(oracle: &Oracle, code: &str) -> String {
    code.replace(PUBLISHED, &format!("http://{}", oracle.address))
}

/// Runs code and returns what it printed; a complaint fails the test.
fn run(program: &str, flag: &str, code: &str) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(program).args([flag, code]).output().unwrap();
    let (said, complaint) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{code}\n{said}{complaint}");
    said.into_owned()
}

fn oracles(test: &str) -> Vec<Oracle> {
    let real = super::model::path(test).map(|path| path.to_str().unwrap().to_owned());
    let models = std::iter::once("fake".to_owned()).chain(real);
    models
        .map(|model| Oracle::start(&[("ORACLE_MODEL", &model), ("SHARD_API_KEYS", "")]))
        .collect()
}

#[test]
fn every_curl_of_the_document_is_answered() {
    if !tools("the published examples", &[&["curl", "--version"]]) {
        return;
    }
    for oracle in oracles("curl") {
        let mut ran = 0;
        for block in blocks("bash").into_iter().filter(|block| block.contains("curl ")) {
            // Its first block shows two ways to present a key, without a request.
            let shows_headers = block.contains("Using Authorization header");
            let code = at(&oracle, block).replace("curl ", "curl -sS ");
            let said = run("bash", "-c", &code);
            if shows_headers {
                assert!(said.contains("\"detail\""), "{said}");
            } else if block.contains("\"stream\": true") {
                assert!(
                    said.starts_with("data: {") && said.trim_end().ends_with("data: [DONE]"),
                    "{said}"
                );
            } else {
                let value: serde_json::Value = serde_json::from_str(&said).unwrap();
                assert!(value.get("error").is_none(), "{block}: {said}");
            }
            ran += 1;
        }
        assert_eq!(ran, 5, "the document has other blocks than it had");
    }
}

#[test]
fn every_python_of_the_document_runs() {
    if !tools(
        "the published examples",
        &[&["python3", "-c", "import requests, openai"]],
    ) {
        return;
    }
    // Two examples use what an earlier one imports; three only define functions.
    let prelude = "import json\nimport requests\n";
    let calls = [
        (
            "def chat_with_backoff",
            "\nprint(chat_with_backoff('Hello!')['choices'][0]['message']['content'])",
        ),
        (
            "def stream_chat_with_retry",
            "\nstream_chat_with_retry('Hello!')\nprint('done')",
        ),
    ];
    for oracle in oracles("requests") {
        let blocks = blocks("python");
        assert_eq!(blocks.len(), 6, "the document has other blocks than it had");
        for block in blocks {
            let mut code = format!("{prelude}{}", at(&oracle, block));
            for (_, call) in calls.iter().filter(|(function, _)| block.contains(function)) {
                code.write_str(call).unwrap();
            }
            let said = run("python3", "-c", &code);
            assert!(!said.trim().is_empty(), "nothing came of\n{code}");
        }
    }
}

#[test]
fn every_javascript_of_the_document_runs() {
    if !tools("the published examples", &[&["node", "-e", "require('openai')"]]) {
        return;
    }
    for oracle in oracles("fetch") {
        let blocks = blocks("javascript");
        assert_eq!(blocks.len(), 2, "the document has other blocks than it had");
        for block in blocks {
            // A module of its own cannot be found by NODE_PATH, a required one can.
            let required = "const OpenAI = require('openai');";
            let code = at(&oracle, block).replace("import OpenAI from 'openai';", required);
            let said = run("node", "-e", &format!("(async () => {{\n{code}\n}})()"));
            assert!(!said.trim().is_empty(), "nothing came of\n{code}");
        }
    }
}

/// The document's own way to wait: it sees 429 first, and an answer in the end.
#[test]
fn the_documents_back_off_gets_through_a_rate_limit() {
    if !tools("the published examples", &[&["python3", "-c", "import requests"]]) {
        return;
    }
    let limits = [("SHARD_RATE_LIMIT_PER_MINUTE", "30"), ("SHARD_API_KEYS", "")];
    let oracle = Oracle::start(&limits);
    let example = blocks("python")
        .into_iter()
        .find(|block| block.contains("chat_with_backoff"));
    let call = "
for _ in range(32):
    requests.get('http://ADDRESS/v1/models')
answer = chat_with_backoff('Hello!')
print(answer['choices'][0]['message']['content'])";
    let code = format!("{}{call}", at(&oracle, example.unwrap()));
    let said = run(
        "python3",
        "-c",
        &code.replace("ADDRESS", &oracle.address.to_string()),
    );
    assert!(said.contains("Rate limited. Waiting 1s..."), "{said}");
    assert!(said.lines().count() > 1, "{said}");
    assert!(oracle.metric("shard_rate_limited_total") >= 1.0);
}

/// OpenAI's clients retry a 503 by themselves, after the time that it names.
#[test]
fn the_official_client_waits_for_a_full_queue_by_itself() {
    if !tools("retries", &[&["python3", "-c", "import openai"]]) {
        return;
    }
    let small = [
        ("ORACLE_ANSWERS", "1"),
        ("ORACLE_QUEUE", "1"),
        ("SHARD_API_KEYS", KEY),
    ];
    let oracle = Oracle::start(&small);
    let code = format!(
        "
import threading
from openai import OpenAI
client = OpenAI(base_url='http://{}/v1', api_key='{KEY}', max_retries=8)
told = []
def ask():
    raw = client.chat.completions.with_raw_response.create(
        model='shard-hybrid', max_tokens=400,
        messages=[{{'role': 'user', 'content': 'Hello! !long! !slow=2ms!'}}])
    told.append(raw.retries_taken)
threads = [threading.Thread(target=ask) for _ in range(5)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(told) == 5, told
print(max(told))
",
        oracle.address
    );
    let retries: u32 = run("python3", "-c", &code).trim().parse().unwrap();
    println!("the last was served after {retries} retries");
    assert!(retries >= 1, "the queue was never full");
}
