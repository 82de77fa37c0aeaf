//! Progress bars on a terminal, quiet lines otherwise. Everything goes to stderr.

use std::sync::Arc;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// One step that a person waits for.
pub(crate) struct Step {
    bar: ProgressBar,
    name: String,
    started: Instant,
}

impl Step {
    /// Begins a step; hidden where stderr is no terminal.
    pub(crate) fn begin(name: impl Into<String>) -> Self {
        let name = name.into();
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_prefix(name.clone());
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Self { bar, name, started: Instant::now() }
    }

    /// A callback for stages that count rows.
    pub(crate) fn rows(&self) -> Arc<dyn Fn(u64) + Send + Sync> {
        let bar = self.bar.clone();
        Arc::new(move |rows| bar.set_message(format!("{rows} rows")))
    }

    /// A callback for stages that know how much there is to do.
    pub(crate) fn texts(&self) -> impl Fn(u64, u64) + Send + Sync + use<> {
        let (bar, started) = (self.bar.clone(), Instant::now());
        move |done, total| {
            let rate = done as f64 / started.elapsed().as_secs_f64().max(1e-3);
            let left = (total - done) as f64 / rate.max(1e-3);
            bar.set_message(format!("embedding {done} of {total} names, {rate:.0}/s, {left:.0} s left"));
        }
    }

    /// Ends the step without a line.
    pub(crate) fn clear(self) {
        self.bar.finish_and_clear();
    }

    /// Ends the step with a line on what it did.
    pub(crate) fn end(self, what: impl std::fmt::Display) {
        self.bar.finish_and_clear();
        note(format_args!("{}: {what} ({:.1} s)", self.name, self.started.elapsed().as_secs_f64()));
    }
}

/// A line for a person.
pub(crate) fn note(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}
