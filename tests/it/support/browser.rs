//! Chromium without a window, driven over its own debugging protocol, and a
//! list of everything that it asked for and complained of.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use super::process::{Program, Running};
use super::{eventually, seconds, tools};

/// One page of a browser with a profile of its own.
pub struct Browser {
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    calls: u64,
    /// The address of everything that it asked for.
    pub requests: Vec<String>,
    /// Errors and warnings of its console, violations of the page's policy too.
    pub complaints: Vec<String>,
    // Before the folder, which the browser writes to until it is gone.
    _running: Running,
    _folder: tempfile::TempDir,
}

/// Keys that are no characters: name, what they enter, and their old number.
const KEYS: &[(&str, &str, u32)] = &[
    ("Enter", "\r", 13),
    ("Tab", "", 9),
    ("Escape", "", 27),
    ("Home", "", 36),
    ("End", "", 35),
    ("ArrowLeft", "", 37),
    ("ArrowUp", "", 38),
    ("ArrowRight", "", 39),
    ("ArrowDown", "", 40),
];

impl Browser {
    /// A browser with an empty page; `None`, and loudly so, where there is none.
    pub fn open(test: &str) -> Option<Self> {
        if !tools(test, &[&["chromium", "--version"]]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let profile = format!("--user-data-dir={}", folder.path().display());
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--remote-debugging-port=0",
            &profile,
            "about:blank",
        ];
        let program = flags
            .iter()
            .fold(Program::new("chromium"), |program, flag| program.arg(flag));
        let running = program.spawn(&folder.path().join("chromium.log"));
        let port = folder.path().join("DevToolsActivePort");
        let (port, path) = eventually(seconds(40.0), "the browser listens", || {
            let text = std::fs::read_to_string(&port).ok()?;
            let (port, path) = text.split_once('\n')?;
            (!path.is_empty()).then(|| (port.to_owned(), path.trim().to_owned()))
        });
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (socket, _) = client(format!("ws://127.0.0.1:{port}{path}"), stream).unwrap();
        let mut browser = Self {
            socket,
            session: None,
            calls: 0,
            requests: Vec::new(),
            complaints: Vec::new(),
            _running: running,
            _folder: folder,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// One command of the protocol, and its result.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let mut command = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(command.to_string())).unwrap();
        loop {
            let message = self.socket.read().unwrap();
            let Ok(text) = message.to_text() else { continue };
            let mut message: Value = serde_json::from_str(text).unwrap_or_default();
            if message["id"] == self.calls {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.take_in(&message);
        }
    }

    fn take_in(&mut self, event: &Value) {
        let params = &event["params"];
        let worry = |level: &Value| ["error", "warning", "assert"].iter().any(|bad| level == bad);
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                self.requests.push(url.to_owned());
            }
            "Runtime.exceptionThrown" => self.complaints.push(params["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" if worry(&params["type"]) => {
                self.complaints.push(params["args"].to_string());
            }
            "Log.entryAdded" if worry(&params["entry"]["level"]) => {
                self.complaints.push(params["entry"].to_string());
            }
            _ => {}
        }
    }

    #[track_caller]
    pub fn go(&mut self, url: &str) {
        self.call("Page.navigate", &json!({"url": url}));
        self.until("the page is there", "document.readyState === 'complete'");
    }

    /// The value of an expression; promises are waited for.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", &params);
        let failed = &answer["exceptionDetails"];
        assert!(failed.is_null(), "{expression}: {failed}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn until(&mut self, what: &str, expression: &str) {
        let mut last = Value::Null;
        let shown = "document.body?.innerText.slice(0, 1500)";
        let within = seconds(60.0);
        let began = std::time::Instant::now();
        eventually(within + seconds(5.0), what, || {
            if began.elapsed() > within {
                last = self.evaluate(shown);
                panic!(
                    "{what}: not within {within:?}; {}\n{last}",
                    self.complaints.join("\n")
                );
            }
            // While a page is exchanged there is nothing to ask.
            let params = json!({"expression": expression, "returnByValue": true});
            let answer = self.call("Runtime.evaluate", &params);
            (answer["result"]["value"] == true).then_some(())
        });
    }

    /// Waits until the page shows this text.
    #[track_caller]
    pub fn until_shown(&mut self, text: &str) {
        let text_ = json!(text);
        self.until(text, &format!("document.body.innerText.includes({text_})"));
    }

    /// Types as a person does.
    pub fn write(&mut self, text: &str) {
        for c in text.chars() {
            self.stroke(&json!({"key": c, "text": c}));
        }
    }

    /// Presses a key of [`KEYS`].
    #[track_caller]
    pub fn press(&mut self, key: &str) {
        let (_, text, number) = KEYS.iter().find(|(name, _, _)| *name == key).unwrap();
        let mut stroke = json!({"key": key, "code": key, "windowsVirtualKeyCode": number});
        if !text.is_empty() {
            stroke["text"] = json!(text);
        }
        self.stroke(&stroke);
    }

    fn stroke(&mut self, stroke: &Value) {
        for kind in ["keyDown", "keyUp"] {
            let mut event = stroke.clone();
            event["type"] = json!(kind);
            self.call("Input.dispatchKeyEvent", &event);
        }
    }

    /// Clicks the middle of what `expression` finds, once it stands still: what
    /// the manager tells may move it.
    #[track_caller]
    pub fn click(&mut self, expression: &str) {
        let find = format!(
            "(() => {{ const it = {expression}; if (!it) return null; \
             it.scrollIntoView({{block: 'center', behavior: 'instant'}}); \
             const box = it.getBoundingClientRect(); \
             const place = [box.x + box.width / 2, box.y + box.height / 2]; \
             const top = document.elementFromPoint(...place); \
             return top && it.contains(top) ? place : null; }})()"
        );
        let mut last = Value::Null;
        let place = eventually(seconds(60.0), expression, || {
            let place = self.evaluate(&find);
            let still = !place.is_null() && place == last;
            last = place.clone();
            still.then_some(place)
        });
        for kind in ["mousePressed", "mouseReleased"] {
            let event =
                json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", &event);
        }
    }

    /// `light` or `dark`, in a window of this size; a narrow one is a phone's.
    pub fn look(&mut self, scheme: &str, width: u32, height: u32) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &features);
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// A picture for whoever reads the results of a test.
    pub fn picture(&mut self, name: &str) -> PathBuf {
        let picture = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        let bytes = BASE64_STANDARD.decode(picture["data"].as_str().unwrap());
        std::fs::write(&path, bytes.unwrap()).unwrap();
        path
    }
}
