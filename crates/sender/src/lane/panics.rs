//! Work that panics ends the attempt of one command, and not the lane. After the last attempt the command is given up.

use std::panic::AssertUnwindSafe;

use bus::worker::PANICS_MAX;
use futures_util::FutureExt;

use crate::context::Completion;

/// Does the work on a command at its `attempt`th delivery. If it panics, the server redelivers the command. At the
/// [`PANICS_MAX`]th delivery or later, `give_up` decides how it ends. `count` is called for each panic.
pub(crate) async fn survived<W, G>(
    attempt: u64,
    count: impl Fn(),
    work: W,
    give_up: impl FnOnce() -> G,
) -> Completion
where
    W: Future<Output = Completion>,
    G: Future<Output = Completion>,
{
    if let Ok(ending) = AssertUnwindSafe(work).catch_unwind().await {
        return ending;
    }
    count();
    if attempt < PANICS_MAX {
        return Completion::Failed;
    }
    // On the heap, because it is rare and the future of every command would have room for it.
    let giving_up = Box::pin(AssertUnwindSafe(async { give_up().await }).catch_unwind());
    giving_up.await.unwrap_or_else(|_| {
        count();
        Completion::Failed
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn panics() -> Completion {
        panic!("on purpose")
    }

    #[tokio::test]
    async fn a_command_whose_work_panics_is_given_up_at_its_last_turn() {
        let panicked = Cell::new(0);
        let count = || panicked.set(panicked.get() + 1);
        let settled = || async { Completion::Done };
        assert_eq!(survived(1, count, settled(), panics).await, Completion::Done);
        assert_eq!(panicked.get(), 0);
        for attempt in 1..PANICS_MAX {
            assert_eq!(survived(attempt, count, panics(), settled).await, Completion::Failed, "{attempt}");
        }
        assert_eq!(panicked.get(), PANICS_MAX - 1);
        assert_eq!(survived(PANICS_MAX, count, panics(), settled).await, Completion::Done);
        assert_eq!(survived(PANICS_MAX, count, panics(), panics).await, Completion::Failed);
    }
}
