//! An answer's tokens as text that can be sent: whole characters only, and
//! nothing that a stop may still take back.
//!
//! What is sent in pieces is, put together, what `String::from_utf8_lossy`
//! makes of all the bytes, cut before the first stop. The first stop is the one
//! that is whole first, whatever the token borders are; of two that are whole
//! at the same character, the longer one.

/// Turns the bytes of one answer into text.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    stops: Vec<String>,
    /// The beginning of a character.
    partial: Vec<u8>,
    /// Whole characters that are not sent.
    held: String,
    /// Bytes of text before `held`.
    sent: usize,
    stopped: bool,
}

impl TextStream {
    /// A stop that is empty stops nothing.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self {
            stops,
            ..Self::default()
        }
    }

    /// Takes the bytes of the next token, and returns what can be sent now.
    /// After a stop there is nothing more.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        if self.stopped {
            return String::new();
        }
        let text = self.decode(bytes);
        self.take(&text)
    }

    /// The answer has no more tokens: what is left of its text.
    pub fn finish(&mut self) -> String {
        if self.stopped {
            return String::new();
        }
        let rest = if self.partial.is_empty() { "" } else { "\u{FFFD}" };
        self.partial.clear();
        let mut text = self.take(rest);
        if !self.stopped {
            self.sent += self.held.len();
            text.push_str(&std::mem::take(&mut self.held));
        }
        text
    }

    /// Whether a stop ended the text.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// How many bytes of text were returned so far.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Where the text of the next token begins: the bytes of text before it.
    pub fn reached(&self) -> usize {
        self.sent + self.held.len()
    }

    /// Whether the last token ended within a character.
    pub fn is_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    fn decode(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(bytes);
        let mut text = String::with_capacity(all.len());
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            if chunks.peek().is_none() && may_become_whole(invalid) {
                self.partial = invalid.to_vec();
            } else {
                text.push('\u{FFFD}');
            }
        }
        text
    }

    fn take(&mut self, text: &str) -> String {
        let from = self.held.len();
        self.held.push_str(text);
        if let Some(start) = self.first_stop(from) {
            self.stopped = true;
            self.held.truncate(start);
        }
        let keep = if self.stopped { 0 } else { self.longest_beginning() };
        let rest = self.held.split_off(self.held.len() - keep);
        let ready = std::mem::replace(&mut self.held, rest);
        self.sent += ready.len();
        ready
    }

    /// Where the stop begins that is whole first, past the first `from` bytes.
    fn first_stop(&self, from: usize) -> Option<usize> {
        let ends = self.stops.iter().filter_map(|stop| {
            // A stop that ended before `from` would have been seen before.
            let mut first = (from + 1).saturating_sub(stop.len());
            while !self.held.is_char_boundary(first) {
                first += 1;
            }
            let start = first + self.held[first..].find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        ends.min().map(|(_, start)| start)
    }

    /// The length of the longest end of what is held that begins a stop.
    fn longest_beginning(&self) -> usize {
        let beginnings = self.stops.iter().filter_map(|stop| {
            let longest = self.held.len().min(stop.len() - 1);
            (1..=longest)
                .rev()
                .find(|&length| stop.is_char_boundary(length) && self.held.ends_with(&stop[..length]))
        });
        beginnings.max().unwrap_or(0)
    }
}

/// Whether more bytes could make a character of these.
fn may_become_whole(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests;
