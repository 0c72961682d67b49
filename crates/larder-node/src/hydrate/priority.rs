//! Idle priority for the thread that reads.
//!
//! The kernel takes a thread's class of I/O from its scheduling policy where nobody has set one: `SCHED_IDLE` reads only when
//! the disk has nothing else to do, as `ionice -c 3` would have it (`ioprio_set(2)`, `sched(7)`). Schedulers that know no classes,
//! such as `none`, do not care: a rate is for those.

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

use super::HydrateError;

/// Makes this thread idle, for good.
pub(super) fn lower() -> Result<(), HydrateError> {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle)
        .map_err(|error| HydrateError::Priority(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_becomes_idle_and_no_other_does() {
        let policy = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // Fields are counted behind the name in brackets, which may hold blanks: the policy is the 41st of all.
            let fields: Vec<_> =
                stat.rsplit_once(')').unwrap().1.split_whitespace().map(str::to_owned).collect();
            fields[41 - 3].clone()
        };
        let lowered = std::thread::spawn(move || {
            lower().unwrap();
            policy()
        });
        // SCHED_IDLE and SCHED_OTHER of sched(7).
        assert_eq!((lowered.join().unwrap().as_str(), policy().as_str()), ("5", "0"));
    }
}
