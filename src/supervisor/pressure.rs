//! How starved this host is.

use std::fs;

use shardman_core::brake::HostSigns;

/// What the kernel says now.
pub(crate) fn read() -> HostSigns {
    let pressure = |resource| some_avg10(&fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?);
    let (cpu, memory, io) = (pressure("cpu"), pressure("memory"), pressure("io"));
    let unknown = cpu.is_none() && memory.is_none() && io.is_none();
    HostSigns {
        cpu,
        memory,
        io,
        load: if unknown { load() } else { None },
    }
}

/// The part of the last ten seconds in which some task stood still for want of
/// the resource, in percent (Linux, "PSI - Pressure Stall Information").
fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let number = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("avg10="));
    number?.parse().ok()
}

/// The load average of the last minute for each core (proc_loadavg(5)).
fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let load: f64 = text.split_whitespace().next()?.parse().ok()?;
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    Some(load / cores as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ten_seconds_of_some_count() {
        let text = "some avg10=93.36 avg60=12.33 avg300=5.00 total=1\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(some_avg10(text), Some(93.36));
        assert_eq!(some_avg10(""), None);
        assert_eq!(some_avg10("some avg10=much\n"), None);
    }

    #[test]
    fn this_host_tells_its_pressure_or_its_load() {
        let signs = read();
        assert!(
            signs.cpu.or(signs.load).is_some_and(|number| number >= 0.0),
            "{signs:?}"
        );
    }
}
