//! Values of settings, each with the remedy if it is none.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

pub(super) use shardman_core::setting::count;
use shardman_core::setting::{self, seconds};
use shardman_serve::parse_origins;

use super::serve::Origins;

/// Which model is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// The deterministic one without weights, for tests and rehearsals: each
    /// pass takes so long.
    Fake(Duration),
    File(PathBuf),
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let resolved = text
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next());
    resolved.ok_or_else(|| "give an address and a port, such as 127.0.0.1:8000 or 0.0.0.0:8000".to_owned())
}

pub(super) fn model(text: &str) -> Result<ModelSource, String> {
    if text == "fake" {
        return Ok(ModelSource::Fake(Duration::ZERO));
    }
    if let Some(time) = text.strip_prefix("fake:") {
        let milliseconds = time.strip_suffix("ms").and_then(|time| time.parse().ok());
        let time = milliseconds.filter(|time| (0..=10_000).contains(time));
        let time = time.ok_or("give the time of its passes as in fake:20ms")?;
        return Ok(ModelSource::Fake(Duration::from_millis(time)));
    }
    let path = PathBuf::from(text);
    if path.is_file() {
        return Ok(ModelSource::File(path));
    }
    Err("there is no such file; give the path of a GGUF file, or the word fake".to_owned())
}

pub(super) fn origins(text: &str) -> Result<Origins, String> {
    parse_origins(text)
        .map(Origins)
        .map_err(|error| error.to_string())
}

pub(super) fn queue_seconds(text: &str) -> Result<Duration, String> {
    seconds(text, 0.1, 3_600.0, "60")
}

pub(super) fn stop_seconds(text: &str) -> Result<Duration, String> {
    seconds(text, 0.0, 3_600.0, "10")
}

/// Less than 1 MiB, with which no model can work, is taken for a slip of the pen.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let bytes = setting::bytes(text, 1)?;
    usize::try_from(bytes).map_err(|_| "give what this machine can address, such as 512M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_made_up_model_may_take_its_time() {
        assert_eq!(model("fake"), Ok(ModelSource::Fake(Duration::ZERO)));
        assert_eq!(
            model("fake:20ms"),
            Ok(ModelSource::Fake(Duration::from_millis(20)))
        );
        for bad in ["fake:", "fake:20", "fake:-1ms", "fake:20s", "fake:99999ms"] {
            assert!(model(bad).unwrap_err().contains("fake:20ms"), "{bad}");
        }
    }
}
