//! Questions to an oracle, over plain sockets.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// No answer of a test takes longer.
const TIME: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub text: String,
    pub temperature: f32,
    pub seed: u64,
    pub penalty: f32,
    pub tokens: u32,
}

impl Ask {
    /// An answer of exactly so many tokens.
    pub fn new(text: &str, temperature: f32, seed: u64, tokens: u32) -> Self {
        Self {
            text: format!("{text} !long!"),
            temperature,
            seed,
            penalty: 0.0,
            tokens,
        }
    }

    fn body(&self, stream: bool) -> Value {
        json!({
            "model": "shard-hybrid",
            "messages": [{"role": "user", "content": self.text}],
            "temperature": self.temperature,
            "seed": self.seed,
            "frequency_penalty": self.penalty,
            "max_tokens": self.tokens,
            "stream": stream,
        })
    }
}

/// A request, and the rest of the connection once the head of a 200 is read.
fn open(
    oracle: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> Result<(u16, BufReader<TcpStream>), String> {
    let text = |error: std::io::Error| format!("{method} {path}: {error}");
    let mut socket = TcpStream::connect(oracle).map_err(text)?;
    socket.set_read_timeout(Some(TIME)).map_err(text)?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: oracle\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).map_err(text)?;
    socket.write_all(body.as_bytes()).map_err(text)?;
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    reader.read_line(&mut line).map_err(text)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("{method} {path}: no answer, but {line:?}"))?;
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line).map_err(text)?;
    }
    Ok((status, reader))
}

/// The body of a 200.
pub fn get(oracle: SocketAddr, path: &str) -> Result<String, String> {
    let (status, mut reader) = open(oracle, "GET", path, "")?;
    let mut body = String::new();
    reader
        .read_to_string(&mut body)
        .map_err(|error| error.to_string())?;
    match status {
        200 => Ok(body),
        status => Err(format!("GET {path}: {status} {body}")),
    }
}

/// A whole answer: its text, why it ended, and its tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub text: String,
    pub finish: String,
    pub tokens: u64,
}

pub fn ask(oracle: SocketAddr, ask: &Ask) -> Result<Answer, String> {
    let body = ask.body(false).to_string();
    let (status, mut reader) = open(oracle, "POST", "/v1/chat/completions", &body)?;
    let mut body = String::new();
    reader
        .read_to_string(&mut body)
        .map_err(|error| error.to_string())?;
    if status != 200 {
        return Err(format!("{status} {body}"));
    }
    let value: Value = serde_json::from_str(body.trim()).map_err(|error| format!("{error}: {body}"))?;
    let choice = &value["choices"][0];
    Ok(Answer {
        text: choice["message"]["content"]
            .as_str()
            .ok_or("no content")?
            .to_owned(),
        finish: choice["finish_reason"].as_str().ok_or("no reason")?.to_owned(),
        tokens: value["usage"]["completion_tokens"].as_u64().ok_or("no tokens")?,
    })
}

/// An answer as it came.
#[derive(Debug)]
pub struct Stream {
    pub text: String,
    pub finish: String,
    /// Between two pieces of text.
    pub gaps: Vec<Duration>,
}

/// `each` is called after every piece of text, with their number so far.
pub fn stream(oracle: SocketAddr, ask: &Ask, mut each: impl FnMut(usize)) -> Result<Stream, String> {
    let body = ask.body(true).to_string();
    let (status, mut reader) = open(oracle, "POST", "/v1/chat/completions", &body)?;
    if status != 200 {
        return Err(format!("{status}"));
    }
    let mut stream = Stream {
        text: String::new(),
        finish: String::new(),
        gaps: Vec::new(),
    };
    let (mut last, mut pieces, mut line) = (None, 0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).map_err(|error| error.to_string())? == 0 {
            return Err(format!("it broke off after {:?}", stream.text));
        }
        // What is between is the framing of chunks.
        let Some(data) = line.trim().strip_prefix("data: ") else {
            continue;
        };
        if data == "[DONE]" {
            return Ok(stream);
        }
        let value: Value = serde_json::from_str(data).map_err(|error| format!("{error}: {data}"))?;
        if !value["error"].is_null() {
            return Err(data.to_owned());
        }
        let choice = &value["choices"][0];
        if let Some(finish) = choice["finish_reason"].as_str() {
            finish.clone_into(&mut stream.finish);
        }
        let Some(text) = choice["delta"]["content"]
            .as_str()
            .filter(|text| !text.is_empty())
        else {
            continue;
        };
        stream.text.push_str(text);
        let now = Instant::now();
        if let Some(last) = last.replace(now) {
            stream.gaps.push(now - last);
        }
        pieces += 1;
        each(pieces);
    }
}

/// The sum of a metric over its labels.
pub fn metric(oracle: SocketAddr, name: &str) -> f64 {
    let text = get(oracle, "/metrics").unwrap();
    let lines = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Peers as the API tells them: name, and whether it is connected.
pub fn peers(oracle: SocketAddr) -> Vec<(String, bool)> {
    let text = get(oracle, "/v1/system/peers").unwrap();
    let text = &text[text.find('{').unwrap()..=text.rfind('}').unwrap()];
    let value: Value = serde_json::from_str(text).unwrap();
    let peers = value["peers"].as_array().unwrap();
    assert_eq!(value["count"], peers.len());
    let peer = |peer: &Value| {
        let name = peer["peer_id"].as_str().unwrap().to_owned();
        (name, peer["verified"].as_bool().unwrap())
    };
    peers.iter().map(peer).collect()
}

/// So many of a hundred gaps are no longer.
pub fn percentile(gaps: &[Duration], percent: usize) -> Duration {
    let mut sorted = gaps.to_vec();
    sorted.sort();
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
