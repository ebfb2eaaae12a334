//! The pools that `ORACLE` declares: an inference oracle and its scouts. They
//! are a program of its own, of which nothing is known here but its command line
//! and its environment.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shardman_core::PoolId;

use super::{ConfigError, UpArgs, reachable};
use crate::manager::{PoolSettings, Register, RestartRule, StartTerms};

const PROGRAM: &str = "shardman-oracle";

/// The names of the pools; what is declared in `POOLS` may not have them.
const ORACLE: &str = "oracle";
const SCOUTS: &str = "scouts";

/// What every GGUF file begins with.
const MAGIC: &[u8] = b"GGUF";

/// In place of a file: answers without a model, for tests and rehearsals.
const FAKE: &str = "fake";

/// Keys of the oracle's own callers: a bot and a scout have no use for them.
const OF_THE_ORACLE_ALONE: &[&str] = &["SHARD_API_KEYS"];

/// Shards go first: at 10 a busy process leaves nine parts of ten of a core to
/// one that is not told to stand back. Scouts only guess, and leave the oracle
/// three of four.
const NICE_ORACLE: u8 = 10;
const NICE_SCOUT: u8 = 15;

/// What of `STOP_SECONDS` the oracle has to tell readers that their answers are
/// broken off, before it is killed.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// `ORACLE`: the place of a file that is there and is a model, or `fake`.
pub(super) fn model(text: &str) -> Result<String, String> {
    if text.trim() == FAKE {
        return Ok(FAKE.to_owned());
    }
    let remedy = "give the path of a GGUF file (oracle/fetch-model.sh gets a small one), or `fake`";
    let refused = |what: String| format!("{what}; {remedy}");
    let mut begin = [0; MAGIC.len()];
    let read = File::open(text).and_then(|mut file| match file.metadata()?.is_file() {
        true => file.read(&mut begin),
        false => Ok(0),
    });
    match read {
        Ok(_) if begin == MAGIC => {}
        Ok(_) => return Err(refused("that is no GGUF file".to_owned())),
        Err(error) => return Err(refused(error.to_string())),
    }
    let path = std::path::absolute(text).map_err(|error| refused(error.to_string()))?;
    let path = path.into_os_string().into_string();
    path.map_err(|_| refused("its folder's name is no text".to_owned()))
}

/// The pools, none without `ORACLE`.
pub(super) fn pools(args: &UpArgs) -> Result<Vec<PoolSettings>, ConfigError> {
    let Some(model) = &args.oracle else {
        return Ok(Vec::new());
    };
    let listen = args.oracle_listen;
    if listen.port() == 0 {
        return Err(ConfigError(format!(
            "ORACLE_LISTEN is '{listen}': give a port, by which the scouts can find it"
        )));
    }
    let is_shared = |one: SocketAddr, other: SocketAddr| {
        one.port() == other.port()
            && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
    };
    if is_shared(listen, args.listen) {
        return Err(ConfigError(format!(
            "ORACLE_LISTEN is '{listen}', and LISTEN is '{}': choose another port for one of them",
            args.listen
        )));
    }
    let program = program()?;
    let url = format!("http://{}", reachable(listen));
    let patience = args.stop_seconds.saturating_sub(LAST_WORDS);
    let oracle = vec![
        ("ORACLE_MODEL", model.clone()),
        ("ORACLE_LISTEN", listen.to_string()),
        // The pool that is declared here, whatever an oracle elsewhere has.
        ("ORACLE_SCOUTS", SCOUTS.to_owned()),
        ("ORACLE_STOP_SECONDS", patience.as_secs_f64().to_string()),
    ];
    let mut pools = vec![pool(args, ORACLE, 1, &program, "serve", oracle)];
    if args.scouts > 0 {
        let model = args.scout_model.as_ref().unwrap_or(model).clone();
        let scout = vec![("ORACLE_URL", url), ("ORACLE_MODEL", model)];
        pools.push(pool(args, SCOUTS, args.scouts, &program, "scout", scout));
    }
    for PoolSettings { pool, .. } in &pools {
        if args.pools.contains(pool) {
            return Err(ConfigError(format!(
                "POOLS names '{pool}', which ORACLE brings with it: leave it out of POOLS, or unset ORACLE"
            )));
        }
    }
    Ok(pools)
}

/// The remedy for a variable `POOL_…` that is meant for one of ours.
pub(super) fn stray(args: &UpArgs, rest: &str) -> Option<&'static str> {
    args.oracle.as_ref()?;
    let meant = |pool: &str| rest.starts_with(&format!("{}_", pool.to_ascii_uppercase()));
    match args.scouts {
        0 if meant(SCOUTS) => Some("for scouts elsewhere add scouts to POOLS"),
        _ if meant(ORACLE) || meant(SCOUTS) => {
            Some("ORACLE brings this pool with it, and SCOUTS says how many there are")
        }
        _ => None,
    }
}

fn pool(
    args: &UpArgs,
    name: &str,
    size: u32,
    program: &str,
    command: &str,
    env: Vec<(&'static str, String)>,
) -> PoolSettings {
    let pool: PoolId = name.parse().expect("both names are those of a pool");
    let is_oracle = name == ORACLE;
    PoolSettings {
        pool,
        command: Some(format!("exec {} {command}", quoted(program))),
        size,
        max_seconds: args.max_seconds,
        grace: args.stop_seconds,
        register: Register::Connect,
        restart: RestartRule::Always,
        start: StartTerms {
            env,
            inherit_alone: if is_oracle { OF_THE_ORACLE_ALONE } else { &[] },
            nice: if is_oracle { NICE_ORACLE } else { NICE_SCOUT },
        },
    }
}

/// A word of a shell's command line, in which no name in braces is filled in
/// either.
fn quoted(word: &str) -> String {
    let word = word.replace('\'', r"'\''").replace('{', "{''");
    format!("'{word}'")
}

/// Where the program is: beside our own, else where a shell would find it.
fn program() -> Result<String, ConfigError> {
    let us = std::env::current_exe().ok();
    let beside = us.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = find(beside.into_iter().chain(std::env::split_paths(&path)));
    found.ok_or_else(|| {
        ConfigError(format!(
            "ORACLE is set, and there is no program `{PROGRAM}`: build it (`cargo build --release -p {PROGRAM}`) and put it beside `shardman`, or on the PATH"
        ))
    })
}

fn find(mut folders: impl Iterator<Item = PathBuf>) -> Option<String> {
    folders.find_map(|folder| {
        let file = std::path::absolute(folder.join(PROGRAM)).ok()?;
        let about = file.metadata().ok()?;
        let runs = about.is_file() && about.permissions().mode() & 0o111 != 0;
        runs.then(|| file.into_os_string().into_string().ok())?
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_model_is_a_gguf_file_by_its_whole_path_or_fake() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a model.gguf");
        std::fs::write(&file, b"GGUF\x03\0\0\0").unwrap();
        let path = file.to_str().unwrap();
        assert_eq!(model(path).as_deref(), Ok(path));
        assert_eq!(model("fake").as_deref(), Ok("fake"));
        std::fs::write(&file, "a page that says `not found`").unwrap();
        for (bad, why) in [
            (path, "no GGUF file"),
            (folder.path().to_str().unwrap(), "no GGUF file"),
            ("/nowhere/model.gguf", "No such file"),
        ] {
            let error = model(bad).unwrap_err();
            assert!(error.contains(why) && error.contains("fetch-model.sh"), "{error}");
        }
    }

    /// The shell gives the word back as it was.
    #[test]
    fn a_path_of_any_letters_is_one_word_of_the_command() {
        for path in [
            "/usr/bin/shardman-oracle",
            "/my programs/it's \"here\"/$HOME `x` \\ {a,b}",
            "/{shards}/{{total}}/{worker}/ü",
        ] {
            let word = quoted(path);
            assert!(!crate::manager::names_shards(&word), "{word}");
            let echo = format!("printf %s {word}");
            let out = Command::new("/bin/sh").args(["-c", &echo]).output().unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), path);
        }
    }

    #[test]
    fn the_program_is_the_first_that_can_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str, mode: u32| {
            let place = folder.path().join(name);
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join(PROGRAM), "").unwrap();
            let rights = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(place.join(PROGRAM), rights).unwrap();
            place
        };
        let (text, first, second) = (place("text", 0o644), place("1", 0o755), place("2", 0o755));
        let found = |folders: &[&Path]| find(folders.iter().map(|folder| (*folder).to_owned()));
        let missing = folder.path().join("missing");
        assert_eq!(found(&[&missing, &text]), None);
        let expected = first.join(PROGRAM).to_str().unwrap().to_owned();
        assert_eq!(found(&[&missing, &text, &first, &second]), Some(expected));
    }
}
