//! Text as tokens, by the file's own vocabulary.
//!
//! A tokenizer that is nearly right makes a model that is quietly worse, so only
//! those whose rules are known are used.
//!
//! Control tokens are kept out of the vocabulary that texts are encoded with: no
//! text can become one. Bytes that the vocabulary has no token for are left out,
//! as in other runtimes; as "unknown" they would become a control token.

use std::collections::{BTreeMap, HashMap};

use aho_corasick::{AhoCorasick, MatchKind};
use sha2::{Digest, Sha256};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::gguf::Gguf;
use super::{Refusal, hex};
use crate::engine::Token;

/// How texts are cut into words, by the file's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    Gpt2,
    Smollm,
    Llama3,
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// GGUF's kinds of tokens.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;

/// Tokens that end an answer by their names, where a file does not number them.
pub(super) const ENDS: [&str; 6] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
];

pub(super) struct Tokenizer {
    bpe: tokenizers::Tokenizer,
    control: Marks,
    /// Tokens that are found in any text before it is cut into words.
    declared: Marks,
    /// What each token stands for, one after the other.
    bytes: Vec<u8>,
    /// Where each token's bytes end.
    ends: Vec<usize>,
    /// Put in front of a text that does not begin with it.
    bos: Option<Token>,
    texts: Vec<String>,
    vocabulary_hash: String,
}

impl Tokenizer {
    pub(super) fn read(file: &Gguf) -> Result<Self, Refusal> {
        let model = file.text("tokenizer.ggml.model")?.unwrap_or("unnamed");
        let pre = file.text("tokenizer.ggml.pre")?.unwrap_or("unnamed");
        let words = match (model, pre) {
            ("gpt2", "smollm") => Words::Smollm,
            ("gpt2", "gpt-2" | "gpt2") => Words::Gpt2,
            ("gpt2", "llama-bpe" | "llama3" | "llama-v3") => Words::Llama3,
            _ => {
                return Err(Refusal::unsupported(format!(
                    "has a tokenizer that is not known here (model {model}, pre {pre})"
                )));
            }
        };
        let list = |key: &str| {
            file.texts(key)?
                .ok_or_else(|| Refusal::damaged(format!("{key} is missing")))
        };
        let texts = list("tokenizer.ggml.tokens")?;
        let merges = list("tokenizer.ggml.merges")?;
        let types = file
            .integers("tokenizer.ggml.token_type")?
            .ok_or_else(|| Refusal::damaged("tokenizer.ggml.token_type is missing"))?;
        if types.len() != texts.len() || u32::try_from(texts.len()).is_err() {
            return Err(Refusal::damaged(format!(
                "it has {} tokens and the types of {}",
                texts.len(),
                types.len()
            )));
        }
        let with_bos = file
            .bool("tokenizer.ggml.add_bos_token")?
            .unwrap_or(words == Words::Llama3);
        let bos = match token(file, "tokenizer.ggml.bos_token_id", texts.len())? {
            None if with_bos => return Err(Refusal::damaged("tokenizer.ggml.bos_token_id is missing")),
            bos => bos.filter(|_| with_bos),
        };
        let mut named = Vec::new();
        for name in ["bos", "eos", "eot", "eom"] {
            named.extend(token(
                file,
                &format!("tokenizer.ggml.{name}_token_id"),
                texts.len(),
            )?);
        }
        let template = file.text("tokenizer.chat_template")?.unwrap_or_default();
        let kinds = kinds(texts, types, &named, template);
        let of_type = |wanted: i64| {
            (0..)
                .zip(texts.iter().zip(&kinds))
                .filter(move |(_, (_, kind))| **kind == wanted)
                .map(|(token, (text, _))| (text.as_str(), token))
        };
        let (bytes, ends) = bytes(texts, types);
        Ok(Self {
            bpe: bpe(words, texts, &kinds, merges)?,
            control: Marks::new(of_type(CONTROL))?,
            declared: Marks::new(of_type(USER_DEFINED))?,
            bytes,
            ends,
            bos,
            texts: texts.to_vec(),
            vocabulary_hash: hash(pre, texts, types, merges),
        })
    }

    /// Names what token numbers mean.
    pub(super) fn vocabulary_hash(&self) -> &str {
        &self.vocabulary_hash
    }

    /// A token's own text, as the file writes it.
    pub(super) fn text(&self, token: Token) -> &str {
        self.texts.get(token as usize).map_or("", String::as_str)
    }

    /// The control token that is written so.
    pub(super) fn control(&self, text: &str) -> Option<Token> {
        self.control.tokens.get(text).copied()
    }

    /// The bytes that a token stands for.
    pub(super) fn bytes(&self, token: Token) -> &[u8] {
        let token = token as usize;
        let end = self.ends.get(token).copied().unwrap_or(0);
        let start = token
            .checked_sub(1)
            .map_or(0, |before| self.ends[before.min(self.ends.len() - 1)]);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// A text with a seam within each control token that it spells.
    pub(super) fn seamed(&self, text: &str, seam: &str) -> String {
        let mut seamed = String::with_capacity(text.len());
        let mut at = 0;
        for start in self.control.starts(text) {
            let first = text[start..].chars().next().map_or(0, char::len_utf8);
            seamed.push_str(&text[at..start + first]);
            seamed.push_str(seam);
            at = start + first;
        }
        seamed.push_str(&text[at..]);
        seamed
    }

    /// The tokens of a rendered template: what spells a control token is one,
    /// and seams are left out.
    pub(super) fn encode_rendered(&self, text: &str, seam: &str) -> Result<Vec<Token>, String> {
        let mut tokens = Vec::new();
        let mut at = 0;
        for (range, token) in self.control.find(text) {
            self.encode(&text[at..range.start].replace(seam, ""), &mut tokens)?;
            tokens.push(token);
            at = range.end;
        }
        self.encode(&text[at..].replace(seam, ""), &mut tokens)?;
        if let Some(bos) = self.bos
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    /// Appends a text's tokens, none of which is a control token.
    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<Token>) -> Result<(), String> {
        let mut at = 0;
        for (range, token) in self.declared.find(text) {
            self.encode_words(&text[at..range.start], tokens)?;
            tokens.push(token);
            at = range.end;
        }
        self.encode_words(&text[at..], tokens)
    }

    fn encode_words(&self, text: &str, tokens: &mut Vec<Token>) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        let encoding = self
            .bpe
            .encode_fast(text, false)
            .map_err(|error| error.to_string())?;
        tokens.extend_from_slice(encoding.get_ids());
        Ok(())
    }
}

/// What each token is. Some files declare the marks of their chats as text that
/// anybody may write; but what ends an answer, has a role of its own, or stands
/// in brackets in the template, is a control token whatever it is declared as.
fn kinds(texts: &[String], types: &[i64], named: &[Token], template: &str) -> Vec<i64> {
    let is_mark = |text: &str| {
        let in_brackets =
            (text.starts_with('<') && text.ends_with('>')) || (text.starts_with('[') && text.ends_with(']'));
        ENDS.contains(&text) || (in_brackets && text.len() > 2 && template.contains(text))
    };
    let kind = |(token, (text, kind)): (Token, (&String, &i64))| match *kind {
        USER_DEFINED if is_mark(text) || named.contains(&token) => CONTROL,
        kind => kind,
    };
    (0..).zip(texts.iter().zip(types)).map(kind).collect()
}

/// The token that a key of the file names.
pub(super) fn token(file: &Gguf, key: &str, vocabulary: usize) -> Result<Option<Token>, Refusal> {
    match file.count(key)? {
        None => Ok(None),
        Some(token) if token < vocabulary => Ok(Some(token as Token)),
        Some(token) => Err(Refusal::damaged(format!("{key} is {token}, of {vocabulary}"))),
    }
}

/// Tokens that are looked for in texts.
struct Marks {
    tokens: HashMap<String, Token>,
    by_index: Vec<Token>,
    longest: AhoCorasick,
    overlapping: AhoCorasick,
}

impl Marks {
    fn new<'a>(marks: impl Iterator<Item = (&'a str, Token)>) -> Result<Self, Refusal> {
        // A mark of one character could not be written as text; none is.
        let marks: BTreeMap<&str, Token> = marks.filter(|(text, _)| text.chars().count() > 1).collect();
        let search = |kind| {
            AhoCorasick::builder()
                .match_kind(kind)
                .build(marks.keys())
                .map_err(|error| Refusal::unsupported(format!("has too many control tokens ({error})")))
        };
        Ok(Self {
            longest: search(MatchKind::LeftmostLongest)?,
            overlapping: search(MatchKind::Standard)?,
            by_index: marks.values().copied().collect(),
            tokens: marks
                .into_iter()
                .map(|(text, token)| (text.to_owned(), token))
                .collect(),
        })
    }

    /// The first, longest ones, which do not overlap.
    fn find(&self, text: &str) -> impl Iterator<Item = (std::ops::Range<usize>, Token)> {
        self.longest
            .find_iter(text)
            .map(|found| (found.range(), self.by_index[found.pattern().as_usize()]))
    }

    /// Where any begins, in order.
    fn starts(&self, text: &str) -> Vec<usize> {
        let mut starts: Vec<usize> = self
            .overlapping
            .find_overlapping_iter(text)
            .map(|found| found.start())
            .collect();
        starts.sort_unstable();
        starts.dedup();
        starts
    }
}

fn bpe(
    words: Words,
    texts: &[String],
    types: &[i64],
    merges: &[String],
) -> Result<tokenizers::Tokenizer, Refusal> {
    let mut vocabulary = Vocab::default();
    for (token, (text, kind)) in (0..).zip(texts.iter().zip(types)) {
        if ![UNKNOWN, CONTROL, USER_DEFINED, UNUSED].contains(kind) {
            vocabulary.entry(text.clone()).or_insert(token);
        }
    }
    let merges = merges
        .iter()
        .map(|merge| {
            let (first, second) = merge.split_once(' ')?;
            let known = [first, second, &[first, second].concat()]
                .iter()
                .all(|part| vocabulary.contains_key(*part));
            known.then(|| (first.to_owned(), second.to_owned()))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Refusal::damaged("a merge is not of its vocabulary"))?;
    let wrong = |error: tokenizers::Error| Refusal::damaged(format!("its tokenizer: {error}"));
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .ignore_merges(words == Words::Llama3)
        .build()
        .map_err(wrong)?;
    let words: Vec<PreTokenizerWrapper> = match words {
        Words::Gpt2 => vec![ByteLevel::new(false, true, true).into()],
        Words::Smollm => vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()],
        Words::Llama3 => {
            let pattern = SplitPattern::Regex(LLAMA3.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(wrong)?;
            vec![split.into(), ByteLevel::new(false, true, false).into()]
        }
    };
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(Sequence::new(words)));
    Ok(tokenizer)
}

/// Each token's bytes: the vocabulary writes a byte as a character of its own.
fn bytes(texts: &[String], types: &[i64]) -> (Vec<u8>, Vec<usize>) {
    let of_char: HashMap<char, u8> = (0..=u8::MAX).map(|byte| (byte_char(byte), byte)).collect();
    let mut bytes = Vec::new();
    let mut ends = Vec::with_capacity(texts.len());
    for (text, kind) in texts.iter().zip(types) {
        match *kind {
            UNKNOWN | CONTROL | UNUSED => {}
            USER_DEFINED => bytes.extend_from_slice(text.as_bytes()),
            _ => {
                for character in text.chars() {
                    match of_char.get(&character) {
                        Some(byte) => bytes.push(*byte),
                        None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                }
            }
        }
        ends.push(bytes.len());
    }
    (bytes, ends)
}

/// The character that a byte is written as: itself if it can be seen, else one
/// of those from U+0100 on.
pub(super) fn byte_char(byte: u8) -> char {
    let seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if seen(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !seen(*byte)).count() as u32;
    char::from_u32(0x100 + before).expect("it is below U+0200")
}

fn hash(pre: &str, texts: &[String], types: &[i64], merges: &[String]) -> String {
    let mut hash = Sha256::new();
    for text in std::iter::once(pre).chain(texts.iter().chain(merges).map(String::as_str)) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    for kind in types {
        hash.update(kind.to_le_bytes());
    }
    hex(&hash.finalize())
}
