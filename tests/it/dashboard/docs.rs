//! The page of the API: read by whoever comes, and calls tried from it.

use super::fleet;
use crate::support::{Browser, SECRET};

/// What `selector` finds within the section of an operation.
fn within(operation: &str, selector: &str) -> String {
    format!("document.querySelector('#op-{operation} {selector}')")
}

impl Browser {
    /// Opens the form of an operation, as a press of a key does.
    #[track_caller]
    fn unfold(&mut self, operation: &str) {
        let summary = within(operation, ".try > summary");
        self.until("calls can be tried", &format!("{summary} !== null"));
        self.evaluate(&format!("{summary}.focus()"));
        self.press("Enter");
        self.until(
            "it unfolds",
            &format!("{} !== null", within(operation, ".try form")),
        );
    }

    #[track_caller]
    fn until_answered(&mut self, operation: &str, start: &str) {
        let answer = within(operation, ".answer");
        self.until(
            &format!("{operation} is answered {start}"),
            &format!("{answer}?.textContent.startsWith('{start}')"),
        );
    }

    #[track_caller]
    fn said(&mut self, expression: &str) -> String {
        let text = self.evaluate(&format!("{expression}.textContent"));
        text.as_str().unwrap().to_owned()
    }
}

#[test]
fn calls_are_tried_from_the_page_of_the_api() {
    let Some(mut page) = Browser::open("the page of the API") else {
        return;
    };
    let mut shardman = fleet(4, &[]);
    page.look("light", 1280, 900);
    page.go(&format!("http://{}/docs", shardman.address));
    page.until_shown("This browser is not signed in.");
    let operations = "document.querySelectorAll('section[data-method]').length";
    let forms = "document.querySelectorAll('section[data-method] > .try').length";
    assert_eq!(page.evaluate(forms), page.evaluate(operations));
    page.click("document.querySelector('#secret')");
    page.write(SECRET);

    page.unfold("fleet");
    let curl = page.said(&within("fleet", ".curl"));
    assert_eq!(
        curl,
        format!(
            "curl -i 'http://{}/fleet' -H 'Accept: application/json' -H \"Authorization: $SECRET\"",
            shardman.address
        )
    );
    let permissions = serde_json::json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]});
    page.call("Browser.grantPermissions", &permissions);
    page.click(&within("fleet", ".head button"));
    page.until_shown("Copied.");
    assert_eq!(page.evaluate("navigator.clipboard.readText()"), curl);
    page.click(&within("fleet", "button[type=submit]"));
    page.until_answered("fleet", "200 OK, ");
    page.until_shown("\"planned\": 4,");
    assert!(
        page.said(&within("fleet", ".headers"))
            .contains("application/json")
    );
    page.picture("api-fleet");

    // A stream goes on beside it, until it is stopped.
    page.unfold("events");
    page.evaluate(&format!(
        "(it => {{ it.value = 'text/event-stream'; it.dispatchEvent(new Event('input', {{bubbles: true}})); }})({})",
        within("events", "#events-accept")
    ));
    assert!(page.said(&within("events", ".curl")).starts_with("curl -i -N "));
    page.click(&within("events", "button[type=submit]"));
    page.until_answered("events", "200 OK, after");

    // What changes something is asked about, and done only then.
    page.unfold("restartWorker");
    let worker = within("restartWorker", "#restartWorker-worker_id");
    assert_eq!(page.evaluate(&format!("{worker}.value")), "discord-0");
    let before = shardman.workers();
    let send = within("restartWorker", "button[type=submit]");
    page.click(&send);
    page.until_shown("This is no rehearsal");
    page.picture("api-confirm");
    page.press("Escape");
    page.until("it closes", "document.querySelector('dialog') === null");
    assert_eq!(page.evaluate(&format!("document.activeElement === {send}")), true);
    let answer = within("restartWorker", ".answer");
    assert_eq!(page.evaluate(&format!("{answer} === null")), true);
    assert_eq!(shardman.workers(), before);
    page.press("Enter");
    page.until_shown("This is no rehearsal");
    page.click("document.querySelector('dialog .primary')");
    page.until_answered("restartWorker", "204");
    page.until(
        "the stream tells of it",
        &format!(
            "{}?.textContent.includes('restart')",
            within("events", ".stream li")
        ),
    );
    page.until_answered("events", "200: ");
    page.picture("api-stream");
    page.click(&within("events", ".buttons button[type=button]"));
    page.until_answered("events", "Stopped after");

    // The secret is nowhere but in its field.
    assert_eq!(
        page.evaluate("Object.keys(localStorage).length + Object.keys(sessionStorage).length"),
        0
    );
    let written = "document.documentElement.outerHTML";
    assert!(!page.evaluate(written).as_str().unwrap().contains(SECRET));
    page.assert_quiet(&shardman);
    assert!(shardman.stop().success());
}

#[test]
fn who_is_signed_in_needs_no_secret_on_the_page_of_the_api() {
    let Some(mut page) = Browser::open("the page of the API") else {
        return;
    };
    let mut shardman = fleet(2, &[]);
    page.sign_in(&shardman);
    page.go(&format!("http://{}/docs", shardman.address));
    page.until_shown("This browser is signed in as operator");
    page.unfold("spendReserve");
    page.click(&within("spendReserve", "button[type=submit]"));
    page.click("document.querySelector('dialog .primary')");
    page.until_answered("spendReserve", "204");
    // What a call refuses is shown in its words, and only as text.
    page.unfold("workerLogs");
    let name = within("workerLogs", "#workerLogs-worker_id");
    page.evaluate(&format!("{name}.value = '<b>../x\\'s'"));
    page.evaluate(&format!(
        "{name}.dispatchEvent(new Event('input', {{bubbles: true}}))"
    ));
    let curl = page.said(&within("workerLogs", ".curl"));
    assert!(
        curl.contains(r"/workers/%3Cb%3E..%2Fx'\''s/logs'") && curl.contains("$SECRET"),
        "{curl}"
    );
    page.click(&within("workerLogs", "button[type=submit]"));
    page.until_answered("workerLogs", "404");
    page.until_shown("\"detail\": \"Worker Not Found\"");
    page.complaints.retain(|complaint| !complaint.contains("404"));
    page.assert_quiet(&shardman);
    assert!(shardman.stop().success());
}

#[test]
fn without_scripts_the_api_is_still_to_be_read() {
    let Some(mut page) = Browser::open("the page of the API") else {
        return;
    };
    let mut shardman = fleet(1, &[]);
    let off = serde_json::json!({"value": true});
    page.call("Emulation.setScriptExecutionDisabled", &off);
    page.go(&format!("http://{}/docs", shardman.address));
    page.until_shown("Restart workers, one at a time");
    assert_eq!(
        page.evaluate("document.querySelector('form, button')"),
        serde_json::Value::Null
    );
    assert!(page.complaints.is_empty(), "{:?}", page.complaints);
    assert!(shardman.stop().success());
}
