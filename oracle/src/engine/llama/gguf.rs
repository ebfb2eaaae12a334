//! A GGUF file's header, and where its tensors lie.
//!
//! A file may say anything: no size is believed that the file has no bytes for,
//! and nothing is reserved on a header's word alone.
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use candle_core::quantized::GgmlDType;

use super::Refusal;

const MAGIC: [u8; 4] = *b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
/// A vocabulary of 256,000 tokens with its merges takes about 10 MB.
const MAX_HEADER_BYTES: u64 = 256 << 20;
const MAX_ENTRIES: u64 = 1 << 16;
const MAX_DIMENSIONS: u32 = 4;
/// The lists that are asked for; the others are passed over.
const KEPT_LISTS: [&str; 3] = [
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
];
/// Of a kept list: in memory an element takes several times its bytes.
const MAX_ELEMENTS: u64 = 1 << 20;

/// An open file whose header was read.
#[derive(Debug)]
pub(super) struct Gguf {
    file: File,
    values: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorPlace>,
    /// Where the tensors begin.
    data: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Integer(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i64>),
    Texts(Vec<String>),
    /// An array that nothing here asks for.
    Other,
}

/// One tensor as the header describes it, checked against the file's size.
#[derive(Clone, Debug)]
pub(super) struct TensorPlace {
    pub(super) dtype: GgmlDType,
    /// Values in a row.
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// From where the tensors begin.
    offset: u64,
    pub(super) row_bytes: usize,
}

impl Gguf {
    pub(super) fn open(path: &Path) -> Result<Self, Refusal> {
        let file = File::open(path).map_err(Refusal::unreadable)?;
        let metadata = file.metadata().map_err(Refusal::unreadable)?;
        if !metadata.is_file() {
            return Err(Refusal::new("is not a file", "name a GGUF file"));
        }
        let mut header = Header {
            reader: BufReader::new(&file).take(MAX_HEADER_BYTES),
            at: 0,
            file_bytes: metadata.len(),
        };
        let (values, mut tensors) = header.read()?;
        let alignment = match values.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(&Value::Integer(bytes)) if (8..=65_536).contains(&bytes) && bytes % 8 == 0 => {
                bytes.unsigned_abs()
            }
            Some(_) => return Err(Refusal::damaged("general.alignment is not a multiple of 8")),
        };
        let data = header.at.div_ceil(alignment) * alignment;
        let room = metadata.len().saturating_sub(data);
        for (name, place) in &mut tensors {
            let bytes = (place.row_bytes as u64).checked_mul(place.rows as u64);
            let end = bytes.and_then(|bytes| place.offset.checked_add(bytes));
            if end.is_none_or(|end| end > room) {
                return Err(Refusal::damaged(format!(
                    "the tensor {name} reaches beyond the end of the file"
                )));
            }
        }
        Ok(Self {
            file,
            values,
            tensors,
            data,
        })
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Every key with its value.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&TensorPlace> {
        self.tensors.get(name)
    }

    pub(super) fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The bytes of `rows` rows of a tensor, from row `first` on.
    pub(super) fn read_rows(&self, place: &TensorPlace, first: usize, rows: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; rows * place.row_bytes];
        let at = self.data + place.offset + (first * place.row_bytes) as u64;
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// The file as it is on the disk.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, Refusal> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::damaged(format!("{key} is no text"))),
        }
    }

    /// A whole number that must not be negative.
    pub(super) fn count(&self, key: &str) -> Result<Option<usize>, Refusal> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::Integer(number)) => usize::try_from(number)
                .map(Some)
                .map_err(|_| Refusal::damaged(format!("{key} is {number}"))),
            Some(_) => Err(Refusal::damaged(format!("{key} is no number"))),
        }
    }

    pub(super) fn float(&self, key: &str) -> Result<Option<f64>, Refusal> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::Float(number)) => Ok(Some(number)),
            Some(_) => Err(Refusal::damaged(format!("{key} is no floating point number"))),
        }
    }

    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>, Refusal> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::Bool(yes)) => Ok(Some(yes)),
            Some(_) => Err(Refusal::damaged(format!("{key} is neither true nor false"))),
        }
    }

    pub(super) fn texts(&self, key: &str) -> Result<Option<&[String]>, Refusal> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Texts(texts)) => Ok(Some(texts)),
            Some(_) => Err(Refusal::damaged(format!("{key} is no list of texts"))),
        }
    }

    pub(super) fn integers(&self, key: &str) -> Result<Option<&[i64]>, Refusal> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integers(numbers)) => Ok(Some(numbers)),
            Some(_) => Err(Refusal::damaged(format!("{key} is no list of numbers"))),
        }
    }
}

type Entries = (BTreeMap<String, Value>, BTreeMap<String, TensorPlace>);

struct Header<R> {
    reader: R,
    at: u64,
    file_bytes: u64,
}

impl<R: Read> Header<R> {
    fn read(&mut self) -> Result<Entries, Refusal> {
        if self.bytes::<4>().map_or(true, |magic| magic != MAGIC) {
            return Err(Refusal::new("is not a GGUF file", "name a GGUF file"));
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(Refusal::unsupported(format!(
                "is GGUF version {version}, not 2 or 3"
            )));
        }
        let (tensor_count, value_count) = (self.u64()?, self.u64()?);
        if tensor_count > MAX_ENTRIES || value_count > MAX_ENTRIES {
            return Err(Refusal::damaged(format!(
                "its header announces {tensor_count} tensors and {value_count} values"
            )));
        }
        let mut values = BTreeMap::new();
        for _ in 0..value_count {
            let key = self.string()?;
            let kind = self.u32()?;
            let value = match kind {
                9 => self.array(KEPT_LISTS.contains(&key.as_str()))?,
                _ => self.value(kind)?,
            };
            if values.insert(key.clone(), value).is_some() {
                return Err(Refusal::damaged(format!("{key} is there twice")));
            }
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = self.string()?;
            let place = self.tensor(&name)?;
            if tensors.insert(name.clone(), place).is_some() {
                return Err(Refusal::damaged(format!("the tensor {name} is there twice")));
            }
        }
        Ok((values, tensors))
    }

    fn tensor(&mut self, name: &str) -> Result<TensorPlace, Refusal> {
        let dimensions = self.u32()?;
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(Refusal::damaged(format!(
                "the tensor {name} has {dimensions} dimensions"
            )));
        }
        let absurd = || Refusal::damaged(format!("the tensor {name} has an absurd size"));
        let columns = usize::try_from(self.u64()?).map_err(|_| absurd())?;
        let mut rows = 1_usize;
        for _ in 1..dimensions {
            let dimension = usize::try_from(self.u64()?).map_err(|_| absurd())?;
            rows = rows.checked_mul(dimension).ok_or_else(absurd)?;
        }
        let kind = self.u32()?;
        let dtype = dtype(kind)
            .ok_or_else(|| Refusal::unsupported(format!("has the tensor {name} in format {kind}")))?;
        let offset = self.u64()?;
        if columns == 0 || rows == 0 || columns % dtype.block_size() != 0 {
            return Err(absurd());
        }
        let row_bytes = (columns / dtype.block_size())
            .checked_mul(dtype.type_size())
            .ok_or_else(absurd)?;
        Ok(TensorPlace {
            dtype,
            columns,
            rows,
            offset,
            row_bytes,
        })
    }

    fn value(&mut self, kind: u32) -> Result<Value, Refusal> {
        Ok(match kind {
            0..=5 | 10 | 11 => Value::Integer(self.integer(kind)?),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.bytes()?))),
            7 => Value::Bool(self.bytes::<1>()? != [0]),
            8 => Value::Text(self.string()?),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            _ => return Err(Refusal::damaged(format!("a value has the unknown type {kind}"))),
        })
    }

    fn array(&mut self, is_kept: bool) -> Result<Value, Refusal> {
        let kind = self.u32()?;
        let count = self.u64()?;
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            // A text has its length before it.
            8 | 10..=12 => 8,
            _ => return Err(Refusal::damaged(format!("a list has the unknown type {kind}"))),
        };
        let bytes = count.saturating_mul(least);
        let is_absurd = bytes > self.file_bytes.saturating_sub(self.at);
        if is_absurd || is_kept && count > MAX_ELEMENTS {
            return Err(Refusal::damaged(format!("a list announces {count} elements")));
        }
        match kind {
            0..=5 | 10 | 11 if is_kept => {
                let numbers = (0..count).map(|_| self.integer(kind));
                return Ok(Value::Integers(numbers.collect::<Result<_, _>>()?));
            }
            8 if is_kept => {
                let texts = (0..count).map(|_| self.string());
                return Ok(Value::Texts(texts.collect::<Result<_, _>>()?));
            }
            8 => {
                for _ in 0..count {
                    let length = self.u64()?;
                    self.skip(length)?;
                }
            }
            _ => self.skip(bytes)?,
        }
        Ok(Value::Other)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Refusal> {
        let mut passed = self.reader.by_ref().take(bytes);
        let read = io::copy(&mut passed, &mut io::sink()).map_err(Refusal::unreadable)?;
        self.at += read;
        if read == bytes {
            Ok(())
        } else {
            Err(Refusal::truncated())
        }
    }

    fn integer(&mut self, kind: u32) -> Result<i64, Refusal> {
        Ok(match kind {
            0 => i64::from(self.bytes::<1>()?[0]),
            1 => i64::from(i8::from_le_bytes(self.bytes()?)),
            2 => i64::from(u16::from_le_bytes(self.bytes()?)),
            3 => i64::from(i16::from_le_bytes(self.bytes()?)),
            4 => i64::from(self.u32()?),
            5 => i64::from(i32::from_le_bytes(self.bytes()?)),
            10 => i64::try_from(self.u64()?).unwrap_or(i64::MAX),
            _ => i64::from_le_bytes(self.bytes()?),
        })
    }

    fn string(&mut self) -> Result<String, Refusal> {
        let length = self.u64()?;
        if length > self.file_bytes.saturating_sub(self.at) {
            return Err(Refusal::damaged(format!("a text announces {length} bytes")));
        }
        let mut bytes = Vec::new();
        let read = self
            .reader
            .by_ref()
            .take(length)
            .read_to_end(&mut bytes)
            .map_err(Refusal::unreadable)?;
        if read as u64 != length {
            return Err(Refusal::truncated());
        }
        self.at += length;
        String::from_utf8(bytes).map_err(|_| Refusal::damaged("a text is not UTF-8"))
    }

    fn u32(&mut self) -> Result<u32, Refusal> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Refusal> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(|error| {
            match error.kind() == io::ErrorKind::UnexpectedEof {
                true => Refusal::truncated(),
                false => Refusal::unreadable(error),
            }
        })?;
        self.at += N as u64;
        Ok(bytes)
    }
}

fn dtype(kind: u32) -> Option<GgmlDType> {
    Some(match kind {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}
