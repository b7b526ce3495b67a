//! A look that is taken before it is asked for, while something else takes its time. Whoever asks gets it only if nobody changed
//! nftables since: then it is what another look would see.

use std::sync::Arc;

use super::Nftables;
use crate::model::nft::Table;

/// The ruleset's generation, and our table in it.
pub(super) type Ahead = (u32, Option<Arc<Table>>);

impl Nftables {
    /// Looks at the table for the next [`Self::observe`]. To whoever carries out a change nothing was looked at: that goes by the
    /// look that it was planned from. What fails here fails again when it is asked for.
    pub(in crate::kernel) fn look_ahead(&mut self) {
        if let Some((generation, _)) = self.ahead
            && self.ask_generation().is_ok_and(|now| now == generation)
        {
            return;
        }
        let (generation, seen) = (self.generation, self.seen.take());
        if let Ok(table) = self.observe() {
            self.ahead = self.generation.map(|now| (now, table));
        }
        (self.generation, self.seen) = (generation, seen);
    }

    /// The look that was taken, if there is one and it is as good as a new one.
    pub(super) fn taken_ahead(&mut self) -> Option<Ahead> {
        let (generation, table) = self.ahead.take()?;
        let now = self.ask_generation().ok()?;
        (now == generation).then_some((generation, table))
    }
}
