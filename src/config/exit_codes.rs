//! The ends of every command, as its `--help` and `docs/CLI.md` tell them.

pub(super) const UP: &str = "\
Exit codes:
  0   it was asked to stop (SIGINT, SIGTERM, `shardman stop`), and the fleet is stopped;
      or it was asked to leave (SIGUSR2), and the fleet runs on
  1   something failed while it ran
  2   the command line is not understood
  78  a setting is missing or wrong, or Discord refuses the token";

pub(super) const WORKER: &str = "\
Exit codes:
  0   it was asked to stop; every session is left resumable
  2   the command line is not understood
  69  started by a manager, it reached none for MAX_SECONDS
  74  its sink is gone
  77  the manager refuses the secret
  78  a setting is missing or wrong, or Discord refuses the token or the intents";

pub(super) const SIM: &str = "\
Exit codes:
  0   it was asked to stop
  1   something failed while it ran
  2   the command line is not understood
  78  a setting is missing or wrong
  130 a second signal came";

pub(super) const STATUS: &str = "\
Exit codes:
  0   every shard is ready, and every pool has what it should have
  1   no manager answers, or it refuses
  2   the command line is not understood
  3   the manager runs, and the fleet is not whole
  78  a setting is missing or wrong";

/// Of commands that ask the manager for something.
pub(super) const ASK: &str = "\
Exit codes:
  0   done
  1   no manager answers, or it refuses
  2   the command line is not understood
  78  a setting is missing or wrong";

pub(super) const PLAN: &str = "\
Exit codes:
  0   nothing speaks against this number of shards; or, without one, what runs is shown
  1   something speaks against it, or no manager answers
  2   the command line is not understood
  78  a setting is missing or wrong";

pub(super) const RESCALE: &str = "\
Exit codes:
  0   so many shards run (or it has begun, with --no-wait)
  1   refused, no manager answers, or somebody else asked for another number
  2   the command line is not understood
  78  a setting is missing or wrong";

pub(super) const RESTART: &str = "\
Exit codes:
  0   done (or begun, with --no-wait)
  1   refused or cancelled, or no manager answers
  2   no worker is named, or the command line is not understood
  3   paused: a restarted worker failed, or an operator holds it
  78  a setting is missing or wrong";

pub(super) const STOP: &str = "\
Exit codes:
  0   what was to stop has stopped (or was asked to, with --no-wait)
  1   no manager answers, it refuses, or something still runs
  2   the command line is not understood
  78  a setting is missing or wrong";

pub(super) const CHECK: &str = "\
Exit codes:
  0   the settings can be used, and Discord takes the token
  1   Discord cannot be asked
  2   the command line is not understood
  78  a setting is missing or wrong, or Discord refuses the token";

/// Of commands that print something they know by themselves.
pub(super) const PRINT: &str = "\
Exit codes:
  0   done
  1   nothing can be written
  2   the command line is not understood";
