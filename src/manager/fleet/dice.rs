//! Chance: the operating system's, or a seed's where a run is to be repeated.

/// Where the fleet's chance comes from: ids, credentials, jitter.
#[derive(Clone, Debug)]
pub(in crate::manager) enum Dice {
    /// The operating system.
    System,
    /// A seed, so that a test's run can be repeated.
    #[cfg(test)]
    Seeded(u64),
}

impl Dice {
    /// 64 random bits.
    pub(super) fn roll(&mut self) -> u64 {
        match self {
            Self::System => getrandom::u64().expect("the operating system has random numbers"),
            // SplitMix64.
            #[cfg(test)]
            Self::Seeded(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut bits = *state;
                bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                bits ^ (bits >> 31)
            }
        }
    }

    /// Uniform in 0..1.
    pub(super) fn chance(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }
}
