//! What a request says about how its tokens are chosen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::Token;

/// How tokens are chosen. With the model and the prompt it fixes every token of
/// the answer, whoever drafts and whoever shares a pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy; at most 2.
    pub temperature: f32,
    /// The smallest set of tokens with this probability is chosen from; above 0, at most 1.
    pub top_p: f32,
    pub seed: u64,
    /// From -2 to 2, once for each token that the answer has.
    pub presence_penalty: f32,
    /// From -2 to 2, for each time that the answer has the token.
    pub frequency_penalty: f32,
    /// From -100 to 100, added to the logits.
    pub logit_bias: BTreeMap<Token, f32>,
}

impl Sampling {
    /// The same for the choice at `index`: the first has the seed itself.
    pub fn for_choice(&self, index: u32) -> Self {
        let mut sampling = self.clone();
        sampling.seed = self
            .seed
            .wrapping_add(u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        sampling
    }
}
