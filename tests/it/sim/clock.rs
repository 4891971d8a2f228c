//! The clock seam: it stands still unless a test or a fault moves it, but for one microsecond a look.

use super::world::World;
use ledgerline::clock::{Clock, UnixMicros};

#[derive(Clone)]
pub struct SimClock {
    world: World,
}

impl SimClock {
    pub(super) fn new(world: World) -> Self {
        Self { world }
    }
}

impl Clock for SimClock {
    fn now(&self) -> UnixMicros {
        let mut state = self.world.state();
        state.clock += 1;
        state.clock
    }
}
