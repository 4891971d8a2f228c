//! What the demo prints: progress bars while it works, then the story, or one JSON object.

use crate::config::StageName;
use crate::service::Status;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::convert::Infallible;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const REFRESH: Duration = Duration::from_millis(100);

/// One bar each for events read, leaves sealed and leaves archived; hidden where standard error is no terminal.
pub(super) struct Bars {
    ingested: ProgressBar,
    sealed: ProgressBar,
    archived: ProgressBar,
}

/// The bar of events read, for the task that reads.
pub(super) struct Ingested(ProgressBar);

impl Ingested {
    pub(super) fn set(&self, lines: u64) {
        self.0.set_position(lines);
    }
}

impl Bars {
    pub(super) fn new(lines_total: Option<u64>) -> Self {
        let bars = MultiProgress::new();
        if !io::stderr().is_terminal() {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        let bar = |name: &'static str, total: Option<u64>| {
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            let template = if total.is_some() {
                "{prefix:>9} {bar:32} {human_pos:>11} of {human_len} ({per_sec})"
            } else {
                "{prefix:>9} {spinner} {human_pos:>11} ({per_sec})"
            };
            // The templates are constants; the default style stands in for one that could not be read.
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bars.add(bar.with_prefix(name))
        };
        Self {
            ingested: bar("read", lines_total),
            sealed: bar("sealed", lines_total),
            archived: bar("archived", lines_total),
        }
    }

    pub(super) fn ingested(&self) -> Ingested {
        Ingested(self.ingested.clone())
    }

    /// Follows the stages for ever.
    pub(super) async fn watch(&self, status: &Arc<Status>) -> Infallible {
        loop {
            self.sealed.set_position(status.reached(StageName::Seal));
            self.archived.set_position(status.reached(StageName::Archive));
            tokio::time::sleep(REFRESH).await;
        }
    }

    pub(super) fn finish(&self) {
        for bar in [&self.ingested, &self.sealed, &self.archived] {
            bar.finish_and_clear();
        }
    }
}

pub(super) fn opening(json: bool, dir: &Path) {
    if !json {
        println!("Ledgerline demo in {}\n", dir.display());
    }
}

