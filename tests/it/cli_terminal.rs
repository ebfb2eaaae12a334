//! What a person sees on a terminal of 80 and of 200 columns: a fleet that
//! starts, and a fleet that is watched.

use rustix::process::Signal;

use crate::support::{Program, Shardman, Sim, Terminal, eventually, free_port, let_pass, seconds, signal};

const SIZES: [(u16, u16); 2] = [(80, 24), (200, 50)];

/// Rows of the log begin with the time.
fn is_log(row: &str) -> bool {
    let time = row.get(..8).unwrap_or_default();
    time.len() == 8 && time.chars().all(|c| c.is_ascii_digit() || c == ':') && row[8..].starts_with("  ")
}

#[test]
fn a_fleet_that_starts_is_drawn_below_the_log_and_gone_when_it_is_whole() {
    let started: Vec<_> = SIZES
        .iter()
        .map(|(columns, rows)| {
            let folder = tempfile::tempdir().unwrap();
            let terminal = Program::shardman(&["up", "--sim", "8", "--sim-max-concurrency", "4"])
                .env("LISTEN", &format!("127.0.0.1:{}", free_port()))
                .dir(folder.path())
                .in_terminal(*columns, *rows, &folder.path().join("screen"));
            (terminal, *columns, folder)
        })
        .collect();
    for (terminal, columns, _) in &started {
        let rows = terminal.shows(seconds(60.0), "of 8 shards ready, all in about");
        println!("{}", rows.join("\n"));
        let first = rows
            .iter()
            .position(|row| row.starts_with("starting  ["))
            .unwrap();
        assert!(rows[first + 1].starts_with("buckets   "), "{rows:#?}");
        let workers = &rows[first + 2];
        assert!(
            workers.starts_with("workers   ") && workers.contains(" of "),
            "{rows:#?}"
        );
        assert!(rows[first + 3..].iter().all(String::is_empty), "{rows:#?}");
        assert!(
            rows.iter()
                .all(|row| row.chars().count() <= usize::from(*columns))
        );
    }
    for (mut terminal, columns, _folder) in started {
        let rows = terminal.shows(seconds(60.0), "all 8 shards are ready after");
        let rows = if rows.iter().any(|row| row.starts_with("starting")) {
            terminal.hides(seconds(10.0), "starting  [")
        } else {
            rows
        };
        println!("{}", rows.join("\n"));
        // No line of the log is torn, and nothing but the log is left.
        let wrapped = terminal.wrapped();
        let torn = |row: &&String| !row.is_empty() && !is_log(row);
        let torn: Vec<_> = rows.iter().filter(torn).collect();
        assert!(torn.len() <= wrapped.len(), "{torn:#?}");
        assert!(columns < 200 || torn.is_empty(), "{torn:#?}");

        signal(terminal.pid(), Signal::INT);
        assert!(terminal.wait(seconds(30.0)).success());
        terminal.shows(seconds(5.0), "stopped: clean");
        let rows = terminal.hides(seconds(5.0), "workers still run");
        assert!(!rows.iter().any(|row| row.starts_with("stopping  ")), "{rows:#?}");
    }
}

fn watch(shardman: &Shardman, (columns, rows): (u16, u16), plain: bool) -> Terminal {
    let url = format!("http://{}", shardman.address);
    let mut program = Program::shardman(&["status", "--watch", "--url", &url]).env("SECRET", "test-secret");
    if plain {
        program = program.env("NO_COLOR", "1");
    }
    program.in_terminal(
        columns,
        rows,
        &shardman.folder().join(format!("screen-{columns}")),
    )
}

#[test]
fn a_watched_fleet_is_redrawn_in_place_also_over_a_restart_of_the_manager() {
    let sim = Sim::start(8, 8, &[]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "4"),
    ]);
    shardman.wait_ready(seconds(60.0));
    let mut all: Vec<_> = SIZES
        .iter()
        .map(|size| watch(&shardman, *size, size.0 == 200))
        .collect();
    for terminal in &all {
        let rows = terminal.shows(seconds(20.0), "8 of 8 shards ready");
        println!("{}", rows.join("\n"));
        assert!(terminal.is_alternate());
        assert!(terminal.wrapped().is_empty(), "{:#?}", terminal.wrapped());
        for word in [
            "SHARD",
            "STATE",
            "WORKER",
            "0/8",
            "discord-0",
            "discord-1",
            "running",
        ] {
            assert!(rows.iter().any(|row| row.contains(word)), "{word}: {rows:#?}");
        }
    }
    // Colours where they are wanted, and the words all the same.
    let green = |terminal: &Terminal| terminal.bytes().windows(5).any(|bytes| bytes == b"\x1b[32m");
    assert!(green(&all[0]));
    assert!(!green(&all[1]), "NO_COLOR is set");

    // Ctrl-Z gives the terminal back, and `fg` takes it again.
    for terminal in &all {
        signal(terminal.pid(), Signal::TSTP);
        let stat = format!("/proc/{}/stat", terminal.pid());
        eventually(seconds(20.0), "it is stopped", || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            (stat.contains(") T ") && !terminal.is_alternate()).then_some(())
        });
        assert!(terminal.rows().concat().is_empty(), "{:#?}", terminal.rows());
        signal(terminal.pid(), Signal::CONT);
        eventually(seconds(20.0), "it has its screen again", || {
            terminal.is_alternate().then_some(())
        });
        terminal.shows(seconds(20.0), "8 of 8 shards ready");
    }

    shardman.kill();
    for terminal in &all {
        let rows = terminal.shows(seconds(20.0), "no answer for");
        assert!(
            rows.iter().any(|row| row.contains("8 of 8 shards ready")),
            "how it was: {rows:#?}"
        );
        assert!(terminal.wrapped().is_empty());
    }
    shardman.start();
    for terminal in &all {
        terminal.hides(seconds(20.0), "no answer for");
        terminal.shows(seconds(20.0), "8 of 8 shards ready");
    }
    for terminal in &mut all {
        terminal.types("q");
        assert!(terminal.wait(seconds(10.0)).success());
        assert!(!terminal.is_alternate(), "the former screen is back");
    }
    assert!(shardman.stop().success());
}

#[test]
fn a_large_fleet_is_readable_on_a_small_screen() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "256"), ("WORKERS", "0")]);
    assert_eq!(shardman.connect().status, 200);
    let url = format!("http://{}", shardman.address);
    let status = |more: &[&str]| {
        let mut args = vec!["status", "--url", &url];
        args.extend(more);
        Program::shardman(&args).env("SECRET", "test-secret").run()
    };
    let (code, text, _) = status(&[]);
    println!("{text}");
    assert_eq!(code, 3, "not whole");
    assert!(text.lines().count() < 16, "{text}");
    assert!(
        text.contains("1-255/256 (255)") && text.contains("free"),
        "{text}"
    );
    let (_, text, _) = status(&["--all"]);
    assert!(text.lines().count() > 256, "{text}");
    let mut terminal = watch(&shardman, (80, 24), false);
    let rows = terminal.shows(seconds(20.0), "1-255/256 (255)");
    assert!(!rows.iter().any(|row| row.contains("more lines")), "{rows:#?}");
    assert!(terminal.wrapped().is_empty());
    terminal.types("q");
    assert_eq!(terminal.wait(seconds(10.0)).code(), Some(3));
    assert!(shardman.stop().success());
}

/// Its standard input may be at an end, as under `nohup` or a pane that only
/// shows: nobody types, and everything else goes on.
#[test]
fn a_watch_that_nobody_can_type_into_goes_on_until_it_is_told_to_end() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0")]);
    let url = format!("http://{}", shardman.address);
    let mut terminal = Program::new("sh")
        .arg("-c")
        .arg("exec \"$0\" status --watch --url \"$1\" </dev/null")
        .arg(env!("CARGO_BIN_EXE_shardman"))
        .arg(&url)
        .env("SECRET", "test-secret")
        .in_terminal(100, 24, &shardman.folder().join("screen"));
    terminal.shows(seconds(20.0), "0 of 2 shards ready, 0 leased");
    assert!(terminal.is_alternate());
    for leased in ["1 leased", "2 leased"] {
        assert_eq!(shardman.connect().status, 200);
        let rows = terminal.shows(seconds(20.0), leased);
        println!("{}", rows.join("\n"));
    }
    // It waits for the next second, and not for keys again and again.
    let before = cpu_ticks(terminal.pid());
    terminal.shows(seconds(20.0), "s ago");
    let_pass(seconds(2.0));
    let taken = cpu_ticks(terminal.pid()) - before;
    println!("{taken} hundredths of a second of a core in 2 s");
    assert!(taken < 100, "{taken}");
    signal(terminal.pid(), Signal::INT);
    assert_eq!(terminal.wait(seconds(10.0)).code(), Some(3), "not whole");
    assert!(!terminal.is_alternate(), "the former screen is back");
    assert!(shardman.stop().success());
}

/// What a process has taken of the cores (proc_pid_stat(5), `utime` and `stime`).
fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<_> = fields.split(' ').collect();
    fields[11..13]
        .iter()
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum()
}
