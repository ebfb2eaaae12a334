//! The file's own chat template.
//!
//! What users write must stay text: where it spells one of the model's control
//! tokens, a seam is put into it, and no token is seen across a seam. So the
//! template still handles each content as what it is, and trims or measures it.

use std::fmt::Write as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value};

use super::Refusal;
use super::tokenizer::Tokenizer;
use crate::engine::{Message, Role, TextError, Token};

const NAME: &str = "chat";
/// Steps of one rendering; 64 messages take some thousands.
const FUEL: u64 = 1_000_000;
/// The longest in use have a third of it.
const MAX_BYTES: usize = 64 << 10;

pub(super) struct Template {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl Template {
    /// `bos` and `eos` are the texts of the tokens that begin and end a text.
    pub(super) fn new(source: &str, bos: &str, eos: &str) -> Result<Self, Refusal> {
        let broken = |error: Error| {
            Refusal::unsupported(format!("has a chat template that does not work here ({error})"))
        };
        if source.len() > MAX_BYTES {
            return Err(Refusal::unsupported(format!(
                "has a chat template of {} bytes",
                source.len()
            )));
        }
        let mut environment = Environment::new();
        // As the reference implementation sets it.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(broken)?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", |why: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, why))
        });
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(broken)?;
        let template = Self {
            environment,
            bos: bos.to_owned(),
            eos: eos.to_owned(),
        };
        let probe = [(Role::User, "Hello".to_owned())];
        match template.render(&probe) {
            Ok(text) if text.contains("Hello") => Ok(template),
            Ok(_) => Err(Refusal::unsupported(
                "has a chat template that leaves out what is said",
            )),
            Err(error) => Err(broken(error)),
        }
    }

    /// The tokens of a conversation, up to where the answer begins.
    pub(super) fn prompt(
        &self,
        messages: &[Message],
        tokenizer: &Tokenizer,
    ) -> Result<Vec<Token>, TextError> {
        let seam = seam()?;
        let contents: Vec<(Role, String)> = messages
            .iter()
            .map(|message| (message.role, tokenizer.seamed(&message.content, &seam)))
            .collect();
        let text = self
            .render(&contents)
            .map_err(|error| TextError(error.detail().map_or_else(|| error.to_string(), str::to_owned)))?;
        tokenizer.encode_rendered(&text, &seam).map_err(TextError)
    }

    fn render(&self, messages: &[(Role, String)]) -> Result<String, Error> {
        let messages: Value = messages
            .iter()
            .map(|(role, content)| {
                Value::from_pairs([
                    ("role", Value::from(role.as_str())),
                    ("content", Value::from(content.as_str())),
                ])
            })
            .collect();
        let context = Value::from_pairs([
            ("messages", messages),
            ("add_generation_prompt", Value::from(true)),
            ("bos_token", Value::from(self.bos.as_str())),
            ("eos_token", Value::from(self.eos.as_str())),
        ]);
        self.environment.get_template(NAME)?.render(context)
    }
}

/// A text that nobody can have written: two noncharacters around a random number.
fn seam() -> Result<String, TextError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| TextError(format!("there is no randomness ({error})")))?;
    let mut seam = String::from('\u{fdd0}');
    for byte in random {
        write!(seam, "{byte:03}").expect("writing to a string does not fail");
    }
    seam.push('\u{fdd1}');
    Ok(seam)
}
