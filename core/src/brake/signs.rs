//! What speaks for a common cause, as plain numbers.

use std::time::Duration;

/// Time of the last ten seconds in which somebody waited for the resource, in
/// percent, from which on the host counts as starved. Waiting for a core is
/// common on a busy host, waiting for memory is not.
const CPU_PERCENT: f64 = 75.0;
const MEMORY_PERCENT: f64 = 20.0;
const IO_PERCENT: f64 = 75.0;

/// Tasks for each core that run or wait to, from which on it does.
const LOAD: f64 = 3.0;

/// The part of the leased shards that is disconnected, in percent, from which
/// on it is Discord.
const DISCONNECTED_PERCENT: u32 = 50;

pub(super) const NO_CAUSE: &str = "no common cause is known";

/// How the host is. `None` where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostSigns {
    /// `some avg10` of /proc/pressure, in percent.
    pub cpu: Option<f64>,
    pub memory: Option<f64>,
    pub io: Option<f64>,
    /// The load average of a minute for each core, where nothing is known of
    /// pressure.
    pub load: Option<f64>,
}

impl HostSigns {
    /// What the host lacks, in words.
    pub fn starved(&self) -> Option<String> {
        let pressures = [
            ("memory", self.memory, MEMORY_PERCENT),
            ("cpu", self.cpu, CPU_PERCENT),
            ("io", self.io, IO_PERCENT),
        ];
        let high = pressures
            .into_iter()
            .filter_map(|(name, value, limit)| Some((name, value.filter(|value| *value >= limit)?)));
        let mut words: Vec<_> = high
            .map(|(name, value)| format!("{name} pressure {value:.0} %"))
            .collect();
        let load = self.load.filter(|load| *load >= LOAD);
        words.extend(load.map(|load| format!("{load:.1} tasks for each core")));
        (!words.is_empty()).then(|| format!("the host is starved ({})", words.join(", ")))
    }
}

/// What may be the cause.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Signs {
    pub host: HostSigns,
    /// Leased shards, and those of them whose gateway connection is gone.
    pub leased: u32,
    pub disconnected: u32,
    /// Discord's REST API cannot be asked.
    pub discord_away: bool,
}

impl Signs {
    /// The likeliest cause, in words.
    pub(super) fn cause(&self, stalled: Duration) -> Option<String> {
        let stalled = (stalled > Duration::ZERO).then(|| {
            format!(
                "the manager itself was held up for {:.1} s",
                stalled.as_secs_f64()
            )
        });
        let many =
            u64::from(self.disconnected) * 100 >= u64::from(self.leased) * u64::from(DISCONNECTED_PERCENT);
        let cut_off = (self.disconnected > 0 && many).then(|| {
            format!(
                "Discord keeps no connection ({} of {} shards are disconnected)",
                self.disconnected, self.leased
            )
        });
        let away = || self.discord_away.then(|| "Discord cannot be asked".to_owned());
        self.host.starved().or(stalled).or(cut_off).or_else(away)
    }
}
