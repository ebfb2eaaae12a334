//! Whom workers trust over TLS.

use hyper_rustls::ConfigBuilderExt as _;
use rustls::ClientConfig;
use rustls::crypto::ring;

/// A client that trusts what browsers trust (Mozilla's list).
///
/// # Errors
///
/// Never, as the library is built: its provider has what its versions need.
pub fn tls() -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(ring::default_provider().into());
    Ok(builder
        .with_safe_default_protocol_versions()?
        .with_webpki_roots()
        .with_no_client_auth())
}
