//! The steps of the model. Each names the function of the sender that it stands for, or the fault that it is.

use std::fmt;

/// A command of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct At {
    /// Number of the replica, from zero.
    pub replica: u8,
    /// Number of the command, from zero.
    pub command: u8,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replica {}, command {}", self.replica + 1, self.command + 1)
    }
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Two seconds pass.
    Tick,
    /// A day passes in which a replica does nothing: the ledger drops its entry, and every lease ends.
    Day,
    /// A replica acquires the free or expired lease of the lane ([`bus::lease::Leases::acquire`],
    /// [`bus::lease::LeaseView::is_free`]). Its former owner trusts it no more ([`bus::lease::RENEW_DEADLINE`]). The model takes any
    /// time for enough, because nothing but order and rate may depend on leases.
    TakeOver(u8),
    /// Fault: a replica acquires the lane whose lease the server has lost, and its former owner trusts it still.
    TakeOverLost(u8),
    /// A closed lane gives a command back ([`sender::protocol::Completion::Released`]).
    Release(At),
    /// Fault: a process is killed.
    Crash(u8),
    /// Fault: a machine is suspended.
    Suspend(u8),
    /// It goes on.
    Resume(u8),
    /// The stream delivers a command to the owner of the lane ([`sender::protocol::at_delivery`]). Fault if another replica still
    /// works on it.
    Deliver(At),
    /// The ledger entry is read ([`sender::protocol::after_read`]).
    Read(At),
    /// An attempt begins if it may ([`sender::protocol::check_attempt`], [`sender::protocol::LedgerView::deadline_passed`]).
    Begin(At),
    /// Fault: the command cannot be sent, for example because its file does not exist
    /// ([`sender::protocol::LedgerView::fail_before_call`]).
    Unsendable(At),
    /// The intent of a call is made ([`sender::protocol::LedgerView::intent`]).
    Intend(At),
    /// A write reaches the ledger, and its acknowledgement or conflict arrives ([`bus::Bus::ledger_write`]). The lease was checked right
    /// before ([`sender::protocol::Writer::may_write`]).
    Write(At),
    /// Fault: a write reaches the ledger, and its acknowledgement does not arrive.
    WriteUnacked(At),
    /// Fault: a write is received by the server and not applied yet.
    WriteDelayed(At),
    /// The entry is read back ([`sender::protocol::read_back`]).
    ReadBack(At),
    /// A write that is not in the ledger is repeated.
    WriteAgain(At),
    /// The process gives up the write, because it takes too long or the lane may be lost, and reads the ledger later.
    GiveUp(At),
    /// The last check before the call ([`sender::protocol::must_read_back`], [`sender::protocol::may_call`]).
    Check(At),
    /// The request is written if its timeout has not passed ([`sender::protocol::Moment::has_come_at`]).
    Request(At),
    /// Fault: the connection of the call fails before a byte is written ([`sender::protocol::LedgerView::unsent`]).
    NotConnected(At),
    /// The call ends at its timeout.
    TimedOut(At),
    /// Fault: the connection is lost before the response comes.
    ConnectionLost(At),
    /// The message log is queried ([`sender::protocol::due`], [`sender::protocol::after_queries`],
    /// [`sender::protocol::after_last_query`]).
    Query(At),
    /// Fault: a query of the message log fails.
    QueryFailed(At),
    /// The entry with the outcome is made ([`sender::protocol::LedgerView::decided`],
    /// [`sender::protocol::LedgerView::outcome_writer`]).
    Decide(At),
    /// The result is stored; for an id that was used before the dead letter too.
    Publish(At),
    /// The command is acknowledged ([`sender::protocol::Completion::is_acknowledged`]).
    Acknowledge(At),
    /// Fault: the acknowledgement does not arrive.
    AckLost(At),
    /// The check of expired commands finds one that was never delivered.
    FindExpired(At),
    /// It writes the entry of the command if it owns the lane, or finds the result that an earlier check owes
    /// ([`sender::protocol::owed_result`]).
    Expire(At),
    /// Fault: the same, and the acknowledgement of the write does not arrive.
    ExpireUnacked(At),
    /// It stores the result.
    ExpirePublish(u8),
    /// It marks the entry as answered ([`sender::protocol::Record::answered`]).
    ExpireMark(u8),
    /// The eraser asks the owner of the lane about a command: its entry is read and judged
    /// ([`sender::protocol::ErasedCommand::judge`]). It comes from outside, so a command must be able to end without it.
    AskToErase(At),
    /// The process drops that a command is to be answered: the eraser did not ask for a while.
    StopAsking(At),
    /// A command whose customer is erased, and that was never delivered, is to be answered like one that expires. The steps after it
    /// are those of [`Self::Expire`] ([`sender::protocol::customer_erased`], [`sender::protocol::owed_result`]).
    FindErased(At),
    /// An attempt of such a command ends before its call ([`sender::protocol::LedgerView::fail_before_call`],
    /// [`sender::protocol::customer_erased`]).
    RefuseErased(At),
    /// Result and context are removed from an entry ([`sender::protocol::Record::answered`]), over its unchanged revision. The lease was
    /// checked right before ([`sender::protocol::Writer::may_write`]).
    Blank(u8),
    /// The server applies a delayed write.
    ApplyDelayed,
    /// The server drops a delayed write.
    DropDelayed,
    /// The BSP accepts the message of a request ([`sender::protocol::LedgerView::after_answer`]).
    Accept(At),
    /// Fault: the BSP accepts it, and its response does not arrive.
    AcceptUnanswered(At),
    /// Fault: the BSP rejects it.
    Reject(At),
    /// Fault: the BSP rejects it, and its response does not arrive.
    RejectUnanswered(At),
    /// Fault: the BSP answers 429 ([`sender::protocol::LedgerView::unsent`]).
    Limit(At),
    /// The BSP rejects the id because it has accepted it before.
    RejectUsedId(At),
    /// The message log shows the accepted message.
    Show,
    /// The BSP posts a report about the accepted message.
    Report,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replica = |replica: &u8| format!("replica {}", replica + 1);
        match self {
            Self::Tick => f.write_str("2 s pass"),
            Self::Day => f.write_str("a day passes; the ledger drops its entry, and the lease ends"),
            Self::TakeOver(one) => write!(f, "{} acquires the lane", replica(one)),
            Self::TakeOverLost(one) => {
                write!(f, "{} acquires the lane, whose lease the server has lost", replica(one))
            }
            Self::Release(at) => write!(f, "{at}: its lane is closed, it gives the command back"),
            Self::Crash(one) => write!(f, "{} is killed", replica(one)),
            Self::Suspend(one) => write!(f, "{}: its machine is suspended", replica(one)),
            Self::Resume(one) => write!(f, "{}: its machine goes on", replica(one)),
            Self::Deliver(at) => write!(f, "{at}: it is delivered"),
            Self::Read(at) => write!(f, "{at}: reads the ledger entry"),
            Self::Begin(at) => write!(f, "{at}: begins an attempt if deadline and lease allow it"),
            Self::Unsendable(at) => write!(f, "{at}: finds that it cannot be sent"),
            Self::Intend(at) => write!(f, "{at}: makes the intent of a call"),
            Self::Write(at) => write!(f, "{at}: writes the ledger and gets the answer"),
            Self::WriteUnacked(at) => write!(f, "{at}: writes the ledger, the acknowledgement is lost"),
            Self::WriteDelayed(at) => write!(f, "{at}: writes the ledger, the server does not apply it yet"),
            Self::ReadBack(at) => write!(f, "{at}: reads the entry back"),
            Self::WriteAgain(at) => write!(f, "{at}: writes the entry again"),
            Self::GiveUp(at) => write!(f, "{at}: gives up the write"),
            Self::Check(at) => write!(f, "{at}: checks age of the intent and lease"),
            Self::Request(at) => write!(f, "{at}: writes the request if its timeout has not passed"),
            Self::NotConnected(at) => write!(f, "{at}: cannot connect to the BSP"),
            Self::TimedOut(at) => write!(f, "{at}: its call times out"),
            Self::ConnectionLost(at) => write!(f, "{at}: loses the connection of its call"),
            Self::Query(at) => write!(f, "{at}: queries the message log"),
            Self::QueryFailed(at) => write!(f, "{at}: queries the message log without an answer"),
            Self::Decide(at) => write!(f, "{at}: decides"),
            Self::Publish(at) => write!(f, "{at}: stores the result"),
            Self::Acknowledge(at) => write!(f, "{at}: acknowledges the command"),
            Self::AckLost(at) => write!(f, "{at}: acknowledges the command, which does not arrive"),
            Self::FindExpired(at) => write!(f, "{at}: its check of expired commands finds it"),
            Self::Expire(at) => write!(f, "{at}: its check of expired commands writes the ledger"),
            Self::ExpireUnacked(at) => {
                write!(
                    f,
                    "{at}: its check of expired commands writes the ledger, the acknowledgement is lost"
                )
            }
            Self::ExpirePublish(one) => {
                write!(f, "{}: its check of expired commands stores the result", replica(one))
            }
            Self::ExpireMark(one) => {
                write!(f, "{}: its check of expired commands marks the entry as answered", replica(one))
            }
            Self::AskToErase(at) => write!(f, "{at}: the eraser asks, the ledger entry is read and judged"),
            Self::StopAsking(at) => write!(f, "{at}: the eraser asks no more"),
            Self::FindErased(at) => {
                write!(f, "{at}: is to be answered in the stream, its customer is erased")
            }
            Self::RefuseErased(at) => write!(f, "{at}: ends its attempt, its customer is erased"),
            Self::Blank(one) => write!(f, "{}: removes result and context from the entry", replica(one)),
            Self::ApplyDelayed => f.write_str("the server of the ledger applies the delayed write"),
            Self::DropDelayed => f.write_str("the server of the ledger drops the delayed write"),
            Self::Accept(at) => write!(f, "BSP: accepts the message of {at}"),
            Self::AcceptUnanswered(at) => write!(f, "BSP: accepts the message of {at}, its response is lost"),
            Self::Reject(at) => write!(f, "BSP: rejects the message of {at}"),
            Self::RejectUnanswered(at) => write!(f, "BSP: rejects the message of {at}, its response is lost"),
            Self::Limit(at) => write!(f, "BSP: answers 429 to {at}"),
            Self::RejectUsedId(at) => write!(f, "BSP: rejects the used id of the message of {at}"),
            Self::Show => f.write_str("BSP: its message log shows the message"),
            Self::Report => f.write_str("BSP: posts a report about the message"),
        }
    }
}
