use axum::http::HeaderValue;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use shardman_lease::tls;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use super::*;

#[test]
fn scouts_connect_beside_the_other_endpoints() {
    let at = |url: &str| endpoint(&url.parse().unwrap());
    assert_eq!(at("http://127.0.0.1:8000"), "ws://127.0.0.1:8000/v1/scouts/draft");
    assert_eq!(
        at("https://oracle.example/base/"),
        "wss://oracle.example/base/v1/scouts/draft"
    );
}

/// A proxy with TLS before an oracle, and a client that trusts it. Ends with
/// what it was asked for, once it was.
#[expect(clippy::result_large_err, reason = "the library's signature")]
async fn proxy() -> (Uri, ClientConfig, JoinHandle<Option<(String, HeaderValue)>>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let trusting = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let socket = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.ok()?;
        let mut asked = None;
        let note = |request: &Request, response: Response| {
            asked = Some((
                request.uri().path().to_owned(),
                request.headers()[AUTHORIZATION].clone(),
            ));
            Ok(response)
        };
        accept_hdr_async(socket, note).await.unwrap();
        asked
    });
    let url = format!("https://localhost:{port}/base").parse().unwrap();
    (url, trusting, asked)
}

fn oracle(url: Uri, tls: ClientConfig) -> Oracle {
    Oracle {
        url,
        secret: HeaderValue::from_static("Bearer hunter2"),
        tls: Arc::new(tls),
    }
}

#[tokio::test]
async fn an_oracle_behind_tls_is_reached() {
    let (url, trusting, asked) = proxy().await;
    dial(&oracle(url, trusting)).await.unwrap();
    let (path, secret) = asked.await.unwrap().unwrap();
    assert_eq!(path, "/base/v1/scouts/draft");
    assert_eq!(secret, "Bearer hunter2");
}

#[tokio::test]
async fn whoever_has_no_certificate_to_trust_learns_no_secret() {
    let (url, _, asked) = proxy().await;
    let refused = dial(&oracle(url, tls().unwrap())).await.err().unwrap();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    assert_eq!(asked.await.unwrap(), None);
}
