//! HTTP as it is on the wire, so that nothing between hides a difference.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        header.map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        let value = self
            .header(name)
            .unwrap_or_else(|| panic!("{name} is not in {self:?}"));
        value.parse().unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// The text of a whole answer.
    #[track_caller]
    pub fn text(&self) -> String {
        let content = &self.json()["choices"][0]["message"]["content"];
        content
            .as_str()
            .unwrap_or_else(|| panic!("{}", self.body))
            .to_owned()
    }

    /// The code of a refusal, which must have the documented shape.
    #[track_caller]
    pub fn code(&self) -> String {
        let body = self.json();
        let error = &body["error"];
        assert!(self.status >= 400, "{self:?}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{body}");
        assert_eq!(error["message"], body["detail"], "{body}");
        assert!(error["type"].is_string(), "{body}");
        assert!(error["param"].is_null() || error["param"].is_string(), "{body}");
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
        assert_eq!(error.as_object().unwrap().len(), 4, "{body}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        error["code"].as_str().unwrap().to_owned()
    }
}

/// A connection that is kept.
pub struct Connection {
    stream: BufReader<TcpStream>,
    /// What was read of a stream of events, and is no whole event yet.
    pending: String,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self {
            stream: BufReader::new(stream),
            pending: String::new(),
        }
    }

    pub fn socket(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    pub fn post(&mut self, body: &str) -> Response {
        self.send_post(body);
        self.read()
    }

    pub fn send_post(&mut self, body: &str) {
        let json = [("Content-Type", "application/json")];
        self.send("POST", "/v1/chat/completions", &json, Some(body));
    }

    pub fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Response {
        self.send(method, path, headers, body);
        if method == "HEAD" {
            return self.read_head();
        }
        self.read()
    }

    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body.unwrap_or(""));
        self.socket().write_all(request.as_bytes()).unwrap();
    }

    /// A whole answer, however it is framed.
    pub fn read(&mut self) -> Response {
        let mut response = self.read_head();
        if response.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.read_chunk() {
                response.body.push_str(&chunk);
            }
        } else {
            let mut body = vec![0; usize::try_from(response.number("content-length")).unwrap()];
            self.stream.read_exact(&mut body).unwrap();
            response.body = String::from_utf8(body).unwrap();
        }
        response
    }

    pub fn read_head(&mut self) -> Response {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no HTTP answer: {line:?}"));
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.push((name.to_owned(), value.to_owned()));
        }
        Response {
            status,
            headers,
            body: String::new(),
        }
    }

    /// The next chunk; none at the end, or when the connection is gone.
    fn read_chunk(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        self.stream.read_exact(&mut chunk).ok()?;
        assert!(chunk.ends_with(b"\r\n"));
        chunk.truncate(length);
        (length > 0).then(|| String::from_utf8(chunk).unwrap())
    }

    /// The next event of a stream; none at its end.
    #[track_caller]
    pub fn event(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.pending.split_once("\n\n") {
                let event = event.to_owned();
                self.pending = rest.to_owned();
                if event.starts_with(':') {
                    continue;
                }
                let data = event.strip_prefix("data: ");
                return Some(data.unwrap_or_else(|| panic!("{event:?}")).to_owned());
            }
            let Some(chunk) = self.read_chunk() else {
                assert_eq!(self.pending, "", "half an event");
                return None;
            };
            self.pending.push_str(&chunk);
        }
    }

    /// All events to the end.
    #[track_caller]
    pub fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.event()).collect()
    }
}

/// The text of these events.
#[track_caller]
pub fn text_of(events: &[String]) -> String {
    let chunks = events.iter().filter(|event| *event != "[DONE]");
    chunks
        .map(|event| {
            let chunk: Value = serde_json::from_str(event).unwrap();
            let content = &chunk["choices"][0]["delta"]["content"];
            content.as_str().unwrap_or_default().to_owned()
        })
        .collect()
}
