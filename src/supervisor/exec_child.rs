//! What a child is before it is its program: `shardman exec-child`, a fresh
//! process with one thread, puts itself in order and becomes the program. The
//! pid and the start time stay.
//!
//! The other way is a closure between fork and exec. It would have to be
//! written without a single allocation, and would make every start copy the
//! manager's page tables instead of sharing them for the moment.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, umask};

/// The argument that asks for it. Not a command for people.
const NAME: &str = "exec-child";

/// Our own program, also after another file was put in its place.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Exit codes as a shell has them (POSIX, 2.8.2).
const EXIT_NOT_FOUND: u8 = 127;
const EXIT_NOT_EXECUTABLE: u8 = 126;

/// Exit code for a system that refuses (`EX_OSERR`, sysexits.h).
const EXIT_REFUSED: u8 = 71;

/// What children create is never writable for others.
const NOT_FOR_OTHERS: Mode = Mode::from_raw_mode(0o022);

/// In thousandths of the host's memory, which is added to what such a process
/// takes when the kernel looks for one to kill.
const GOES_FIRST: i32 = 500;

/// How often, and how long apart, a busy autogroup is asked again (sched(7)).
const AUTOGROUP_TRIES: u32 = 5;
const AUTOGROUP_REST: Duration = Duration::from_millis(110);

/// What holds for the child from its first instruction on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// The control group to join.
    pub(super) cgroup: Option<PathBuf>,
    /// The most memory that each of its processes may write to.
    pub(super) data_bytes: Option<u64>,
    pub(super) open_files: Option<u64>,
    /// How far it stands back for others, as nice(1) counts: 0 for not at all.
    pub(super) nice: u8,
}

/// A command that becomes `program` under these conditions.
pub(super) fn command(conditions: &Conditions, program: &Path) -> Command {
    let mut command = Command::new(OWN_PROGRAM);
    command.arg0("shardman").arg(NAME);
    if let Some(cgroup) = &conditions.cgroup {
        command.arg("--cgroup").arg(cgroup);
    }
    if let Some(bytes) = conditions.data_bytes {
        command.args(["--data", &bytes.to_string()]);
    }
    if let Some(files) = conditions.open_files {
        command.args(["--open-files", &files.to_string()]);
    }
    if conditions.nice > 0 {
        command.args(["--nice", &conditions.nice.to_string()]);
    }
    command.arg("--").arg(program);
    command
}

/// Becomes the program that `args` name, if they ask for that. Whoever starts
/// children calls this before anything else in `main`. Returns on failure, and
/// for any other command line.
#[expect(clippy::print_stderr, reason = "this is the child's own log")]
pub fn exec_child(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    if args.next()? != NAME {
        return None;
    }
    let (error, code) = match parse(args) {
        Some((conditions, program, args)) => become_program(&conditions, &program, args),
        None => (
            io::Error::other("exec-child is not a command for people"),
            EXIT_REFUSED,
        ),
    };
    eprintln!("shardman: the worker cannot be started: {error}");
    Some(ExitCode::from(code))
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Option<(Conditions, OsString, Vec<OsString>)> {
    let mut conditions = Conditions::default();
    loop {
        let name = args.next()?;
        let mut number = || args.next()?.to_str()?.parse().ok();
        match name.to_str()? {
            "--data" => conditions.data_bytes = Some(number()?),
            "--open-files" => conditions.open_files = Some(number()?),
            "--nice" => conditions.nice = args.next()?.to_str()?.parse().ok()?,
            "--cgroup" => conditions.cgroup = Some(args.next()?.into()),
            "--" => return Some((conditions, args.next()?, args.collect())),
            _ => return None,
        }
    }
}

fn become_program(conditions: &Conditions, program: &OsStr, args: Vec<OsString>) -> (io::Error, u8) {
    if let Err(error) = prepare(conditions) {
        return (error, EXIT_REFUSED);
    }
    // This also unblocks every signal, and gives SIGPIPE its default action.
    let error = Command::new(program).args(args).exec();
    let code = if error.kind() == io::ErrorKind::NotFound {
        EXIT_NOT_FOUND
    } else {
        EXIT_NOT_EXECUTABLE
    };
    let text = format!("{}: {error}", program.to_string_lossy());
    (io::Error::other(text), code)
}

fn prepare(conditions: &Conditions) -> io::Result<()> {
    // Leader of a session and of a group, without a terminal.
    rustix::process::setsid()?;
    if conditions.nice > 0 {
        stand_back(conditions.nice);
    }
    if let Some(cgroup) = &conditions.cgroup {
        fs::write(cgroup.join("cgroup.procs"), "0")
            .map_err(|error| io::Error::other(format!("{} cannot be joined: {error}", cgroup.display())))?;
    }
    close_on_exec()?;
    notice_signals()?;
    // Never more open than we were told to be ourselves.
    let ours = umask(NOT_FOR_OTHERS);
    umask(ours | NOT_FOR_OTHERS);
    if let Some(bytes) = conditions.data_bytes {
        limit(Resource::Data, bytes)?;
    }
    if let Some(files) = conditions.open_files {
        limit(Resource::Nofile, files)?;
    }
    Ok(())
}

/// Gives way to what is not told to: for a core, and when memory runs out. Who
/// gives way already, because the manager does, is left as it is; a host that
/// does not let us is no reason not to run.
fn stand_back(nice: u8) {
    let nice = i32::from(nice);
    let ours = rustix::process::getpriority_process(None).unwrap_or(0);
    if ours < nice {
        let _ = rustix::process::setpriority_process(None, nice);
    }
    // Where the kernel groups processes by session, a process's own value counts
    // within its session alone, which is new here (sched(7), "The autogroup
    // feature"). Another kernel has no such file, or does not group. Of all
    // processes one may write it in a tenth of a second.
    let value = ours.max(nice).to_string();
    for _ in 0..AUTOGROUP_TRIES {
        match fs::write("/proc/self/autogroup", &value) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(AUTOGROUP_REST),
            Ok(()) | Err(_) => break,
        }
    }
    // Anybody may raise it (proc_pid_oom_score_adj(5)).
    let score = fs::read_to_string("/proc/self/oom_score_adj");
    let score: i32 = score
        .ok()
        .and_then(|score| score.trim().parse().ok())
        .unwrap_or(0);
    if score < GOES_FIRST {
        let _ = fs::write("/proc/self/oom_score_adj", GOES_FIRST.to_string());
    }
}

/// Lowers a limit; what the host allows at most is not exceeded.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let host = rustix::process::getrlimit(resource).maximum;
    let most = Some(host.map_or(most, |host| host.min(most)));
    let lowered = Rlimit {
        current: most,
        maximum: most,
    };
    Ok(setrlimit(resource, lowered)?)
}

/// Whatever we were started with, a child gets descriptors 0, 1 and 2 alone.
fn close_on_exec() -> io::Result<()> {
    #[expect(unsafe_code, reason = "no library wraps close_range(2)")]
    // SAFETY: it only sets flags. No descriptor is closed in this process.
    let done = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Signals that somebody before us ignored, such as `nohup`, have their default
/// action again.
fn notice_signals() -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    for signal in (1..=64).filter(|signal| ignored.unwrap_or(0) >> (signal - 1) & 1 == 1) {
        #[expect(unsafe_code, reason = "no library wraps it without a handler")]
        // SAFETY: the default action runs no code of ours.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_says_it_all() {
        let conditions = Conditions {
            cgroup: Some("/sys/fs/cgroup/a b".into()),
            data_bytes: Some(7),
            open_files: Some(9),
            nice: 10,
        };
        for conditions in [conditions, Conditions::default()] {
            let mut command = command(&conditions, Path::new("/bin/sh"));
            command.args(["-c", "--", "--data"]);
            let args: Vec<_> = command.get_args().map(OsStr::to_owned).collect();
            assert_eq!(args[0], NAME);
            let (parsed, program, rest) = parse(args.into_iter().skip(1)).unwrap();
            assert_eq!((parsed, program), (conditions, "/bin/sh".into()));
            assert_eq!(rest, ["-c", "--", "--data"]);
        }
    }

    #[test]
    fn other_command_lines_are_left_alone() {
        for line in [&["shardman"][..], &["shardman", "up"], &["shardman", "--", NAME]] {
            assert!(exec_child(line.iter().map(OsString::from)).is_none());
        }
    }
}
