//! What a scout says of its lease is asked of the manager as one question, and
//! asking keeps nobody's lease.

use shardman_lease::Ask;
use shardman_oracle::draft::frame::Closing;
use tokio::runtime::Runtime;

use crate::fleet::{SECRET, eventually};
use crate::leases::{self, Side};
use crate::rogue::{Heard, Rogue, hello, lease};

#[test]
fn a_lease_of_another_pool_makes_nobody_a_scout() {
    let pools = [
        ("POOLS", "scouts,web"),
        ("POOL_WEB_SIZE", "4"),
        ("POOL_SCOUTS_MAX_SECONDS", "60"),
    ];
    let Some(fleet) = leases::fleet("a_lease_of_another_pool", &pools) else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    let side = Side::start(&runtime, &fleet);
    runtime.block_on(async {
        let manager = fleet.client();
        let held = lease(&manager).await;
        let ask = Ask::Slot("web".parse().unwrap());
        let other = manager.connect(&ask, "of-the-other-pool").await.unwrap();
        assert_eq!(
            (held.shard_id, held.epoch),
            (other.shard_id, other.epoch),
            "each pool counts for itself"
        );
        let say = async |lease| {
            let mut rogue = Rogue::dial(&side.url, Some(SECRET)).await.ok().unwrap();
            rogue.say(&hello(lease)).await;
            (rogue.hear(10.0).await, rogue)
        };
        let (heard, mut kept) = say(&held).await;
        assert!(matches!(heard, Heard::Frame(_)), "{heard:?}");
        assert_eq!(say(&other).await.0, Heard::Closed(Some(Closing::NotHeld)));
        assert_eq!(kept.hear(0.5).await, Heard::Nothing, "nobody took its seat");
        assert_eq!(side.scouts.connected(), 1);
    });
}

#[test]
fn a_claim_that_is_proved_keeps_no_lease() {
    let Some(fleet) = leases::fleet("a_claim_that_is_proved", &[("POOL_SCOUTS_MAX_SECONDS", "60")]) else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    let side = Side::start(&runtime, &fleet);
    let held = runtime.block_on(lease(&fleet.client()));
    let age = || fleet.pool("scouts").shards[0].beat_age.unwrap();
    let before = eventually(10.0, "the lease has an age", || {
        Some(age()).filter(|age| *age > 0.5)
    });
    let heard = runtime.block_on(async {
        let mut rogue = Rogue::dial(&side.url, Some(SECRET)).await.ok().unwrap();
        rogue.say(&hello(&held)).await;
        rogue.hear(10.0).await
    });
    assert!(matches!(heard, Heard::Frame(_)), "{heard:?}");
    assert!(age() >= before, "{} s, and {before} s before", age());
}
