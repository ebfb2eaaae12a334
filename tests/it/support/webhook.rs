//! A webhook of somebody else's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A webhook that answers with these in turn, and then with the last for ever.
pub fn webhook(answers: &'static [&'static str]) -> (String, Receiver<serde_json::Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/webhook", listener.local_addr().unwrap());
    let (sender, messages) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer = answers[number.min(answers.len() - 1)];
            let head = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.get_mut().write_all(head.as_bytes()).unwrap();
            if sender.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    (url, messages)
}

/// An answer of a [`Hook`]: status line, further header lines, body.
#[derive(Clone, Copy, Debug)]
pub struct Reply(pub &'static str, pub &'static [&'static str], pub &'static str);

/// A message that a [`Hook`] got.
#[derive(Clone, Debug)]
pub struct Heard {
    pub at: Instant,
    pub head: String,
    pub body: serde_json::Value,
    pub taken: bool,
}

/// A receiver that answers with these in turn, and then with the last for ever,
/// and remembers what it heard.
pub struct Hook {
    pub url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Hook {
    #[track_caller]
    pub fn new(answers: &'static [Reply]) -> Self {
        Self::at(0, answers)
    }

    #[track_caller]
    pub fn at(port: u16, answers: &'static [Reply]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let url = format!(
            "http://{}/api/webhooks/1/hush-hush",
            listener.local_addr().unwrap()
        );
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut head, mut length) = (String::new(), 0);
                while stream.read_line(&mut head).unwrap() > 2 {
                    let line = head.lines().last().unwrap().to_ascii_lowercase();
                    if let Some(value) = line.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let mut all = all.lock().unwrap();
                let Reply(status, headers, text) = answers[all.len().min(answers.len() - 1)];
                all.push(Heard {
                    at: Instant::now(),
                    head,
                    body: serde_json::from_slice(&body).unwrap(),
                    taken: status.starts_with('2'),
                });
                let mut answer = format!("HTTP/1.1 {status}\r\n");
                for header in headers {
                    answer.push_str(&format!("{header}\r\n"));
                }
                let length = text.len();
                answer.push_str(&format!(
                    "Content-Length: {length}\r\nConnection: close\r\n\r\n{text}"
                ));
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { url, heard }
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// The entries of the messages that were taken: embeds, or alerts.
    pub fn entries(&self, of: &str) -> Vec<serde_json::Value> {
        let taken = self.heard().into_iter().filter(|heard| heard.taken);
        taken
            .flat_map(|heard| heard.body[of].as_array().unwrap().clone())
            .collect()
    }
}
