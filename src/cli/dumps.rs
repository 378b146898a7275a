//! Keeps the memory of this process, and the secrets in it, out of core files and away from other
//! processes of the same user.

/// Forbids core files, and lets only root look into this process. If that fails, the program runs
/// all the same.
#[cfg(target_os = "linux")]
pub(super) fn forbid() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    // A kernel that pipes core files to a program checks this flag, not the limit.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Other systems write no core files unless configured to.
#[cfg(not(target_os = "linux"))]
pub(super) fn forbid() {}
