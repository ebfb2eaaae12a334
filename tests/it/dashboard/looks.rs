//! How it looks and whether everybody can use it: three sizes of fleet, light
//! and dark, a desk and a phone.

use serde_json::json;

use super::{axe, button, fleet, hold};
use crate::support::{Browser, Shardman};

const DESK: (u32, u32) = (1440, 900);
const PHONE: (u32, u32) = (375, 812);

impl Browser {
    /// No finding of the accessibility rules is serious or critical, and nothing
    /// has to be scrolled sideways.
    #[track_caller]
    fn assert_usable(&mut self, rules: &str, what: &str) {
        if self.evaluate("typeof axe") == "undefined" {
            self.evaluate(&format!("{rules}; 0"));
        }
        let run = "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations \
                   .filter(it => ['serious', 'critical'].includes(it.impact)) \
                   .map(it => [it.id, it.impact, it.nodes.slice(0, 5).map(node => node.html + node.failureSummary)]))";
        let found = self.evaluate(run);
        assert_eq!(found, json!([]), "{what}: {found:#}");
        self.assert_fits(what);
    }

    #[track_caller]
    fn assert_fits(&mut self, what: &str) {
        let sideways =
            self.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]");
        assert!(sideways[0].as_u64() <= sideways[1].as_u64(), "{what}: {sideways}");
    }

    /// Pictures in both schemes, at the desk and on the phone.
    #[track_caller]
    fn pictures(&mut self, name: &str) {
        for scheme in ["light", "dark"] {
            for (device, (width, height)) in [("desk", DESK), ("phone", PHONE)] {
                self.look(scheme, width, height);
                self.assert_fits(name);
                self.picture(&format!("{name}-{scheme}-{device}"));
            }
        }
    }
}

#[test]
fn every_page_and_dialog_is_accessible_in_light_and_dark() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let Some(rules) = axe() else { return };
    let settings = [
        ("POOLS", "web"),
        ("POOL_WEB_COMMAND", "exec tail -f /dev/null"),
        ("POOL_WEB_REGISTER", "process"),
    ];
    let mut shardman = fleet(16, &settings);
    let home = format!("http://{}", shardman.address);
    page.go(&format!("{home}/"));
    page.until_shown("Operator secret");
    check(&mut page, &rules, "sign-in");
    page.sign_in(&shardman);
    page.until_shown("resets in");
    page.until_shown("ready after IDENTIFY");
    check(&mut page, &rules, "fleet-16");
    for (label, shown, name) in [
        ("Rescale", "16 shards are what runs", "rescale"),
        ("Restart one by one", "one at a time", "restart"),
        ("Share", "Days that it is good for", "share"),
        ("Spend the reserve", "resets the bot's token", "reserve"),
    ] {
        page.click(&button(label));
        page.until_shown(shown);
        check(&mut page, &rules, name);
        page.press("Escape");
        page.until("it closes", "document.querySelector('dialog') === null");
    }
    page.evaluate("location.hash = '#/shard/3/16'");
    page.until_shown("Its story");
    check(&mut page, &rules, "shard");
    page.press("Escape");
    // Its end leads back to the fleet, which must not come after what follows.
    page.until("it closes", "document.querySelector('dialog') === null");
    page.evaluate("location.hash = '#/worker/discord-0'");
    page.until_shown("worker started");
    check(&mut page, &rules, "worker");
    page.go(&format!("{home}/docs"));
    page.until_shown("This browser is signed in");
    check(&mut page, &rules, "docs");
    for operation in ["fleet", "events", "rescale"] {
        page.evaluate(&format!(
            "document.querySelector('#op-{operation} .try').open = true"
        ));
    }
    page.click("document.querySelector('#op-fleet button[type=submit]')");
    page.until_shown("\"planned\": 16,");
    page.evaluate("document.querySelector('#op-fleet .try').scrollIntoView()");
    check(&mut page, &rules, "docs-open");
    page.click("document.querySelector('#op-rescale button[type=submit]')");
    page.until_shown("This is no rehearsal");
    check(&mut page, &rules, "docs-asks");
    // The rules themselves write there; what the page does is seen elsewhere.
    assert!(shardman.stop().success());
}

/// One page in four ways.
#[track_caller]
pub(super) fn check(page: &mut Browser, rules: &str, name: &str) {
    for scheme in ["light", "dark"] {
        for (device, (width, height)) in [("desk", DESK), ("phone", PHONE)] {
            page.look(scheme, width, height);
            page.assert_usable(rules, &format!("{name}, {scheme}, {device}"));
            page.picture(&format!("{name}-{scheme}-{device}"));
        }
    }
}

#[test]
fn every_state_of_a_shard_has_a_letter_and_a_shape_of_its_own() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let Some(rules) = axe() else { return };
    let states = [
        "ready",
        "starting",
        "waiting",
        "identifying",
        "resuming",
        "standing_by",
        "disconnected",
        "stopping",
    ];
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "9"), ("WORKERS", "0")]);
    for state in states {
        hold(&shardman, state);
    }
    page.sign_in(&shardman);
    page.until_shown("1 of 9 shards ready");
    let letters = "[...document.querySelectorAll('.cells i')].map(it => it.dataset.letter ?? '')";
    let letters: Vec<String> = serde_json::from_value(page.evaluate(letters)).unwrap();
    let different: std::collections::BTreeSet<_> = letters.iter().collect();
    assert_eq!(different.len(), 9, "{letters:?}");
    // Where there is no room for letters: five shapes, colours left aside.
    let shapes = "new Set([...document.querySelectorAll('.legend .mark')].map(it => { \
                  const {backgroundImage, borderStyle} = getComputedStyle(it); \
                  return backgroundImage.replace(/(rgb|color)a?\\([^)]*\\)/g, '') + borderStyle; })).size";
    page.evaluate("document.querySelector('.shards').dataset.size = 'tiny'");
    assert_eq!(page.evaluate(shapes), 5);
    page.evaluate("document.querySelector('.shards').dataset.size = 'large'");
    check(&mut page, &rules, "states");
    page.assert_quiet(&shardman);
    assert!(shardman.stop().success());
}

#[test]
fn two_hundred_and_fifty_six_shards_are_readable() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let mut shardman = fleet(256, &[]);
    page.sign_in(&shardman);
    page.until_shown("256 of 256 shards ready");
    assert_eq!(
        page.evaluate("document.querySelectorAll('.cells .cell').length"),
        256
    );
    page.pictures("fleet-256");
    page.assert_quiet(&shardman);
    assert!(shardman.stop().success());
}

#[test]
fn four_thousand_and_ninety_six_shards_are_readable() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let settings = [("MAX_SHARDS", "4096"), ("WORKERS", "0"), ("MAX_SECONDS", "3600")];
    let mut shardman = Shardman::up(&settings);
    std::thread::scope(|scope| {
        for holder in 0..16 {
            let shardman = &shardman;
            scope.spawn(move || {
                for turn in 0..255 {
                    hold(
                        shardman,
                        if turn % 50 == holder {
                            "disconnected"
                        } else {
                            "ready"
                        },
                    );
                }
            });
        }
    });
    page.sign_in(&shardman);
    page.until(
        "every shard has a cell",
        "document.querySelectorAll('.cells .cell').length === 4096",
    );
    page.look("light", 1440, 900);
    // A cell is reached and opened without a pointer, however many there are.
    let began = std::time::Instant::now();
    page.tab_to("document.querySelector('.cells .cell')");
    for key in ["ArrowDown", "ArrowRight", "Enter"] {
        page.press(key);
    }
    page.until(
        "the panel opens",
        "document.querySelector('dialog[open]') !== null",
    );
    println!(
        "from the top of the page to a shard's panel by keyboard: {:?}",
        began.elapsed()
    );
    page.press("Escape");
    page.until("it closes", "document.querySelector('dialog') === null");
    page.pictures("fleet-4096");
    page.assert_quiet(&shardman);
    assert!(shardman.stop().success());
}
