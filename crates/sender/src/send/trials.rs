//! The failed calls of one command in this process, and what they show about the command. Pure.
//!
//! A refusal concerns the account until another command is accepted. Then the account works, and this command is
//! refused for a reason that concerns it alone. If the BSP itself has refused it often enough, that is its final
//! verdict. Refusals by others are never a verdict.

use proto::v1::ReportError;
use tokio::time::Instant;

/// Refusals by the BSP, with other commands accepted in between, after which it counts as a final verdict on the
/// command.
const REFUSALS_MAX: u32 = 5;

/// Calls of one command that had no effect, and refusals among them.
#[derive(Debug, Default)]
pub(super) struct Trials {
    last_call: Option<Instant>,
    /// Number of messages accepted through the lane's throttle when this command was last refused.
    accepted_before: Option<u64>,
    is_alone: bool,
    refusals: u32,
    why: Option<String>,
}

impl Trials {
    /// When the last call without effect was made.
    pub(super) fn last_call(&self) -> Option<Instant> {
        self.last_call
    }

    /// Why the last call had no effect, for people.
    pub(super) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Whether other commands were accepted since this one was refused.
    pub(super) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Records a call that had no effect.
    pub(super) fn failed(&mut self, why: String, at: Instant) {
        self.last_call = Some(at);
        self.why = Some(why);
    }

    /// Records a refused call, with the BSP's own error or something else. `accepted` is the number of messages
    /// accepted through the lane's throttle so far, none of them this command. Returns the error if it is the verdict.
    pub(super) fn refused(&mut self, own: Option<ReportError>, accepted: u64) -> Option<ReportError> {
        let were_others_taken = self.accepted_before.is_some_and(|before| before < accepted);
        self.accepted_before = Some(accepted);
        self.is_alone |= were_others_taken;
        let error = own?;
        if self.refusals == 0 || were_others_taken {
            self.refusals += 1;
        }
        (self.refusals >= REFUSALS_MAX).then_some(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bsps_own_refusals_with_others_taken_in_between_are_a_verdict() {
        let own = || Some(ReportError { name: "FORBIDDEN".to_owned(), ..ReportError::default() });
        let mut outage = Trials::default();
        assert!((0..100).all(|_| outage.refused(own(), 7).is_none()) && !outage.is_alone());
        let mut elsewhere = Trials::default();
        assert!((0..100).all(|accepted| elsewhere.refused(None, accepted).is_none()) && elsewhere.is_alone());
        let mut refused = Trials::default();
        assert!((0..4).all(|accepted| refused.refused(own(), accepted).is_none()) && refused.is_alone());
        // No other command was accepted in between.
        assert_eq!(refused.refused(own(), 3), None);
        assert_eq!(refused.refused(own(), 4), own());
    }
}
