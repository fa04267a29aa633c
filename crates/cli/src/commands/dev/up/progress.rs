//! Shows on a terminal what `up` is doing before it is ready.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::view::View;
use crate::output::{DIM, GOOD, Out, STRONG, styled, text};
use crate::words::span;

/// Interval between two frames of the spinner.
const FRAME: std::time::Duration = std::time::Duration::from_millis(100);

/// One step at a time: a spinner while it runs, a line when it is done. Without a terminal it shows nothing.
pub(super) struct Progress {
    view: View,
    out: Out,
}

/// A step that runs.
pub(super) struct Step {
    what: String,
    bar: Option<ProgressBar>,
    out: Out,
    began: Instant,
}

impl Progress {
    pub(super) fn start(view: View, out: Out) -> Self {
        if view == View::Terminal {
            out.print(&text!("{}", styled(STRONG, &format!("imchannel {}", version::FULL))));
        }
        Self { view, out }
    }

    /// Begins a step. It is shown until [`Step::done`], or until it is dropped because it failed.
    pub(super) fn step(&self, what: &str) -> Step {
        let bar = (self.view == View::Terminal).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.set_message(what.to_owned());
            bar.enable_steady_tick(FRAME);
            bar
        });
        Step { what: what.to_owned(), bar, out: self.out, began: Instant::now() }
    }
}

impl Step {
    /// Ends the step well. `result` is what came of it, such as a URL; it must not hold a password.
    pub(super) fn done(mut self, result: &str) {
        let Some(bar) = self.bar.take() else { return };
        bar.finish_and_clear();
        let took = styled(DIM, &format!("({})", span(self.began.elapsed())));
        let space = if result.is_empty() { "" } else { " " };
        self.out.print(&text!("  {} {}{space}{result} {took}", styled(GOOD, "✓"), self.what));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
