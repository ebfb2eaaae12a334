//! A gateway that keeps to a script.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::Seen;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// READY and RESUMED as asked for, then silence.
    Serve,
    /// Drops the TCP connection when the handshake is done.
    DropAfterUpgrade,
    CloseAfterHello,
    CloseAfterIdentify,
    CloseAfterReady,
    /// Op 7 after READY.
    ReconnectAfterReady,
    /// Op 9, not resumable, to every IDENTIFY and RESUME.
    InvalidSession,
    /// Closes with this code on IDENTIFY.
    Refuse(u16),
}

type Socket = WebSocketStream<TcpStream>;

pub(super) async fn start(script: Script, log: UnboundedSender<Seen>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let resume_url = url.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, script, resume_url.clone(), log.clone()));
        }
    });
    url
}

async fn serve(stream: TcpStream, script: Script, resume_url: String, log: UnboundedSender<Seen>) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    let _ = log.send(Seen::Opened);
    if script == Script::DropAfterUpgrade {
        return;
    }
    say(
        &mut socket,
        10,
        Value::Null,
        Value::Null,
        json!({"heartbeat_interval": 41_250}),
    )
    .await;
    if script == Script::CloseAfterHello {
        return close(&mut socket, 4000).await;
    }
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => {
                let payload: Value = serde_json::from_str(&text).unwrap();
                let op = payload["op"].as_u64().unwrap();
                let _ = log.send(Seen::Payload(op, payload["d"].clone()));
                if !answer(&mut socket, op, script, &resume_url).await {
                    return;
                }
            }
            Message::Close(frame) => {
                let _ = log.send(Seen::Closed(frame.map(|frame| frame.code.into())));
                return;
            }
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    let _ = log.send(Seen::Closed(None));
}

/// Answers one payload; false when the connection is over.
async fn answer(socket: &mut Socket, op: u64, script: Script, resume_url: &str) -> bool {
    match (op, script) {
        (1, _) => say(socket, 11, Value::Null, Value::Null, Value::Null).await,
        (2 | 6, Script::InvalidSession) => say(socket, 9, Value::Null, Value::Null, json!(false)).await,
        (2, Script::CloseAfterIdentify) => {
            close(socket, 4000).await;
            return false;
        }
        (2, Script::Refuse(code)) => {
            close(socket, code).await;
            return false;
        }
        (2, _) => {
            let ready = json!({
                "v": 10, "user": {"id": "1"}, "session_id": "fresh", "resume_gateway_url": resume_url,
                "guilds": [{"id": "10", "unavailable": true}, {"id": "11", "unavailable": true}],
            });
            say(socket, 0, json!("READY"), json!(1), ready).await;
        }
        (6, _) => say(socket, 0, json!("RESUMED"), json!(43), json!({})).await,
        _ => {}
    }
    match (op, script) {
        (2 | 6, Script::CloseAfterReady) => {
            close(socket, 4000).await;
            false
        }
        (2 | 6, Script::ReconnectAfterReady) => {
            say(socket, 7, Value::Null, Value::Null, Value::Null).await;
            true
        }
        _ => true,
    }
}

async fn say(socket: &mut Socket, op: u8, kind: Value, sequence: Value, data: Value) {
    // Discord's own key order, which readers may rely on.
    let text = format!(r#"{{"t":{kind},"s":{sequence},"op":{op},"d":{data}}}"#);
    let _ = socket.send(Message::text(text)).await;
}

async fn close(socket: &mut Socket, code: u16) {
    let _ = socket
        .close(Some(CloseFrame {
            code: code.into(),
            reason: "".into(),
        }))
        .await;
    while let Some(Ok(_)) = socket.next().await {}
}
