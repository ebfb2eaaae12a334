//! What the manager asks of a bot in its answers to beats, words of a later
//! version among it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::process::Signal;

use super::{Bench, DISCORD_JS, DISCORD_PY, GATEWAY_JS, HIKARI, Library, wait_for_more_messages};
use crate::support::{eventually, let_pass, post, seconds, signal, tools};

/// What is said in place of `carry_on`.
const WORDS: [&str; 3] = ["carry_on", "dance", "reconnect"];

/// A manager whose `carry_on` is another word, chosen by its place in [`WORDS`].
struct Interpreter {
    address: SocketAddr,
    word: Arc<AtomicU8>,
}

impl Interpreter {
    fn before(manager: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let word = Arc::new(AtomicU8::new(0));
        let said = Arc::clone(&word);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let said = Arc::clone(&said);
                let manager = TcpStream::connect(manager).unwrap();
                let (mut requests, mut to) = (client.try_clone().unwrap(), manager.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut requests, &mut to));
                std::thread::spawn(move || interpret(manager, client, &said));
            }
        });
        Self { address, word }
    }

    fn say(&self, word: &str) {
        let place = WORDS.iter().position(|known| *known == word).unwrap();
        self.word.store(u8::try_from(place).unwrap(), Ordering::Relaxed);
    }
}

/// Passes answers on. An answer to a beat is small, so it comes in one piece.
fn interpret(mut from: TcpStream, mut to: TcpStream, said: &AtomicU8) {
    let mut buffer = [0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let mut answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let word = WORDS[usize::from(said.load(Ordering::Relaxed))];
        if let Some((head, body)) = answer.split_once("\r\n\r\n")
            && body.contains("\"carry_on\"")
        {
            let (old, body) = (body.len(), body.replace("carry_on", word));
            let head = head.replace(
                &format!("content-length: {old}"),
                &format!("content-length: {}", body.len()),
            );
            answer = format!("{head}\r\n\r\n{body}");
        }
        if to.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn follows(library: &Library) {
    let mut bench = Bench::new(1, "3");
    let interpreter = Interpreter::before(bench.shardman.address);
    let mut bot = bench.bot_of(library, library.after, interpreter.address);
    bench.wait_ready(1);
    wait_for_more_messages(&bot);

    interpreter.say("dance");
    let_pass(seconds(2.0));
    wait_for_more_messages(&bot);
    let report = bench.sim.report();
    assert_eq!((report.connections.opened, report.resume_count), (1, 0));

    interpreter.say("reconnect");
    eventually(seconds(15.0), "it resumes on another connection", || {
        (bench.sim.report().resume_count >= 1).then_some(())
    });
    interpreter.say("carry_on");
    wait_for_more_messages(&bot);
    let report = bench.sim.report();
    assert_eq!((report.identify_count, report.events_total.lost), (1, 0));

    signal(bot.pid(), Signal::TERM);
    assert!(bot.wait(seconds(15.0)).success());
    assert_eq!(bench.held(), 0);
    bench.sim.assert_clean();
    assert!(bench.shardman.stop().success());
}

#[test]
fn discord_py_follows_the_directives_that_it_knows() {
    if tools("directives to discord.py", &[DISCORD_PY.probe]) {
        follows(&DISCORD_PY);
    }
}

#[test]
fn discord_js_follows_the_directives_that_it_knows() {
    if tools("directives to discord.js", &[DISCORD_JS.probe]) {
        follows(&DISCORD_JS);
    }
}

#[test]
fn hikari_follows_the_directives_that_it_knows() {
    if tools("directives to hikari", &[HIKARI.probe]) {
        follows(&HIKARI);
    }
}

/// Told to leave for a rescale, a bot gives its shard back and takes a new one.
fn moves(library: &Library) {
    let mut bench = Bench::new(1, "6");
    let mut bots = vec![bench.bot(library, library.after)];
    bench.wait_ready(1);
    // Both of the new number are held before the old one is given back.
    bots.extend([(); 2].map(|()| bench.bot(library, library.after)));
    let plan = r#"{"shards":2}"#;
    let answer = post(bench.shardman.address, "/plan", "test-secret", plan);
    assert!(answer.status < 300, "{answer:?}");
    eventually(seconds(60.0), "all of the new number are ready", || {
        let fleet = bench.shardman.fleet();
        (fleet.ready == 2 && fleet.planned == 2 && fleet.rescale.is_none()).then_some(())
    });
    // The one that moved waits for a shard; it gets the next that is free.
    signal(bots[1].pid(), Signal::KILL);
    bots.remove(1).wait(seconds(5.0));
    bench.wait_ready(2);
    for bot in &bots {
        wait_for_more_messages(bot);
    }
    assert_eq!(bench.sim.report().connections.live, 2);
    bench.sim.assert_clean();
    for mut bot in bots {
        signal(bot.pid(), Signal::TERM);
        assert!(bot.wait(seconds(15.0)).success());
    }
    assert!(bench.shardman.stop().success());
}

#[test]
fn discord_py_bots_move_to_the_shards_of_another_number() {
    if tools("discord.py bots that move", &[DISCORD_PY.probe]) {
        moves(&DISCORD_PY);
    }
}

#[test]
fn discord_js_bots_move_to_the_shards_of_another_number() {
    if tools("discord.js bots that move", &[DISCORD_JS.probe]) {
        moves(&DISCORD_JS);
    }
}

#[test]
fn a_bare_gateway_moves_to_the_shards_of_another_number() {
    if tools("@discordjs/ws that moves", &[GATEWAY_JS.probe]) {
        moves(&GATEWAY_JS);
    }
}
