//! What a consumer is doing, on one screen of a terminal; a line now and then where stderr is none.

use std::time::{Duration, Instant};

use generel_pipeline::streaming::{Glance, SharedMetrics};
use indicatif::{ProgressBar, ProgressStyle};

use crate::progress::note;

/// How often the screen is drawn, and how often a line is written.
const SCREEN: Duration = Duration::from_millis(500);
const LINE: Duration = Duration::from_secs(60);

/// A live view.
pub(crate) struct Watch {
    bar: ProgressBar,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    /// Begins.
    pub(crate) fn begin(name: &str, metrics: SharedMetrics, terminal: bool) -> Self {
        let bar = if terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        let (shown, name) = (bar.clone(), name.to_string());
        let task = tokio::spawn(async move {
            let (mut before, mut then) = (metrics.glance(), Instant::now());
            loop {
                tokio::time::sleep(if terminal { SCREEN } else { LINE }).await;
                let (now, seconds) = (metrics.glance(), then.elapsed().as_secs_f64());
                if terminal {
                    shown.set_message(screen(&name, &now, &before, seconds));
                    shown.tick();
                } else if now != before {
                    note(line(&name, &now, &before, seconds));
                }
                (before, then) = (now, Instant::now());
            }
        });
        Self { bar, task }
    }

    /// Ends.
    pub(crate) fn end(self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}

fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    now.saturating_sub(before) as f64 / seconds.max(1e-3)
}

fn remembered(glance: &Glance) -> f64 {
    100.0 * glance.mentions[1] as f64 / (glance.mentions[0] as f64).max(1.0)
}

fn line(name: &str, now: &Glance, before: &Glance, seconds: f64) -> String {
    format!(
        "{name}: {} messages ({:.0}/s), lag {}, {} rows, {} sent, {} dead letters",
        now.messages,
        rate(now.messages, before.messages, seconds),
        now.lag,
        now.rows,
        now.outputs,
        now.dead
    )
}

fn screen(name: &str, now: &Glance, before: &Glance, seconds: f64) -> String {
    format!(
        "{name}   {} partitions, lag {}\n  in    {:>12} messages {:>10.0}/s {:>8.1} MB/s\n  out   {:>12} sent     {:>10.0}/s\n  \
         rows  {:>12} stored   {:>10.0}/s\n  known {:>12} mentions {:>9.1} % answered before\n  dead  {:>12} letters",
        now.partitions,
        now.lag,
        now.messages,
        rate(now.messages, before.messages, seconds),
        rate(now.bytes, before.bytes, seconds) / 1e6,
        now.outputs,
        rate(now.outputs, before.outputs, seconds),
        now.rows,
        rate(now.rows, before.rows, seconds),
        now.mentions[0],
        remembered(now),
        now.dead
    )
}
