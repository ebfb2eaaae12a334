//! A scout of the test's own: it holds a true lease and says what the test
//! wants.

use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use futures_util::{SinkExt as _, StreamExt as _};
use shardman_core::wire::Connected;
use shardman_lease::{Ask, Manager};
use shardman_oracle::draft::frame::{Closing, FromOracle, FromScout};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub struct Rogue {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What came of something said.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Frame(FromOracle),
    Closed(Option<Closing>),
    Nothing,
}

/// A slot of the scouts' pool.
pub async fn lease(manager: &Manager) -> Connected {
    let ask = Ask::Slot("scouts".parse().unwrap());
    let key = format!("{:032x}", fastrand::u128(..));
    manager.connect(&ask, &key).await.unwrap()
}

pub fn hello(lease: &Connected) -> FromScout {
    FromScout::Hello {
        slot: lease.shard_id,
        session_id: lease.session_id.clone(),
        epoch: lease.epoch.unwrap().0,
        vocabulary_hash: "fake".to_owned(),
    }
}

impl Rogue {
    /// The refusal's status and text, if there is one.
    pub async fn dial(oracle: &str, secret: Option<&str>) -> Result<Self, (u16, String)> {
        let url = format!("{}/v1/scouts/draft", oracle.replacen("http", "ws", 1));
        let mut request = url.into_client_request().unwrap();
        if let Some(secret) = secret {
            let secret = HeaderValue::from_str(secret).unwrap();
            request.headers_mut().insert(AUTHORIZATION, secret);
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                let body = String::from_utf8(body).unwrap();
                Err((response.status().as_u16(), body))
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn say(&mut self, frame: &FromScout) {
        self.say_text(serde_json::to_string(frame).unwrap()).await;
    }

    /// What does not reach an oracle that has closed is seen by [`Self::hear`].
    pub async fn say_text(&mut self, text: String) {
        let _ = self.socket.send(Message::Text(text.into())).await;
    }

    /// The next thing that comes, within so many seconds.
    pub async fn hear(&mut self, seconds: f64) -> Heard {
        let time = Duration::from_secs_f64(seconds);
        loop {
            match tokio::time::timeout(time, self.socket.next()).await {
                Err(_) => return Heard::Nothing,
                Ok(Some(Ok(Message::Text(text)))) => {
                    return Heard::Frame(serde_json::from_str(&text).unwrap());
                }
                Ok(Some(Ok(Message::Close(frame)))) => {
                    let code = frame.map(|frame| u16::from(frame.code));
                    return Heard::Closed(code.and_then(Closing::of_code));
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) => return Heard::Closed(None),
            }
        }
    }

    /// Passes over frames until the connection is closed.
    pub async fn hear_end(&mut self, seconds: f64) -> Heard {
        loop {
            match self.hear(seconds).await {
                Heard::Frame(_) => {}
                heard @ (Heard::Closed(_) | Heard::Nothing) => return heard,
            }
        }
    }
}
