//! What a large fleet costs the manager.

use crate::support::{Connection, Shardman, eventually, get, seconds};

/// Resident memory of a process, in MiB.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}

#[test]
fn a_thousand_leases_and_fifty_children_take_little_memory() {
    let shardman = Shardman::up(&[
        ("MAX_SHARDS", "1000"),
        ("WORKERS", "0"),
        ("POOLS", "web"),
        ("POOL_WEB_SIZE", "50"),
        ("POOL_WEB_REGISTER", "process"),
        ("POOL_WEB_COMMAND", "exec sleep 600"),
    ]);
    let at_first = resident(shardman.pid());
    let secret = [("Authorization", "test-secret")];
    let mut connection = Connection::open(shardman.address).unwrap();
    let sessions: Vec<String> = (0..1000)
        .map(|_| {
            let answer = connection
                .call("GET", "/connect?identify=ask", &secret, None)
                .unwrap();
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer.json()["session_id"].as_str().unwrap().to_owned()
        })
        .collect();
    for session in &sessions {
        let beat = format!(
            r#"{{"session_id":"{session}","guild_count":1000,"latency":0.05,"state":"ready","last_event_age":0.1,"gateway":{{"session_id":"{session}","sequence":1,"resume_url":"wss://gateway.example"}}}}"#
        );
        let answer = connection.call("POST", "/beat", &secret, Some(&beat)).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let fleet = eventually(seconds(60.0), "every slot is held", || {
        let fleet = shardman.fleet();
        (fleet.pools[0].leased == 50).then_some(fleet)
    });
    assert_eq!((fleet.leased, fleet.ready), (1000, 1000));
    assert_eq!(get(shardman.address, "/status", "test-secret").status, 200);
    let now = resident(shardman.pid());
    println!("{at_first} MiB at first, {now} MiB with 1,000 leases and 50 children");
    assert!(now < 128, "{now} MiB");
}
