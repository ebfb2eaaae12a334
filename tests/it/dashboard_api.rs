//! What the dashboard asks of the manager, on real sockets with real workers.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Response, Shardman, Sim, call, eventually, get, seconds, signal};

const OWN: (&str, &str) = ("Sec-Fetch-Site", "same-origin");

/// The cookie that an answer sets.
#[track_caller]
fn cookie(answer: &Response) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let set = answer.header("set-cookie").unwrap();
    assert!(set.contains("HttpOnly; SameSite=Strict; Path=/"), "{set}");
    set.split(';').next().unwrap().to_owned()
}

fn sign_in(at: SocketAddr, with: &Value) -> Response {
    call(at, "POST", "/sign-in", &[OWN], Some(&with.to_string()))
}

/// A stream of server-sent events, as a browser has it.
struct Stream(BufReader<TcpStream>);

impl Stream {
    #[track_caller]
    fn open(at: SocketAddr, path: &str, cookie: &str) -> Self {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut stream = Self(BufReader::new(stream));
        let head = stream.line();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        stream
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the stream ended");
        line.trim_end().to_owned()
    }

    /// The next event but a sign of life: its name and its data.
    fn next(&mut self) -> (String, Value) {
        let mut name = String::new();
        loop {
            let line = self.line();
            if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ")
                && name != "beat"
            {
                return (name, serde_json::from_str(data).unwrap());
            }
        }
    }
}

#[test]
fn a_browser_signs_in_and_steers_only_from_the_managers_own_page() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0")]);
    let at = shardman.address;
    let page = call(at, "GET", "/", &[], None);
    assert_eq!(page.status, 200);
    let tag = page.header("etag").unwrap().to_owned();
    let again = call(at, "GET", "/", &[("If-None-Match", &tag)], None);
    assert_eq!((again.status, &*again.body), (304, ""));

    assert_eq!(sign_in(at, &json!({"secret": "wrong"})).status, 401);
    let operator = cookie(&sign_in(at, &json!({"secret": "test-secret"})));
    let standing = call(at, "GET", "/sign-in", &[("Cookie", &operator)], None).json();
    assert_eq!(
        (&standing["role"], &standing["open"]),
        (&json!("operator"), &json!(false))
    );
    assert_eq!(
        call(at, "GET", "/fleet", &[("Cookie", &operator)], None).status,
        200
    );

    // The same request, from its own page and from elsewhere.
    let resume = |headers: &[(&str, &str)]| {
        let mut all = vec![("Cookie", &*operator)];
        all.extend(headers);
        call(at, "POST", "/fleet/resume", &all, None).status
    };
    assert_eq!(resume(&[OWN]), 409, "let in: nothing is halted");
    assert_eq!(resume(&[("Origin", "http://test")]), 409);
    for other in [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Origin", "http://test:81"),
        ("Origin", "null"),
        ("X-Nothing", "said"),
    ] {
        assert_eq!(resume(&[other]), 403, "{other:?}");
    }
    // A worker's call takes no cookie: it would take a shard.
    assert_eq!(
        call(at, "GET", "/connect", &[("Cookie", &operator), OWN], None).status,
        422
    );
    assert_eq!(shardman.fleet().leased, 0);

    // The session outlives the manager, and ends with the secret.
    shardman.kill();
    shardman.start();
    assert_eq!(
        call(at, "GET", "/fleet", &[("Cookie", &operator)], None).status,
        200
    );
    shardman.kill();
    shardman.set("OPERATOR_SECRET", "another");
    shardman.start();
    assert_eq!(
        call(at, "GET", "/fleet", &[("Cookie", &operator)], None).status,
        422,
        "a cookie of that secret is nothing here"
    );
    let workers = sign_in(at, &json!({"secret": "test-secret"}));
    assert!(
        workers.status == 401 && workers.body.contains("OPERATOR_SECRET"),
        "{}",
        workers.body
    );
    let operator = cookie(&sign_in(at, &json!({"secret": "another"})));
    assert_eq!(
        call(at, "GET", "/fleet", &[("Cookie", &operator)], None).status,
        200
    );
    assert!(!shardman.log().contains("shardman_session") && !shardman.log().contains("another"));
    assert!(shardman.stop().success());
}

#[test]
fn a_shared_link_lets_look_and_nothing_else() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0")]);
    let at = shardman.address;
    let operator = cookie(&sign_in(at, &json!({"secret": "test-secret"})));
    let headers = [("Cookie", &*operator), OWN];
    let shared = call(at, "POST", "/share", &headers, Some(r#"{"days":1}"#)).json();
    let token = shared["token"].as_str().unwrap();
    assert_eq!(shared["path"], format!("/#share={token}"));
    let signed = sign_in(at, &json!({ "share": token }));
    let body = signed.json();
    assert_eq!(
        (&body["role"], &body["expires_at"]),
        (&json!("viewer"), &shared["expires_at"])
    );
    let viewer = cookie(&signed);
    let headers = [("Cookie", &*viewer), OWN];
    for path in ["/fleet", "/events", "/history", "/plan", "/status"] {
        assert_eq!(call(at, "GET", path, &headers, None).status, 200, "{path}");
    }
    let log = call(at, "GET", "/workers/nobody/logs", &headers, None);
    assert_eq!(log.status, 404, "let in: there is no such worker");
    for (path, body) in [
        ("/fleet/restart", ""),
        ("/plan", r#"{"shards":4}"#),
        ("/share", r#"{"days":1}"#),
        ("/reload", ""),
    ] {
        let refused = call(at, "POST", path, &headers, Some(body));
        let told = refused.body.contains("Viewers Only Look");
        assert!(refused.status == 403 && told, "{path}: {}", refused.body);
    }
    let out = call(at, "POST", "/sign-out", &headers, None);
    assert!(out.status == 204 && out.header("set-cookie").unwrap().contains("Max-Age=0"));
    let broken = sign_in(at, &json!({ "share": format!("{token}0") }));
    assert_eq!(broken.status, 401);
    assert!(shardman.stop().success());
}

#[test]
fn the_live_stream_shows_a_worker_killed_and_back_and_the_history_fills() {
    let sim = Sim::start(4, 4, &[]);
    sim.load(40.0);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &*sim.url()),
        ("SHARDS_PER_WORKER", "4"),
        ("MAX_SECONDS", "15"),
    ]);
    let at = shardman.address;
    let operator = cookie(&sign_in(at, &json!({"secret": "test-secret"})));
    shardman.wait_ready(seconds(60.0));
    let mut stream = Stream::open(at, "/fleet/live", &operator);
    let (name, fleet) = stream.next();
    assert_eq!((&*name, &fleet["planned"]), ("fleet", &json!(4)));
    let worker = fleet["workers"][0]["worker"].as_str().unwrap().to_owned();
    let pid = fleet["workers"][0]["pid"].as_i64().unwrap();

    signal(i32::try_from(pid).unwrap(), Signal::KILL);
    let began = Instant::now();
    let (mut died, mut returned) = (None, None);
    let (mut rows, mut frames) = (0, 0);
    while returned.is_none() {
        assert!(began.elapsed() < seconds(60.0), "the worker is not back");
        let (name, change) = stream.next();
        assert_eq!(name, "change");
        for member in ["fleet", "shards", "workers", "gone", "pools"] {
            assert!(!change[member].is_null(), "{change}");
        }
        frames += 1;
        rows += change["shards"].as_array().unwrap().len();
        let seen = change["workers"].as_array().unwrap().iter();
        for row in seen.filter(|row| row["worker"] == *worker) {
            if row["pid"] != pid && died.is_none() {
                died = Some(began.elapsed());
            }
            if row["pid"].is_i64() && row["pid"] != pid && row["holding"] == row["shards"] {
                returned = Some(began.elapsed());
            }
        }
    }
    println!("seen as gone after {died:?}, as back after {returned:?}, {rows} rows in {frames} events");
    // One event a second at most.
    assert!(f64::from(frames) <= began.elapsed().as_secs_f64() + 2.0);

    // Within the first looks there are figures of the fleet and of a shard.
    shardman.wait_ready(seconds(60.0));
    eventually(seconds(40.0), "the history fills", || {
        let history = get(at, "/history?seconds=60", "test-secret").json();
        assert_eq!(
            (&history["step_seconds"], history["end"].is_u64()),
            (&json!(10), true)
        );
        let last = |name: &str| {
            let line = history["series"][name].as_array().unwrap();
            assert_eq!(line.len(), 6);
            line.iter().rev().find_map(Value::as_f64)
        };
        let full = last("shards_ready") == Some(4.0) && last("shards_total") == Some(4.0);
        let guilds = last("guilds").is_some_and(|guilds| guilds > 0.0);
        let events = last("events_per_second").is_some_and(|rate| rate > 0.0);
        (full && guilds && events && last("workers") >= Some(1.0)).then_some(())
    });
    let shard = get(at, "/history?shard=0", "test-secret").json();
    let guilds = shard["series"]["guilds"].as_array().unwrap();
    assert!(
        guilds.len() == 60 && guilds.iter().any(Value::is_number),
        "{shard}"
    );
    let fleet = shardman.fleet();
    assert!(fleet.shards.iter().any(|row| row.events_per_second.is_some()));
    for row in &fleet.workers {
        assert!(row.memory_bytes.is_some_and(|bytes| bytes > 1 << 20), "{row:?}");
    }
    assert!(shardman.stop().success());
}

#[test]
fn a_shard_whose_holder_fell_silent_is_not_shown_as_ready() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0"), ("MAX_SECONDS", "12")]);
    let lease = shardman.connect().json();
    let session = lease["session_id"].as_str().unwrap();
    shardman.beat(session);
    assert_eq!(shardman.fleet().ready, 1);
    let quiet = eventually(seconds(11.0), "it is silent", || {
        let fleet = shardman.fleet();
        let row = fleet.shards.iter().find(|row| row.condition == "silent")?.clone();
        Some((row, fleet.ready))
    });
    assert!(quiet.0.epoch.is_some() && quiet.1 == 0, "{quiet:?}");
    shardman.beat(session);
    assert_eq!(shardman.fleet().ready, 1, "it is there again");
    assert!(shardman.stop().success());
}

#[test]
fn a_worker_is_as_old_as_its_process_after_the_manager_is_another() {
    let sim = Sim::start(2, 2, &[]);
    let mut shardman = Shardman::up(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    shardman.wait_ready(seconds(60.0));
    let before = shardman.fleet().workers.remove(0);
    let (began, known) = (Instant::now(), before.uptime.unwrap());
    shardman.kill();
    shardman.start();
    let after = shardman.fleet().workers.remove(0);
    let least = known + began.elapsed().as_secs_f64() - 1.0;
    println!("{known:.1} s old before, {:?} s after", after.uptime);
    assert_eq!(after.pid, before.pid);
    assert!(after.uptime.unwrap() > least.max(known), "{after:?}, {least}");
    let second = get(shardman.address, "/history?shard=1/2", "test-secret");
    assert_eq!(second.status, 200, "{}", second.body);
    for wrong in ["x", "2/2", "-1", "1/"] {
        let path = format!("/history?shard={wrong}");
        assert_eq!(get(shardman.address, &path, "test-secret").status, 422, "{wrong}");
    }
    assert!(shardman.stop().success());
}
