//! Bots of any language in a rescale, which know only the two published calls.

use crate::support::{Shardman, Sim, eventually, get, let_pass, post, seconds};

const SECRET: &str = "test-secret";

/// A client of the two published calls: it holds one shard after another.
struct Plain {
    session: String,
    shard: String,
}

impl Plain {
    /// `None` when the manager has nothing for it.
    fn connect(shardman: &Shardman) -> Option<Self> {
        let answer = shardman.connect();
        if answer.status == 401 {
            assert_eq!(answer.body, r#"{"detail":"No Shards Available"}"#);
            return None;
        }
        assert_eq!(answer.status, 200, "{}", answer.body);
        let body = answer.json();
        Some(Self {
            session: body["session_id"].as_str().unwrap().to_owned(),
            shard: format!("{}/{}", body["shard_id"], body["max_shards"]),
        })
    }

    /// Beats as a bot that is connected; false when it was told to go.
    #[track_caller]
    fn beat(&self, shardman: &Shardman) -> bool {
        let body = format!(
            "{{\"session_id\":\"{}\",\"guild_count\":10,\"latency\":0.04}}",
            self.session
        );
        let answer = post(shardman.address, "/beat", SECRET, &body);
        assert!(
            matches!(answer.status, 204 | 401),
            "{} {}",
            answer.status,
            answer.body
        );
        answer.status == 204
    }
}

#[test]
fn plain_clients_are_sent_on_when_their_successors_are_live_and_not_before() {
    let sim = Sim::start(2, 8, &[]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("WORKERS", "0"),
    ]);
    eventually(seconds(20.0), "Discord has been asked", || {
        (shardman.fleet().planned == 2).then_some(())
    });
    let old: Vec<_> = (0..2).map(|_| Plain::connect(&shardman).unwrap()).collect();
    assert!(old.iter().all(|client| client.beat(&shardman)));
    assert!(Plain::connect(&shardman).is_none());
    let answer = post(shardman.address, "/plan", SECRET, r#"{"shards":4}"#);
    assert_eq!(answer.status, 202, "{}", answer.body);

    let first = eventually(seconds(5.0), "the first step", || Plain::connect(&shardman));
    let second = Plain::connect(&shardman).unwrap();
    assert_eq!((&*first.shard, &*second.shard), ("0/4", "2/4"));
    assert!(Plain::connect(&shardman).is_none(), "one step at a time");
    // What a bot counts just after it was told its slot says nothing yet.
    assert!(first.beat(&shardman) && second.beat(&shardman));
    let_pass(seconds(2.0));
    assert!(old[0].beat(&shardman), "nobody can have connected yet");
    eventually(seconds(20.0), "0/2 is told to go", || {
        assert!(first.beat(&shardman) && second.beat(&shardman));
        (!old[0].beat(&shardman)).then_some(())
    });
    assert!(old[1].beat(&shardman), "1/2 has no successor yet");

    let third = eventually(seconds(5.0), "the next step begins", || Plain::connect(&shardman));
    let fourth = Plain::connect(&shardman).unwrap();
    assert_eq!((&*third.shard, &*fourth.shard), ("1/4", "3/4"));
    eventually(seconds(20.0), "1/2 is told to go", || {
        assert!(third.beat(&shardman) && fourth.beat(&shardman));
        (!old[1].beat(&shardman)).then_some(())
    });
    for client in [&first, &second, &third, &fourth] {
        assert!(client.beat(&shardman));
    }
    let status = get(shardman.address, "/status", SECRET).json();
    assert_eq!(status["total_shards"], 4);
    assert_eq!(status["shards"].as_array().unwrap().len(), 4);

    // The operator's number outlives the manager, also after a clean stop.
    assert!(shardman.stop().success());
    shardman.start();
    assert_eq!(shardman.fleet().planned, 4);
    assert!(shardman.stop().success());
}
