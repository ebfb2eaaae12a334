//! The dashboard as an operator meets it: a real browser, real keys, a real
//! fleet.

use serde_json::json;

use crate::support::{Browser, How, SECRET, Shardman, Sim, eventually, post, seconds, tools};

mod death;
mod docs;
mod looks;
mod passing;
mod truth;

/// A fleet on a simulated Discord, and beside it a pool whose process prints
/// what a page must not take for its own.
fn fleet(shards: u32, settings: &[(&str, &str)]) -> Shardman {
    let script = format!("exec \"$0\" up --sim {shards} --sim-max-concurrency {shards}");
    let how = How {
        script: Some(script),
        ..How::default()
    };
    let shardman = Shardman::up_as(tempfile::tempdir().unwrap(), settings, how);
    shardman.wait_ready(seconds(60.0));
    shardman
}

fn button(label: &str) -> String {
    let label = json!(label);
    format!(
        "[...document.querySelectorAll('button')].findLast(it => it.textContent.startsWith({label}) && !it.disabled)"
    )
}

impl Browser {
    /// Types the operator's secret where the page asks for it.
    #[track_caller]
    fn sign_in(&mut self, shardman: &Shardman) {
        self.go(&format!("http://{}/", shardman.address));
        self.until(
            "it asks for the secret",
            "document.activeElement?.id === 'secret'",
        );
        self.write(SECRET);
        self.press("Enter");
        self.until_shown("shards ready");
    }

    /// Chooses what is focused next until it is `expression`, as somebody does
    /// who has no pointer.
    #[track_caller]
    fn tab_to(&mut self, expression: &str) {
        for _ in 0..80 {
            if self.evaluate(&format!("document.activeElement === ({expression})")) == true {
                return;
            }
            self.press("Tab");
        }
        panic!("the tab key does not lead to {expression}");
    }

    /// It asked nobody but the manager, and nothing was wrong on its console.
    #[track_caller]
    fn assert_quiet(&self, shardman: &Shardman) {
        let home = format!("http://{}/", shardman.address);
        let ours =
            |url: &&String| url.starts_with(&home) || url.starts_with("data:") || *url == "about:blank";
        let others: Vec<_> = self.requests.iter().filter(|url| !ours(url)).collect();
        assert!(others.is_empty(), "{others:?}");
        assert!(self.requests.len() > 10, "{:?}", self.requests);
        assert!(self.complaints.is_empty(), "{}", self.complaints.join("\n"));
    }
}

#[test]
fn a_plan_is_shown_before_it_is_applied_and_taken_back() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let mut shardman = fleet(4, &[]);
    page.sign_in(&shardman);
    page.click(&button("Rescale"));
    page.until(
        "the number is chosen",
        "document.activeElement?.id === 'rescale-to'",
    );
    page.until_shown("4 shards are what runs");
    assert_eq!(
        page.evaluate(&format!("{} ?? null", button("Apply"))),
        json!(null)
    );
    page.evaluate("document.activeElement.select()");
    page.write("0");
    page.until_shown("A number from 1 to");
    page.evaluate("document.activeElement.select()");
    page.write("8");
    page.until_shown("It is safe:");
    page.until_shown("IDENTIFYs");
    page.press("Enter");
    page.until_shown("Changing to 8 shards: step 1 of 4");
    page.picture("rescaling-light-desk");

    page.click(&button("Take it back"));
    page.until(
        "the former number is asked about",
        "document.querySelector('#rescale-to')?.value === '4'",
    );
    page.click(&button("Apply"));
    page.until("it closes", "document.querySelector('dialog') === null");
    page.evaluate("document.querySelector('[data-shard=\"3/4\"]').focus()");
    eventually(seconds(30.0), "the former number is wanted", || {
        let fleet = shardman.fleet();
        fleet.rescale.is_none_or(|change| change.to == 4).then_some(())
    });
    page.until_shown("4 of 4 shards ready");
    page.until(
        "the others are gone",
        "document.querySelectorAll('.cells .cell').length === 4",
    );
    assert_eq!(page.evaluate("document.activeElement.dataset.shard"), "3/4");
    page.assert_quiet(&shardman);
    assert!(shardman.stop().success());
}

#[test]
fn a_rolling_restart_is_paused_continued_and_cancelled() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let mut shardman = fleet(4, &[("SHARDS_PER_WORKER", "1")]);
    page.sign_in(&shardman);
    page.click(&button("Restart one by one"));
    page.until(
        "the dialog is there",
        "document.querySelector('#canary') !== null",
    );
    page.evaluate("document.querySelector('#canary').select()");
    page.evaluate("document.querySelector('#canary').focus()");
    // The first one is watched, so that there is time to steer.
    page.write("60");
    page.press("Enter");
    page.until_shown("Restarting workers:");
    page.click(&button("Pause"));
    page.until_shown("paused");
    page.picture("paused-light-desk");
    assert!(shardman.fleet().restart.unwrap().on_hold);
    page.click(&button("Continue"));
    eventually(seconds(10.0), "it goes on", || {
        (!shardman.fleet().restart?.on_hold).then_some(())
    });
    page.until(
        "it can be paused again",
        &format!("{}?.checkVisibility()", button("Pause")),
    );
    page.click(&button("Cancel"));
    eventually(seconds(10.0), "it is cancelled", || {
        (shardman.fleet().restart?.state == "cancelled").then_some(())
    });
    page.until(
        "nothing is shown of it",
        "!document.querySelector('[aria-label=\"Planned restart\"]').checkVisibility()",
    );
    page.assert_quiet(&shardman);
    assert!(shardman.stop().success());
}

#[test]
fn a_shared_link_shows_all_and_changes_nothing() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let mut shardman = fleet(4, &[]);
    page.sign_in(&shardman);
    page.click(&button("Share"));
    page.click(&button("Make a link"));
    page.until(
        "the link is there",
        "document.querySelector('#share-link')?.value !== ''",
    );
    let link = page.evaluate("document.querySelector('#share-link').value");
    page.press("Escape");
    page.click(&button("Sign out"));
    page.until_shown("Operator secret");

    page.go(link.as_str().unwrap());
    page.until_shown("4 of 4 shards ready");
    page.until_shown("read-only");
    assert_eq!(page.evaluate("location.hash"), "#/");
    for route in ["#/", "#/shard/0/4", "#/worker/discord-0"] {
        page.evaluate(&format!("location.hash = '{route}'"));
        page.until(
            "the view is there",
            "document.querySelector('main h1, main h2') !== null",
        );
        let buttons = page.evaluate(
            "[...document.querySelectorAll('button:not(.cell, .close)')].map(it => it.textContent).join()",
        );
        let allowed = ["Sign out,Open shard", "Sign out"];
        assert!(allowed.iter().any(|all| buttons == *all), "{route}: {buttons}");
    }
    page.until_shown("worker started");
    let refused = "fetch('/plan', {method: 'POST', headers: {'Content-Type': 'application/json'}, \
                   body: '{\"shards\":8}'}).then(answer => answer.status)";
    assert_eq!(page.evaluate(refused), 403);
    // That refusal is told on the console, and nothing else is.
    page.complaints.retain(|complaint| !complaint.contains("403"));
    page.assert_quiet(&shardman);
    assert!(shardman.stop().success());
}

#[test]
fn a_lost_connection_is_seen_and_mended() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let sim = Sim::start(2, 2, &[]);
    let mut shardman = Shardman::up(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    shardman.wait_ready(seconds(60.0));
    page.sign_in(&shardman);
    page.until_shown("2 of 2 shards ready");
    shardman.kill();
    page.until_shown("connection lost: this is");
    page.until(
        "what is old is grey",
        "getComputedStyle(document.querySelector('main')).filter === 'grayscale(1)'",
    );
    page.picture("lost-light-desk");
    shardman.start();
    page.until(
        "it is live again",
        "document.querySelector('#bar').dataset.link === 'live'",
    );
    page.until_shown("2 of 2 shards ready");
    assert!(shardman.stop().success());
}

#[test]
fn what_a_worker_prints_is_only_text() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let hostile = "<img src=/x onerror=window.hit=1><script>window.hit=1</script>";
    let command = format!("echo '{hostile}'; echo \"$(printf '\\033[31mred')\"; exit 3");
    let settings = [
        ("POOLS", "web"),
        ("POOL_WEB_COMMAND", &*command),
        ("POOL_WEB_REGISTER", "process"),
        ("MAX_SHARDS", "1"),
        ("WORKERS", "0"),
    ];
    let mut shardman = Shardman::up(&settings);
    page.go(&format!("http://{}/#/worker/web-0", shardman.address));
    page.until_shown("Operator secret");
    page.write(SECRET);
    page.press("Enter");
    page.until_shown(hostile);
    page.until_shown("\nred");
    let printed = "document.querySelector('pre').textContent.split('<img').length";
    page.until("what its next run prints is shown too", &format!("{printed} > 2"));
    assert_eq!(page.evaluate("typeof window.hit"), "undefined");
    assert_eq!(
        page.evaluate("document.querySelectorAll('img, main script').length"),
        0
    );
    page.assert_quiet(&shardman);
    // Even a script that got in would reach nobody, and would be noticed here.
    let intrude = "const it = document.createElement('script'); it.textContent = 'window.hit = 1'; \
                   document.head.append(it); fetch('http://192.0.2.1/').catch(() => typeof window.hit)";
    assert_eq!(page.evaluate(intrude), "undefined");
    eventually(seconds(10.0), "both are told on the console", || {
        page.evaluate("0");
        let told = |complaint: &&String| complaint.contains("Content Security Policy");
        (page.complaints.iter().filter(told).count() >= 2).then_some(())
    });
    assert!(shardman.stop().success());
}

/// Whether the accessibility rules can be run; their source.
fn axe() -> Option<String> {
    let test = "the accessibility of the dashboard";
    if !tools(test, &[&["node", "-e", "require('axe-core')"]]) {
        return None;
    }
    let source = std::process::Command::new("node")
        .args(["-p", "require('axe-core').source"])
        .output();
    Some(String::from_utf8(source.unwrap().stdout).unwrap())
}

/// Connects a holder, as a bot elsewhere does, that beats once in `state`.
fn hold(shardman: &Shardman, state: &str) {
    let lease = shardman.connect().json();
    let beat = json!({
        "session_id": lease["session_id"], "state": state, "guild_count": 1200, "latency": 0.08,
    });
    let answer = post(shardman.address, "/beat", SECRET, &beat.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
}
