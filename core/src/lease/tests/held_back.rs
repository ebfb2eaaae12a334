//! Lapsed shards of children that may still run.

use super::*;

#[test]
fn a_childs_lapsed_shard_is_handed_on_only_when_its_process_group_is_gone() {
    let mut table = table(1);
    claim_for(&mut table, "discord-0", 1, at(0));
    table.handle_timeout(at(61));
    assert_eq!(claim(&mut table, 2, at(61)), None);
    assert_eq!(table.held_back().count(), 1);
    table.worker_gone(&"discord-0".into(), at(62));
    assert_eq!(claim(&mut table, 2, at(62)), Some(0));
}

#[test]
fn a_childs_lapsed_shard_is_free_once_the_child_itself_gives_it_up() {
    let mut table = table(1);
    claim_for(&mut table, "discord-0", 1, at(0));
    let ours = "discord-0".into();
    assert_eq!(table.give_up(&ours, session(1)), None, "it is not lost yet");
    table.handle_timeout(at(61));
    assert_eq!(table.give_up(&"discord-1".into(), session(1)), None);
    assert_eq!(table.give_up(&ours, session(2)), None);
    assert_eq!(claim(&mut table, 2, at(61)), None);
    assert_eq!(table.give_up(&ours, session(1)).unwrap().number(), 0);
    assert_eq!(table.give_up(&ours, session(1)), None, "once");
    assert_eq!(claim(&mut table, 2, at(61)), Some(0));
    table.worker_gone(&ours, at(62));
    assert_eq!(claim(&mut table, 3, at(62)), None, "its end frees nothing twice");
}

#[test]
fn nobody_gives_up_what_lapsed_under_an_earlier_manager() {
    let mut table = table(1);
    table.hold_back(ShardId::new(0, 1).unwrap(), "discord-0".into());
    assert_eq!(table.give_up(&"discord-0".into(), session(1)), None);
    assert_eq!(claim(&mut table, 2, at(0)), None);
}
