//! `GET /sessions/{session_id}`: what a session holds, and nothing changes.

use serde_json::json;

use crate::support::{Response, SECRET, Shardman, call, eventually, get, seconds};

fn held(shardman: &Shardman, session: &str, secret: &str) -> Response {
    get(shardman.address, &format!("/sessions/{session}"), secret)
}

#[test]
fn a_session_is_told_with_its_pool_its_slot_and_its_epoch() {
    let settings = [
        ("MAX_SHARDS", "2"),
        ("WORKERS", "0"),
        ("POOLS", "web"),
        ("POOL_WEB_SIZE", "3"),
    ];
    let mut shardman = Shardman::up(&settings);
    let at = shardman.address;
    let shard = shardman.connect().json();
    let slot = get(at, "/connect?pool=web", SECRET).json();
    for (lease, pool, of) in [(&shard, "discord", 2), (&slot, "web", 3)] {
        let session = lease["session_id"].as_str().unwrap();
        let expected = json!({"pool": pool, "shard_id": 0, "max_shards": of, "epoch": lease["epoch"]});
        let answer = held(&shardman, session, SECRET);
        assert_eq!((answer.status, answer.json()), (200, expected));
        assert_eq!(held(&shardman, session, "wrong").status, 403);
        let path = format!("/sessions/{session}");
        assert_eq!(call(at, "GET", &path, &[], None).status, 422);
        let back = call(at, "DELETE", &path, &[("Authorization", SECRET)], None);
        assert_eq!(back.status, 204);
        assert_eq!(held(&shardman, session, SECRET).status, 404, "it was given back");
    }
    for nobody in ["nobody", "8f14e45f-ceea-467f-ab1d-2c6d1e0b7a51", "%ff", "%2e%2e"] {
        let answer = held(&shardman, nobody, SECRET);
        assert_eq!(answer.status, 404, "{nobody}: {}", answer.body);
    }
    assert!(shardman.stop().success());
}

#[test]
fn who_is_asked_for_lapses_as_if_nobody_had_asked() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "1"), ("WORKERS", "0"), ("MAX_SECONDS", "2")]);
    let lease = shardman.connect().json();
    let session = lease["session_id"].as_str().unwrap();
    let mut asked = 0;
    eventually(seconds(10.0), "the lease lapses", || {
        asked += 1;
        (held(&shardman, session, SECRET).status == 404).then_some(())
    });
    println!("asked {asked} times, and it lapsed");
    assert!(asked > 3, "{asked}");
    assert_eq!(shardman.beat(session).status, 404);
    assert!(shardman.stop().success());
}
