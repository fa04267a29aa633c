//! The priority with which the system runs a process.

/// From -20, which goes first, to 19.
const NICE: i32 = 10;

/// Lets other processes go first (`setpriority(2)`, nice 10): while both want the same CPU, this one gets about a tenth of the time of one
/// with the usual priority. To be called before any other thread is started. Between containers it says nothing: there their shares of the CPU do.
pub fn yield_to_others() {
    // A process may always lower its priority. If a sandbox does not permit the call, it runs with the usual one.
    let _ = rustix::process::setpriority_process(None, NICE);
}
