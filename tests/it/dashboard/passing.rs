//! Whether everybody can use what is there only for a while: a change under
//! way, a question that is asked, a manager that does not answer.

use super::looks::check;
use super::{axe, button};
use crate::support::{Browser, Shardman, Sim, eventually, seconds};

#[test]
fn what_is_there_for_a_while_is_accessible_in_light_and_dark() {
    let Some(mut page) = Browser::open("the dashboard") else {
        return;
    };
    let Some(rules) = axe() else { return };
    // One IDENTIFY every five seconds, so that there is time to look.
    let sim = Sim::start(2, 1, &[]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "1"),
    ]);
    shardman.wait_ready(seconds(60.0));
    page.sign_in(&shardman);
    page.until_shown("2 of 2 shards ready");

    let closes = "document.querySelector('dialog') === null";
    page.evaluate("location.hash = '#/shard/0/2'");
    page.until_shown("Its story");
    page.click(&button("Restart its worker"));
    page.until_shown("The shards resume their sessions");
    check(&mut page, &rules, "confirm-shard");
    page.click(&button("Leave it"));
    page.press("Escape");
    page.until("both close", closes);
    page.evaluate("location.hash = '#/worker/discord-0'");
    page.until_shown("worker started");
    page.click(&button("Restart …"));
    page.until_shown("They are away until it is back");
    check(&mut page, &rules, "confirm-worker");
    page.press("Escape");
    page.until("it closes", closes);
    page.evaluate("location.hash = '#/'");

    page.click(&button("Restart one by one"));
    page.until(
        "the dialog is there",
        "document.querySelector('#canary') !== null",
    );
    page.evaluate("document.querySelector('#canary').select()");
    page.evaluate("document.querySelector('#canary').focus()");
    page.write("600");
    page.press("Enter");
    page.until_shown("Restarting workers:");
    check(&mut page, &rules, "restarting");
    assert_eq!(shardman.fleet().restart.unwrap().state, "running");
    page.click(&button("Pause"));
    page.until_shown("paused");
    check(&mut page, &rules, "restarting-paused");
    page.click(&button("Cancel"));
    eventually(seconds(20.0), "it is cancelled", || {
        let fleet = shardman.fleet();
        (fleet.restart?.state == "cancelled" && fleet.ready == 2).then_some(())
    });

    page.click(&button("Rescale"));
    page.until(
        "the number is chosen",
        "document.activeElement?.id === 'rescale-to'",
    );
    page.evaluate("document.activeElement.select()");
    page.write("8");
    page.until_shown("It is safe:");
    page.press("Enter");
    page.until_shown("Changing to 8 shards: step 1 of 2");
    check(&mut page, &rules, "rescaling");
    let rescale = shardman.fleet().rescale.expect("it goes on while one looks");
    assert_eq!((rescale.from, rescale.to), (Some(2), 8));

    shardman.kill();
    page.until_shown("connection lost: this is");
    check(&mut page, &rules, "lost");
    shardman.start();
    page.until(
        "it is live again",
        "document.querySelector('#bar').dataset.link === 'live'",
    );
    assert!(shardman.stop().success());
}
