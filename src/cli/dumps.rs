//! Keeps the memory of this process, and the secrets in it, out of core files and away from other processes of the same user.

/// No core file, and no look into this process for anybody but root. What cannot be set is left as it was: neither is a reason not to work.
#[cfg(target_os = "linux")]
pub(super) fn forbid() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    // A kernel that pipes core files to a program asks this, and not the limit.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Other systems keep core files to themselves unless told otherwise.
#[cfg(not(target_os = "linux"))]
pub(super) fn forbid() {}
