//! A memory barrier in other processes. Layer: transport/sys; no thread owns it.
//!
//! Whoever goes to sleep on a shared ring pays for the ordering between "I sleep" and "something
//! was written", so that the writer does not have to with every message.
#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "membarrier has no safe wrapper"))]

/// Lets other processes run barriers in this one. False when the system cannot.
#[cfg(target_os = "linux")]
pub(crate) fn accept_barriers() -> bool {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)
}

/// Runs a full memory barrier on every processor that runs a process that accepts barriers. Costs
/// microseconds. False when the system cannot.
#[cfg(target_os = "linux")]
pub(crate) fn barrier_in_all_processes() -> bool {
    membarrier(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

#[cfg(target_os = "linux")]
fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes no pointers.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Lets other processes run barriers in this one. This system has none.
#[cfg(not(target_os = "linux"))]
pub(crate) fn accept_barriers() -> bool {
    false
}

/// Runs a barrier in other processes. This system has none.
#[cfg(not(target_os = "linux"))]
pub(crate) fn barrier_in_all_processes() -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn barriers_run_once_they_are_accepted() {
        assert!(super::accept_barriers());
        assert!(super::barrier_in_all_processes());
    }
}
