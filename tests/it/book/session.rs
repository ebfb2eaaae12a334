//! A reader who does what a page says, in an empty folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::page::{Command, Page};
use super::root;
use crate::support::{Program, Running, Sim, eventually, free_port, let_pass, seconds, signal};

/// The ports that the book writes: the manager's, and a simulator's.
const PORTS: [&str; 2] = ["7878", "7979"];

/// The session id that the book writes: that of the last answer.
const SESSION: &str = "9f1c…";

/// What asks and changes nothing, so that it may be asked until it is so.
const ASKS: [&str; 5] = ["status", "why", "events", "logs", "plan"];

fn only_asks(line: &str) -> bool {
    let of_ours = |name| line.contains(&format!("shardman {name}"));
    let changes = [" -d ", " -X ", "/connect?", "/disconnect"];
    let is_get = line.starts_with("curl -s") && !changes.iter().any(|word| line.contains(word));
    ASKS.into_iter().any(of_ours) || is_get && !line.ends_with("/connect")
}

pub struct Session<'a> {
    page: &'a Page,
    ports: [String; 2],
    sim: Sim,
    session: String,
    manager: Option<Running>,
    /// What runs in the background beside it.
    others: Vec<Running>,
    folder: tempfile::TempDir,
}

impl<'a> Session<'a> {
    /// In a folder with what the book takes for granted: `.env.example`, and a
    /// bot of one's own, which is the worker that the book shows.
    pub fn new(page: &'a Page, all: &[Page]) -> Self {
        let session = Self {
            page,
            ports: [free_port(), free_port()].map(|port| port.to_string()),
            sim: Sim::start(2, 2, &["--guilds", "20", "--events-per-second", "20"]),
            session: String::new(),
            manager: None,
            others: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        fs::copy(
            root().join(".env.example"),
            session.folder.path().join(".env.example"),
        )
        .unwrap();
        for block in all.iter().flat_map(|page| &page.blocks) {
            if let Some(end) = block.file().and_then(|file| file.strip_prefix("worker.")) {
                session.write(&format!("bot.{end}"), &block.text);
            }
        }
        session.write("bin/shardman", &shim());
        let path = session.folder.path().join("bin/shardman");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        session
    }

    fn on_free_ports(&self, text: &str) -> String {
        // Of a pool, each process takes any.
        let text = text.replace("808$SHARDMAN_SLOT", "0");
        let ports = PORTS.into_iter().zip(&self.ports);
        ports.fold(text, |text, (port, free)| text.replace(port, free))
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.on_free_ports(text)).unwrap();
    }

    /// Does all that the page says; how many commands that were.
    pub fn run(mut self) -> usize {
        let mut done = 0;
        for block in &self.page.blocks {
            if let Some(file) = block.file() {
                self.write(file, &block.text);
            }
            if !block.is_shell() || block.is_by_hand() {
                continue;
            }
            for command in block.commands() {
                let began = Instant::now();
                let place = format!(
                    "{}, block at line {}: {}",
                    self.page.name, block.line, command.line
                );
                self.obey(&command, &place);
                eprintln!("{:5.1} s  {place}", began.elapsed().as_secs_f64());
                done += 1;
            }
        }
        self.stop();
        done
    }

    fn obey(&mut self, command: &Command, place: &str) {
        let line = self.on_free_ports(&command.line);
        // The program is built, and installed.
        let line = line.replace("cargo run --release -- ", "shardman ");
        if line.starts_with("cargo test") {
            return; // is what runs
        }
        let mut line = line.replace(SESSION, &self.session);
        if line.contains("PID") {
            line = line.replace("PID", &self.first_worker().to_string());
        }
        let program = line.split_whitespace().find(|word| !word.contains('='));
        let background = line.split(" # ").next().unwrap().trim_end().strip_suffix('&');
        if program == Some("shardman") && line.contains("shardman up") {
            return self.up(background.unwrap_or(&line), command, place);
        }
        if let Some(line) = background {
            let log = self
                .folder
                .path()
                .join(format!("background-{}.log", self.others.len()));
            let running = self.shell(line).spawn(&log);
            return self.others.push(running);
        }
        let follows = line.starts_with("shardman ") && line.contains(" -f");
        let asks = only_asks(&line);
        let began = Instant::now();
        loop {
            let (code, output) = if follows {
                self.follow(&line)
            } else {
                self.output(&line)
            };
            let good = command.is_shown_by(&output) && (code == 0 || !command.shown.is_empty());
            if good {
                self.keep(&output);
                break;
            }
            assert!(
                asks && began.elapsed() < Duration::from_secs(15),
                "{place}\nexit code {code}; not there: {:?}\n{output}",
                command.first_missing(&output)
            );
            let_pass(seconds(0.2));
        }
        if line.starts_with("kill ") {
            self.wait_whole(place);
        }
    }

    /// The id of the session that an answer tells.
    fn keep(&mut self, output: &str) {
        let id = output
            .split("\"session_id\":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        self.session = id.map_or_else(|| std::mem::take(&mut self.session), str::to_owned);
    }

    /// `shardman up` takes the terminal: the next command is given in another
    /// one, and the next `up` follows a Ctrl-C.
    fn up(&mut self, line: &str, command: &Command, place: &str) {
        let fails = command.shown.iter().any(|line| line.starts_with("shardman: "));
        if !fails {
            self.stop();
        }
        let log = self
            .folder
            .path()
            .join(if fails { "failed.log" } else { "up.log" });
        let _ = fs::remove_file(&log);
        let mut running = self.shell(&format!("exec {}", exec_form(line))).spawn(&log);
        if !command.shown.is_empty() {
            eventually(seconds(30.0), place, || {
                command.is_shown_by(&running.log()).then_some(())
            });
        }
        let ended = eventually(seconds(30.0), place, || {
            let ended = running.ended();
            (ended.is_some() || running.log().contains("shardman listens")).then_some(ended)
        });
        if let Some(code) = ended {
            assert!(
                !command.shown.is_empty(),
                "{place}: ends with {code:?}\n{}",
                running.log()
            );
            return;
        }
        self.manager = Some(running);
        if command.shown.is_empty() && !line.contains("WORKERS=0") {
            self.wait_whole(place);
        }
    }

    fn wait_whole(&self, place: &str) {
        eventually(seconds(40.0), &format!("{place}: the fleet is whole"), || {
            (self.output("shardman status").0 == 0).then_some(())
        });
    }

    fn first_worker(&self) -> i64 {
        eventually(seconds(10.0), "a worker runs", || {
            let fleet: serde_json::Value =
                serde_json::from_str(&self.output("shardman status --json").1).ok()?;
            fleet["workers"]
                .as_array()?
                .iter()
                .find_map(|worker| worker["pid"].as_i64())
        })
    }

    fn stop(&mut self) {
        if let Some(mut manager) = self.manager.take() {
            signal(manager.pid(), Signal::INT);
            manager.wait(seconds(25.0));
        }
    }

    /// One line of a shell that goes on with what the lines before it exported.
    fn shell(&self, line: &str) -> Program {
        let folder = self.folder.path();
        let port = &self.ports[0];
        let path = std::env::var("PATH").unwrap();
        // Where no bot is run, nothing is asked of Discord.
        let discord = match line.contains("WORKERS=0") {
            true => "https://discord.com".to_owned(),
            false => self.sim.url(),
        };
        let script = format!("[ -e bin/exported ] && . ./bin/exported\n{line}\n");
        Program::new("sh")
            .arg("-c")
            .arg(&script)
            .dir(folder)
            .env("PATH", &format!("{}/bin:{path}", folder.display()))
            .env("LISTEN", &format!("127.0.0.1:{port}"))
            .env("SHARDMAN_URL", &format!("http://127.0.0.1:{port}"))
            .env("DISCORD_API_URL", &discord)
            .env("LOGIN_SECONDS", "1")
    }

    fn output(&self, line: &str) -> (i32, String) {
        let (code, out, error) = self
            .shell(&format!(
                "{line}\ncode=$?; export -p | grep -v -e _TEST_MARK -e DISCORD_API_URL > bin/exported; exit $code"
            ))
            .run();
        (code, out + &error)
    }

    /// What follows prints what is there, and does not end by itself.
    fn follow(&self, line: &str) -> (i32, String) {
        let log = self.folder.path().join("follow.log");
        let _ = fs::remove_file(&log);
        let mut running = self.shell(&format!("exec {line}")).spawn(&log);
        eventually(seconds(10.0), line, || (!running.log().is_empty()).then_some(()));
        let_pass(seconds(0.3));
        assert_eq!(running.ended(), None, "{line} goes on");
        signal(running.pid(), Signal::INT);
        running.wait(seconds(5.0));
        (0, running.log())
    }
}

/// Variables before a command are `env`'s where the shell is to become it.
fn exec_form(line: &str) -> String {
    match line.trim_start().starts_with("shardman") {
        true => line.to_owned(),
        false => format!("env {line}"),
    }
}

/// The program as it is installed. On the simulator of `--sim` all shards may
/// identify at once, which saves the test half a minute for each page.
fn shim() -> String {
    let built = env!("CARGO_BIN_EXE_shardman");
    format!(
        "#!/bin/sh\nall=\"$*\"\nshards=${{all#*--sim }}\n\
         [ \"$shards\" = \"$all\" ] || set -- \"$@\" --sim-max-concurrency \"${{shards%% *}}\"\nexec {built} \"$@\"\n"
    )
}
