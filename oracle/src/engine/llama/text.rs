//! Conversations as tokens, and tokens as text, as the file has it.

use std::collections::BTreeSet;

use super::Refusal;
use super::gguf::Gguf;
use super::template::Template;
use super::tokenizer::{ENDS, Tokenizer, token};
use crate::engine::{Message, Text, TextError, Token};

pub(super) struct LlamaText {
    tokenizer: Tokenizer,
    template: Template,
    ends: BTreeSet<Token>,
}

impl LlamaText {
    pub(super) fn read(file: &Gguf) -> Result<Self, Refusal> {
        let tokenizer = Tokenizer::read(file)?;
        let vocabulary = file.texts("tokenizer.ggml.tokens")?.map_or(0, <[String]>::len);
        let named = |kind: &str| token(file, &format!("tokenizer.ggml.{kind}_token_id"), vocabulary);
        let (bos, eos) = (named("bos")?, named("eos")?);
        let mut ends: BTreeSet<Token> = ENDS.iter().filter_map(|end| tokenizer.control(end)).collect();
        ends.extend(eos);
        ends.extend(named("eot")?);
        ends.extend(named("eom")?);
        if ends.is_empty() {
            return Err(Refusal::unsupported("names no token that ends an answer"));
        }
        let source = file.text("tokenizer.chat_template")?.ok_or_else(|| {
            Refusal::new(
                "has no chat template",
                "use a file of a model that was made for conversations",
            )
        })?;
        let text = |token: Option<Token>| token.map_or("", |token| tokenizer.text(token));
        let template = Template::new(source, text(bos), text(eos))?;
        Ok(Self {
            tokenizer,
            template,
            ends,
        })
    }

    pub(super) fn vocabulary_hash(&self) -> String {
        self.tokenizer.vocabulary_hash().to_owned()
    }
}

impl Text for LlamaText {
    fn prompt(&self, messages: &[Message]) -> Result<Vec<Token>, TextError> {
        self.template.prompt(messages, &self.tokenizer)
    }

    fn bytes(&self, token: Token) -> &[u8] {
        self.tokenizer.bytes(token)
    }

    fn name(&self, token: Token) -> String {
        self.tokenizer.text(token).to_owned()
    }

    fn is_end(&self, token: Token) -> bool {
        self.ends.contains(&token)
    }
}
