//! What it says is so: of shards that do not serve, of pools without a bot, of a
//! connection that is dead, and of links.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::{button, fleet};
use crate::support::{Browser, SECRET, Shardman, eventually, seconds};

fn shard(number: u32, condition: &str, age: f64, deadline: Option<f64>) -> Value {
    json!({"shard": format!("{number}/2"), "condition": condition, "condition_age": age, "deadline_in": deadline})
}

fn worker(condition: &str) -> Value {
    json!({"worker": "web-0", "condition": condition, "shards": 1, "pid": 7, "exits": 3, "restart_in": null})
}

fn bot(ready: u32, shards: &[Value], pools: &[Value]) -> Value {
    json!({"planned": 2, "ready": ready, "trouble": [], "shards": shards, "workers": [], "pools": pools})
}

fn pool(ready: u32, slot: &str, worker_is: &str) -> Value {
    json!({"pool": "web", "size": 1, "ready": ready, "shards": [shard(0, slot, 60.0, None)], "workers": [worker(worker_is)]})
}

impl Browser {
    /// The level and the sentence of a fleet, and the title.
    #[track_caller]
    fn verdict(&mut self, fleet: &Value) -> (String, String, String) {
        let said = self.evaluate(&format!(
            "import('/assets/words.js').then(it => {{ const fleet = {fleet}; const said = it.headline(fleet); \
             return [said.level, said.text, it.title(fleet)]; }})"
        ));
        let word = |at: usize| said[at].as_str().unwrap().to_owned();
        (word(0), word(1), word(2))
    }
}

#[test]
fn the_sentence_is_as_serious_as_the_fleet() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0")]);
    page.sign_in(&shardman);
    let ready = || shard(0, "ready", 9.0, None);
    let away = |age| [shard(0, "free", age, None), shard(1, "free", age, None)];
    let web = pool(1, "assigned", "running");
    for (level, says, fleet) in [
        (
            "ok",
            "2 of 2",
            bot(2, &[ready(), shard(1, "ready", 9.0, None)], &[]),
        ),
        (
            "bad",
            "1 deaf",
            bot(1, &[ready(), shard(1, "deaf", 9.0, None)], &[]),
        ),
        (
            "bad",
            "1 silent",
            bot(2, &[ready(), shard(1, "silent", 9.0, None)], &[]),
        ),
        (
            "bad",
            "1 blocked",
            bot(2, &[ready(), shard(1, "blocked", 9.0, None)], &[]),
        ),
        // Nobody has come yet, and nobody comes.
        ("busy", "2 free", bot(0, &away(5.0), &[])),
        ("bad", "2 free", bot(0, &away(31.0), &[])),
        // A holder that reports no state, before and after its first beat.
        (
            "busy",
            "1 unheard (1/2)",
            bot(1, &[ready(), shard(1, "registered", 3.0, Some(20.0))], &[]),
        ),
        (
            "ok",
            "2 of 2",
            bot(2, &[ready(), shard(1, "registered", 3.0, None)], &[]),
        ),
        // The processes beside it count too.
        (
            "ok",
            "2 of 2",
            bot(2, &[ready(), ready()], std::slice::from_ref(&web)),
        ),
        (
            "bad",
            "0 of 1 slot of web",
            bot(2, &[ready(), ready()], &[pool(0, "free", "crash_looping")]),
        ),
        (
            "ok",
            "2 of 2",
            bot(2, &[ready(), ready()], &[pool(0, "free", "resting")]),
        ),
    ] {
        let (is, text, title) = page.verdict(&fleet);
        assert!(is == level && text.contains(says), "{is}: {text}, of {fleet}");
        assert_eq!(title, format!("{}/2 · Shardman", fleet["ready"]));
    }
    let mut alone = bot(0, &[], &[web]);
    alone["planned"] = json!(0);
    assert_eq!(
        page.verdict(&alone),
        (
            "ok".to_owned(),
            "1 of 1 slot ready".to_owned(),
            "1/1 · Shardman".to_owned()
        )
    );
    assert!(shardman.stop().success());
}

#[test]
fn a_manager_without_a_bot_tells_of_its_pools() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let long = "head -c 500000 /dev/zero | tr '\\0' x; exec tail -f /dev/null";
    let settings = [
        ("POOLS", "web"),
        ("POOL_WEB_COMMAND", long),
        ("POOL_WEB_REGISTER", "process"),
        ("POOL_WEB_SIZE", "2"),
    ];
    let mut shardman = Shardman::up(&settings);
    page.go(&format!("http://{}/", shardman.address));
    page.until_shown("Operator secret");
    page.write(SECRET);
    page.press("Enter");
    page.until_shown("2 of 2 slots ready");
    assert_eq!(page.evaluate("document.title"), "2/2 · Shardman");
    let shown = page.evaluate(
        "[...document.querySelectorAll('main h2')].filter(it => it.checkVisibility()).map(it => it.textContent).join()",
    );
    assert_eq!(shown, "Pool web,What happened");

    // A log of one line that never ends is kept within bounds.
    page.evaluate("location.hash = '#/worker/web-0'");
    let length = "(document.querySelector('pre')?.textContent.length ?? 0)";
    page.until("much of its log is there", &format!("{length} > 100000"));
    let kept = page.evaluate(length).as_u64().unwrap();
    println!("{kept} characters of 500000 are kept");
    assert!(kept <= 200_000, "{kept}");
    page.assert_quiet(&shardman);
    assert!(shardman.stop().success());
}

#[test]
fn a_stream_that_is_silent_is_lost_though_the_manager_answers_others() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    // Nothing changes here.
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0")]);
    page.sign_in(&shardman);
    page.until_shown("live");
    // Time runs away from what was heard.
    page.evaluate(
        "{ const real = performance.now.bind(performance); let ahead = 0; performance.now = () => real() + ahead; \
         const hurry = setInterval(() => { ahead += 40000; }, 1000); const bar = document.querySelector('#bar'); \
         new MutationObserver(() => { if (bar.dataset.link !== 'lost') return; clearInterval(hurry); \
         window.lost ??= document.title; }).observe(bar, {attributes: true}); 0 }",
    );
    page.until("it is taken for lost", "typeof window.lost === 'string'");
    assert_eq!(page.evaluate("window.lost"), "? · Shardman");
    page.until(
        "another one is opened",
        "document.querySelector('#bar').dataset.link === 'live' && document.title === '0/2 · Shardman'",
    );
    let health = page.requests.iter().filter(|url| url.ends_with("/health"));
    assert_eq!(health.count(), 0);
    assert!(shardman.stop().success());
}

#[test]
fn a_link_to_look_takes_nothing_from_an_operator() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let mut shardman = fleet(2, &[]);
    page.sign_in(&shardman);
    let make = "fetch('/share', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{\"days\":1}'}) \
                .then(answer => answer.json()).then(it => it.path)";
    let path = page.evaluate(make);
    let role = "fetch('/sign-in').then(answer => answer.json()).then(it => it.role)";
    for link in [path.as_str().unwrap(), "/#share=broken"] {
        page.evaluate(&format!("location.assign({})", json!(link)));
        page.until("the link leaves the address", "location.hash === '#/'");
        page.until(
            "it is an operator's page",
            &format!("Boolean({})", button("Rescale")),
        );
        page.until_shown("2 of 2 shards ready");
        assert_eq!(page.evaluate(role), "operator");
    }
    // Whoever may only look stays that with a link that is broken.
    page.evaluate("fetch('/sign-out', {method: 'POST'})");
    page.evaluate(&format!("location.assign({path})"));
    page.until_shown("read-only");
    page.evaluate("location.assign('/#share=broken')");
    eventually(seconds(20.0), "it is shown again", || {
        let shown = "location.hash === '#/' && document.querySelector('.sentence') !== null";
        (page.evaluate(shown) == true).then_some(())
    });
    assert_eq!(page.evaluate(role), "viewer");
    assert!(shardman.stop().success());
}

#[test]
fn a_page_that_finds_no_place_says_why_and_comes_back() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0")]);
    page.sign_in(&shardman);
    page.until_shown("live");
    // Whoever is let in takes a place, until there is none.
    let look = || {
        let mut stream = TcpStream::connect(shardman.address).unwrap();
        stream.set_read_timeout(Some(seconds(20.0))).unwrap();
        let request = format!("GET /fleet/live HTTP/1.1\r\nHost: test\r\nAuthorization: {SECRET}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (head == *b"HTTP/1.1 200").then_some(stream)
    };
    let mut open: Vec<_> = std::iter::from_fn(look).collect();
    println!("{} others look", open.len());
    page.call("Page.reload", &json!({}));
    // It has given its own place back; somebody else takes it.
    eventually(seconds(30.0), "it is told why", || {
        open.extend(look());
        let link = page.evaluate("document.querySelector('#link')?.textContent ?? ''");
        link.as_str()?.contains("not connected: ").then_some(())
    });
    page.until_shown("there is none left");
    drop(open);
    page.until_shown("0 of 2 shards ready");
    page.until(
        "it is live",
        "document.querySelector('#bar').dataset.link === 'live'",
    );
    assert!(shardman.stop().success());
}

#[test]
fn what_is_missing_is_said_and_what_is_said_reaches_a_dialog() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0")]);
    page.sign_in(&shardman);
    // A story that is followed, left at its fifth event, and read again at its hundredth.
    page.evaluate(
        "import('/assets/timeline.js').then(({Timeline}) => { window.EventSource = class { addEventListener() {} close() {} }; \
         window.live = Object.assign(new EventTarget(), {connected: true}); window.story = new Timeline(live); \
         window.read = (from, to) => { const events = []; \
         for (let number = from; number <= to; number += 1) events.push({number, at_ms: number, kind: 'ready', cause: 'c'}); \
         window.fetch = async () => Response.json({events, next: to}); live.dispatchEvent(new Event('connection')); }; read(1, 5); })",
    );
    let newest = |number: u32| format!("story.list(() => true, 1)[0]?.number === {number}");
    page.until("it is read", &newest(5));
    page.evaluate("live.connected = false; live.dispatchEvent(new Event('connection')); live.connected = true; read(91, 100)");
    page.until("it is read again", &newest(100));
    let missing = "story.list(it => it.kind === 'gap', 9).map(it => it.number)";
    page.until("what is missing is said", &format!("{missing}.length > 0"));
    assert_eq!(page.evaluate(missing), json!([90.5]));

    page.evaluate("location.reload()");
    page.until_shown("0 of 2 shards ready");
    page.click(&button("Share"));
    page.until("it is open", "document.querySelector('dialog[open]') !== null");
    page.evaluate("import('/assets/dom.js').then(it => it.announce('heard'))");
    assert_eq!(
        page.evaluate("document.querySelector('dialog [role=status].said').textContent"),
        "heard"
    );
    // A value that is not of now says of when it is.
    let plot = "import('/assets/plot.js').then(({plot}) => { \
                const it = plot({title: 't', lines: [{key: 'a', name: 'a'}], format: String}); \
                return [[1, 2, 3, 4], [1, 2, 3, null], [1, 2, null, null]].map(a => { \
                it.update({end: Date.now(), step: 10, seconds: 40, values: {a}}); \
                return it.root.querySelector('.values').textContent; }); })";
    let shown = page.evaluate(plot);
    assert_eq!((&shown[0], &shown[1]), (&json!("4"), &json!("3")));
    let old = shown[2].as_str().unwrap();
    assert!(old.len() > 8 && old.ends_with(": 2"), "{old}");
    let axis = "import('/assets/format.js').then(it => [it.ms(0), it.ms(0.25), it.ms(2.5), it.ms(80.4)])";
    assert_eq!(page.evaluate(axis), json!(["0 ms", "0.25 ms", "2.5 ms", "80 ms"]));
    assert!(shardman.stop().success());
}
