//! Reads JSON exactly as the published server did: which texts it took, which
//! it refused, in which words and at which character. It is the slow path,
//! taken when a body is not what almost every client sends.
//!
//! It never looks at what a value means; that is `field`'s work.

mod encoding;
mod text;

use std::ops::Range;

use super::error::{Context, Flaw, Place, Refusal};
pub(super) use text::Text;

/// Levels of nesting that a body may have. The published server's database
/// stored no document of more than a hundred levels.
pub(super) const MAX_NESTING: usize = 100;

/// One value and the bytes of the document that it was read from.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) span: Range<usize>,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// An integer of any length, in decimal.
    Integer(String),
    /// A number with a fraction or an exponent; also `NaN` and `Infinity`.
    Float(f64),
    Text(Text),
    List(Vec<Node>),
    /// Members in their order; of two with one name the later counts.
    Map(Vec<(Text, Node)>),
}

/// A document and its root. Spans index the document.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) source: String,
    pub(super) root: Node,
}

/// Reads a whole body.
pub(super) fn read(body: &[u8]) -> Result<Document, Refusal> {
    let source = encoding::decode(body).ok_or(Refusal::UnreadableBody)?;
    let mut reader = Reader {
        source: &source,
        at: 0,
    };
    match reader.document() {
        Ok(root) => Ok(Document { source, root }),
        Err(fault) => Err(Refusal::flaw(fault.into_flaw(source))),
    }
}

/// What is wrong with a text, and at which byte.
#[derive(Debug)]
enum Fault {
    Syntax { msg: &'static str, at: usize },
    TooDeep { at: usize },
}

impl Fault {
    fn into_flaw(self, source: String) -> Flaw {
        match self {
            Self::Syntax { msg, at } => {
                let before = &source[..at];
                let pos = before.chars().count();
                let lineno = before.matches('\n').count() + 1;
                let line = before
                    .rfind('\n')
                    .map_or(before, |newline| &before[newline + 1..]);
                let colno = line.chars().count() + 1;
                let text = format!("{msg}: line {lineno} column {colno} (char {pos})");
                Flaw::new(
                    &[Place::Name("body"), Place::Index(pos)],
                    text,
                    "value_error.jsondecode",
                )
                .with(Context::Syntax {
                    msg,
                    doc: source,
                    pos,
                    lineno,
                    colno,
                })
            }
            Self::TooDeep { at } => {
                let pos = source[..at].chars().count();
                Flaw::new(
                    &[Place::Name("body"), Place::Index(pos)],
                    format!("nesting is deeper than {MAX_NESTING} levels"),
                    "value_error.nesting",
                )
            }
        }
    }
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Node, Fault> {
        self.skip_space();
        let root = self.value(0)?;
        self.skip_space();
        if self.at < self.source.len() {
            return Err(self.fault("Extra data"));
        }
        Ok(root)
    }

    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        let start = self.at;
        let value = match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Value::Text(text::read(self.source, &mut self.at)?)
            }
            Some(b'{') => self.map(depth + 1)?,
            Some(b'[') => self.list(depth + 1)?,
            _ => match self.constant() {
                Some(value) => value,
                None => self.number()?,
            },
        };
        Ok(Node {
            value,
            span: start..self.at,
        })
    }

    fn constant(&mut self) -> Option<Value> {
        let rest = &self.source[self.at..];
        let (word, value) = [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("NaN", Value::Float(f64::NAN)),
            ("Infinity", Value::Float(f64::INFINITY)),
            ("-Infinity", Value::Float(f64::NEG_INFINITY)),
        ]
        .into_iter()
        .find(|(word, _)| rest.starts_with(word))?;
        self.at += word.len();
        Some(value)
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => {
                return Err(Fault::Syntax {
                    msg: "Expecting value",
                    at: start,
                });
            }
        }
        let mut is_float = false;
        if self.peek() == Some(b'.') && self.peek_at(1).is_some_and(|byte| byte.is_ascii_digit()) {
            is_float = true;
            self.at += 1;
            self.skip_digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.peek_at(1), Some(b'+' | b'-')));
            // An exponent without digits is not part of the number.
            if self.peek_at(1 + sign).is_some_and(|byte| byte.is_ascii_digit()) {
                is_float = true;
                self.at += 1 + sign;
                self.skip_digits();
            }
        }
        let literal = &self.source[start..self.at];
        if is_float {
            let float = literal.parse().expect("a JSON number is a float literal");
            return Ok(Value::Float(float));
        }
        Ok(Value::Integer(literal.to_owned()))
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        self.enter(depth)?;
        let mut items = Vec::new();
        if self.peek() != Some(b']') {
            loop {
                items.push(self.value(depth)?);
                if self.ends_with(b']')? {
                    break;
                }
            }
        }
        self.at += 1;
        Ok(Value::List(items))
    }

    fn map(&mut self, depth: usize) -> Result<Value, Fault> {
        self.enter(depth)?;
        let mut members = Vec::new();
        if self.peek() != Some(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(self.fault("Expecting property name enclosed in double quotes"));
                }
                self.at += 1;
                let name = text::read(self.source, &mut self.at)?;
                self.skip_space();
                if self.peek() != Some(b':') {
                    return Err(self.fault("Expecting ':' delimiter"));
                }
                self.at += 1;
                self.skip_space();
                members.push((name, self.value(depth)?));
                if self.ends_with(b'}')? {
                    break;
                }
            }
        }
        self.at += 1;
        Ok(Value::Map(members))
    }

    /// Steps over an opening bracket.
    fn enter(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > MAX_NESTING {
            return Err(Fault::TooDeep { at: self.at });
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    /// After an element: stands at `close`, or has stepped over a comma.
    fn ends_with(&mut self, close: u8) -> Result<bool, Fault> {
        self.skip_space();
        match self.peek() {
            Some(byte) if byte == close => Ok(true),
            Some(b',') => {
                self.at += 1;
                self.skip_space();
                Ok(false)
            }
            _ => Err(self.fault("Expecting ',' delimiter")),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.source.as_bytes().get(self.at + ahead).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn skip_digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    const fn fault(&self, msg: &'static str) -> Fault {
        Fault::Syntax { msg, at: self.at }
    }
}
