//! Which system calls a process may make. A compile worker, by a list of what it needs, found by watching
//! it, and what a library may try that can do without; anything else ends it. The node, all but a list
//! of what no server needs.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

/// What any computing needs: memory, time, randomness, signals of its own, an end.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
];

/// What a library asks for on its way, and goes on without.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_fstat,
    libc::SYS_ioctl,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_prlimit64,
    libc::SYS_readlinkat,
    libc::SYS_sched_getaffinity,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// What no server needs, and holes in kernels were found by.
const DENIED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    libc::SYS_vmsplice,
];

const STDIN: u64 = 0;
const STDOUT: u64 = 1;
const STDERR: u64 = 2;

/// Bounds what this thread, and those that it starts, can ask of the kernel.
pub(super) fn only_what_compiling_needs() -> Result<(), seccompiler::Error> {
    // Of two filters the stricter decides. The second can be added under the first, not the other way.
    let (refusing, allowing) = (refusing(REFUSED, libc::EACCES)?, allowing()?);
    apply_filter(&refusing)?;
    apply_filter(&allowing)
}

/// Takes the calls that no server needs from this thread and from those that it starts.
pub(super) fn none_that_no_server_needs() -> Result<(), seccompiler::Error> {
    apply_filter(&refusing(DENIED, libc::EPERM)?)
}

fn refusing(calls: &[libc::c_long], with: libc::c_int) -> Result<BpfProgram, BackendError> {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(with.unsigned_abs());
    program(rules, SeccompAction::Allow, refuse)
}

fn allowing() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<_, _> = [ALLOWED, REFUSED]
        .concat()
        .into_iter()
        .map(|call| (call, Vec::new()))
        .collect();
    // What else the node left open by mistake is out of reach.
    let to_outputs = || Ok(vec![only(&[is(0, STDOUT)])?, only(&[is(0, STDERR)])?]);
    rules.insert(libc::SYS_read, vec![only(&[is(0, STDIN)])?]);
    rules.insert(libc::SYS_write, to_outputs()?);
    rules.insert(libc::SYS_writev, to_outputs()?);
    // Machine code is made here, and never run.
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    let data = || Ok(vec![only(&[(2, SeccompCmpOp::MaskedEq(executable), 0)])?]);
    rules.insert(libc::SYS_mmap, data()?);
    rules.insert(libc::SYS_mprotect, data()?);
    // How a process ends itself that cannot go on: by a signal to itself.
    let (itself, abort) = (std::process::id(), libc::SIGABRT.unsigned_abs());
    let aborting = only(&[is(0, itself.into()), is(2, abort.into())])?;
    rules.insert(libc::SYS_tgkill, vec![aborting]);
    program(rules, SeccompAction::KillProcess, SeccompAction::Allow)
}

type Condition = (u8, SeccompCmpOp, u64);

fn is(argument: u8, value: u64) -> Condition {
    (argument, SeccompCmpOp::Eq, value)
}

/// Holds where all of the conditions do. The kernel reads each of these arguments as 32 bits.
fn only(conditions: &[Condition]) -> Result<SeccompRule, BackendError> {
    let conditions = conditions.iter().map(|(argument, operation, value)| {
        SeccompCondition::new(
            *argument,
            SeccompCmpArgLen::Dword,
            operation.clone(),
            *value,
        )
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

fn program(
    rules: BTreeMap<libc::c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    action: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let machine = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, otherwise, action, machine)?.try_into()
}
