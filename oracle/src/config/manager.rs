//! How the manager is reached, and what it said when it started this process.

use axum::http::{HeaderValue, Uri};
use clap::Args;
use shardman_core::PoolId;
use shardman_lease::{Manager, Secret, server_url};

use super::ConfigError;

/// Where the manager is to be found that is not named.
const USUAL_URL: &str = "http://127.0.0.1:7878";

/// The manager that leases the slots of the oracle and of its scouts. A child of
/// a manager is told all of it.
#[derive(Args, Clone, Debug)]
pub struct ManagerArgs {
    /// Where the manager is; unset for an oracle without scouts. A scout looks at http://127.0.0.1:7878 then.
    #[arg(long, env = "SHARDMAN_URL", value_name = "URL", value_parser = server_url)]
    pub shardman_url: Option<Uri>,

    /// The pool of which this process holds a slot; set by the manager.
    #[arg(long, env = "SHARDMAN_POOL", value_name = "POOL")]
    pub shardman_pool: Option<PoolId>,

    /// The name under which the manager started this process; set by the manager.
    #[arg(long, env = "SHARDMAN_WORKER_ID", value_name = "ID")]
    pub shardman_worker_id: Option<String>,

    /// From `SECRET`, or `SECRET_KEY`.
    #[arg(skip)]
    pub secret: Secret,
}

impl ManagerArgs {
    pub(super) fn read_secret(&mut self) {
        self.secret = Secret::from_env(&["SECRET", "SECRET_KEY"]);
    }

    pub fn is_child(&self) -> bool {
        self.shardman_worker_id.is_some()
    }

    /// A client of it, or of the one at the usual place.
    ///
    /// # Errors
    ///
    /// If there is no secret for it.
    pub fn client(&self) -> Result<Manager, ConfigError> {
        let usual = || Uri::from_static(USUAL_URL);
        let url = self.shardman_url.clone().unwrap_or_else(usual);
        self.header()?;
        Manager::new(&url, &self.secret).ok_or_else(|| unusable("it cannot be sent in a header"))
    }

    /// The secret as the manager takes it.
    ///
    /// # Errors
    ///
    /// If there is none, or it fits no header.
    pub fn header(&self) -> Result<HeaderValue, ConfigError> {
        if self.secret.is_empty() {
            return Err(ConfigError(
                "SECRET is not set: set it to the manager's SECRET".to_owned(),
            ));
        }
        let header = HeaderValue::from_str(self.secret.reveal());
        let mut header = header
            .ok()
            .filter(|_| self.secret.is_header_safe())
            .ok_or_else(|| unusable("it has characters that no header can carry"))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

fn unusable(why: &str) -> ConfigError {
    ConfigError(format!(
        "SECRET is not usable: {why}; use printable ASCII characters"
    ))
}
