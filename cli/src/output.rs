//! What people and scripts see: text or JSON on standard output, progress on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::failure::{OrFail as _, Outcome};

/// The option that every command has.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Format {
    /// Answer with one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

impl Format {
    /// Writes `value` as JSON, or the text that `text` makes of it.
    pub fn show<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Outcome {
        let out = if self.json {
            serde_json::to_string(value).or_broken("cannot write JSON")?
        } else {
            text(value).trim_end().to_owned()
        };
        line(&out);
        Ok(())
    }

    /// Says something to a person; with `--json` nothing but the answer is written.
    pub fn say(self, text: impl AsRef<str>) {
        if !self.json {
            line(text.as_ref());
        }
    }
}

/// Writes one line to standard output. A reader that went away is no error.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Progress of long work. Shown only when standard error is a terminal.
#[derive(Clone)]
pub struct Progress(MultiProgress);

impl Progress {
    /// Progress for this process.
    pub fn new() -> Self {
        let bars = MultiProgress::new();
        if !std::io::stderr().is_terminal() {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self(bars)
    }

    /// Work of unknown length.
    pub fn spinner(&self, label: impl Into<String>) -> ProgressBar {
        let bar = self.0.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:14} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_prefix(label.into());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    /// Work of `length` steps.
    pub fn steps(&self, label: impl Into<String>, length: u64) -> ProgressBar {
        let bar = self.0.add(ProgressBar::new(length));
        if let Ok(style) =
            ProgressStyle::with_template("  {prefix:14} [{bar:24}] {pos}/{len} {msg} {elapsed}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(label.into());
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }
}
