//! A worker that dies, as its operator sees it.

use rustix::process::Signal;
use serde_json::json;

use super::{button, fleet};
use crate::support::{Browser, Shardman, eventually, seconds, signal};

/// Seconds of a pause before a restart in which a page is read at leisure, also
/// on a machine that does much else.
const LONG_ENOUGH_TO_READ: f64 = 3.0;

#[test]
fn an_operator_sees_a_worker_die_and_return_reads_why_and_restarts_a_shard() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let mut shardman = fleet(8, &[("SHARDS_PER_WORKER", "4")]);
    page.sign_in(&shardman);
    page.until_shown("8 of 8 shards ready");
    page.until_shown("live");
    // The first stop of the keyboard leads past the bar.
    page.evaluate("document.activeElement.blur()");
    page.tab_to("document.querySelector('.skip')");
    let ring = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(page.evaluate(ring), "solid");
    page.press("Enter");
    assert_eq!(page.evaluate("document.activeElement.id"), "main");

    // The first deaths are mended within moments, perhaps before anybody sees
    // them: what is looked at is a pause that is long enough to be read.
    let (name, mut pid) = shardman.workers().remove(0);
    let paused = |shardman: &Shardman| {
        let worker = shardman.fleet().workers.into_iter().find(|it| it.worker == name);
        worker
            .unwrap()
            .restart_in
            .is_some_and(|left| left > LONG_ENOUGH_TO_READ)
    };
    while !paused(&shardman) {
        signal(pid, Signal::KILL);
        let next = eventually(seconds(60.0), "its next run or a long pause", || {
            if paused(&shardman) {
                return Some(None);
            }
            let (_, next) = shardman.workers().into_iter().find(|it| it.0 == name)?;
            (next != pid).then_some(Some(next))
        });
        pid = next.unwrap_or(pid);
    }
    let counted = "/^4 of 8 shards ready: 4 free/.test(document.querySelector('.sentence').textContent)";
    let doing = json!(format!("{name} is started again in"));
    page.until(
        "its death and what is done about it",
        &format!("{counted} && document.body.innerText.includes({doing})"),
    );
    page.picture("death-light-desk");
    page.until_shown("8 of 8 shards ready");
    page.until_shown("its process was killed by SIGKILL");
    page.click("document.querySelector('.timeline input')");
    page.write("SIGKILL");
    page.until(
        "only those are shown that say so",
        "(all => all.length > 0 && all.every(it => it.innerText.includes('SIGKILL')))\
         ([...document.querySelectorAll('.timeline .events li')])",
    );

    // Why, with the keyboard alone: a shard that it holds, then its story.
    let rows = shardman.fleet().shards;
    let lost = rows
        .iter()
        .position(|row| row.worker.as_deref() == Some(&name))
        .unwrap();
    page.tab_to("document.querySelector('.cells .cell')");
    page.press("End");
    page.press("Home");
    for _ in 0..lost {
        page.press("ArrowRight");
    }
    page.press("Enter");
    page.until(
        "the panel opens",
        "document.querySelector('dialog[open]') !== null",
    );
    page.until(
        "its story tells why",
        "/lost by .*killed by SIGKILL/s.test(document.querySelector('dialog .events').innerText)",
    );
    assert_eq!(page.evaluate("location.hash"), format!("#/shard/{lost}/8"));

    let before = shardman.workers();
    page.click(&button("Restart its worker"));
    page.until_shown(&format!("{name} is restarted."));
    page.click(&button("Restart it"));
    eventually(seconds(20.0), "it has another process", || {
        let pid = |workers: &[(String, i32)]| workers.iter().find(|it| it.0 == name).map(|it| it.1);
        let now = pid(&shardman.workers())?;
        (Some(now) != pid(&before)).then_some(())
    });
    page.press("Escape");
    page.until("the panel closes", "document.querySelector('dialog') === null");
    assert_eq!(
        page.evaluate("document.activeElement.dataset.shard"),
        format!("{lost}/8")
    );
    shardman.wait_ready(seconds(20.0));
    page.until(
        "it is whole again",
        "document.querySelector('.sentence').textContent === '8 of 8 shards ready'",
    );

    page.click(&format!(
        "[...document.querySelectorAll('.workers a')].find(it => it.textContent === '{name}')"
    ));
    page.until_shown("worker started");
    page.click(&button("Sign out"));
    page.until_shown("Operator secret");
    assert_eq!(
        page.evaluate("fetch('/sign-in').then(answer => answer.json()).then(it => it.role)"),
        json!(null)
    );
    page.assert_quiet(&shardman);
    assert!(shardman.stop().success());
}
