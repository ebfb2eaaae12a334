//! A gateway client that knows only what a test has to see.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::io::Write as _;
use std::time::Duration;

use flate2::write::ZlibDecoder;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use shardman_sim::{Sim, SimConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use zstd::stream::write::Decoder as ZstdDecoder;

/// Longer than anything here takes, even on a starved host.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn start(config: SimConfig) -> Sim {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (sim, serving) = shardman_sim::start(listener, config, std::future::pending()).unwrap();
    tokio::spawn(serving);
    sim
}

/// The body of `GET /gateway/bot`.
pub(crate) async fn gateway_bot(sim: &Sim) -> Value {
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    let request =
        "GET /api/v10/gateway/bot HTTP/1.1\r\nHost: sim\r\nAuthorization: Bot x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

pub(crate) enum Inflate {
    None,
    Zlib(ZlibDecoder<Vec<u8>>),
    Zstd(ZstdDecoder<'static, Vec<u8>>),
}

impl Inflate {
    pub(crate) fn none() -> Self {
        Self::None
    }

    pub(crate) fn zlib() -> Self {
        Self::Zlib(ZlibDecoder::new(Vec::new()))
    }

    pub(crate) fn zstd() -> Self {
        Self::Zstd(ZstdDecoder::new(Vec::new()).unwrap())
    }

    fn query(&self) -> &'static str {
        match self {
            Self::None => "",
            Self::Zlib(_) => "&compress=zlib-stream",
            Self::Zstd(_) => "&compress=zstd-stream",
        }
    }

    fn decode(&mut self, message: &Message) -> Vec<u8> {
        let data = message.clone().into_data();
        match self {
            Self::None => {
                assert!(message.is_text());
                data.to_vec()
            }
            Self::Zlib(decoder) => {
                assert!(data.ends_with(&[0, 0, 0xff, 0xff]));
                decoder.write_all(&data).unwrap();
                decoder.flush().unwrap();
                std::mem::take(decoder.get_mut())
            }
            Self::Zstd(decoder) => {
                decoder.write_all(&data).unwrap();
                decoder.flush().unwrap();
                std::mem::take(decoder.get_mut())
            }
        }
    }
}

pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    inflate: Inflate,
}

impl Client {
    /// Connects and takes HELLO.
    pub(crate) async fn connect(sim: &Sim, path: &str, inflate: Inflate) -> Self {
        let query = format!("{path}?v=10&encoding=json{}", inflate.query());
        let mut client = Self::open(sim, &query, inflate).await;
        assert_eq!(client.next().await["op"], 10);
        client
    }

    /// Connects with a query of its own, and reads nothing yet.
    pub(crate) async fn open(sim: &Sim, path_and_query: &str, inflate: Inflate) -> Self {
        let url = format!("ws://{}/{path_and_query}", sim.addr());
        let (socket, _) = connect_async(url).await.unwrap();
        Self { socket, inflate }
    }

    pub(crate) async fn send(&mut self, payload: Value) {
        self.socket
            .send(Message::text(payload.to_string()))
            .await
            .unwrap();
    }

    pub(crate) async fn identify(&mut self, number: u32, total: u32) {
        let body = json!({"token": "x", "intents": 513, "properties": {}, "shard": [number, total]});
        self.send(json!({"op": 2, "d": body})).await;
    }

    /// The next payload; `None` when the connection is gone.
    pub(crate) async fn try_next(&mut self) -> Option<Value> {
        let message = timeout(PATIENCE, self.socket.next()).await.unwrap()?.ok()?;
        assert!(!message.is_close(), "closed: {message}");
        let text = self.inflate.decode(&message);
        assert!(text.starts_with(b"{\"t\":"), "t, s and op come before d");
        Some(serde_json::from_slice(&text).unwrap())
    }

    pub(crate) async fn next(&mut self) -> Value {
        self.try_next().await.unwrap()
    }

    /// The next payload, which has to be this dispatch.
    pub(crate) async fn dispatch(&mut self, name: &str) -> Value {
        let message = self.next().await;
        assert_eq!(message["t"], name);
        message
    }

    /// Reads until this dispatch has come.
    pub(crate) async fn until(&mut self, name: &str) {
        while self.next().await["t"] != name {}
    }

    pub(crate) async fn until_sequence(&mut self, sequence: u64) -> u64 {
        while self.next().await["s"].as_u64() != Some(sequence) {}
        sequence
    }

    /// Reads until the close frame.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.unwrap() {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}
