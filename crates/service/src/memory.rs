//! The size of the memory pages of a process.

/// Switches off transparent huge pages (Linux, `prctl(2)`, `PR_SET_THP_DISABLE`). The allocator asks for them, and
/// each thread then holds whole pages of 2 MiB of which it uses little: media takes 24 MiB with them and 12 MiB
/// without before its first request. They made no measured difference to what a service does a second.
pub fn use_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
