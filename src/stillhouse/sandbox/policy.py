"""Which system calls the code of an answer may make: an allow-list with conditions.

In: what kind of program runs and what the machine's rung already holds; out: a filter program. Why: a list of what
is allowed stays right when the kernel grows new calls.
"""

from __future__ import annotations

import functools

from stillhouse.sandbox.seccomp import EAGAIN, ENOSYS, ENOTTY, EPERM, When, assemble
from stillhouse.sandbox.syscalls import NEW_NAMESPACES, NUMBERS

_FILES = """read write close close_range open openat creat stat fstat lstat newfstatat statx statfs fstatfs access
faccessat faccessat2 lseek readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 sendfile copy_file_range
splice tee dup dup2 dup3 pipe pipe2 flock fsync fdatasync ftruncate fallocate fadvise64 getdents getdents64
getcwd chdir fchdir rename renameat renameat2 mkdir mkdirat rmdir link linkat unlink unlinkat symlink symlinkat
readlink readlinkat umask"""
_METADATA = """truncate chmod fchmod fchmodat fchmodat2 utime utimes utimensat futimesat"""
_WAITING = """poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime signalfd signalfd4 nanosleep clock_nanosleep
clock_gettime clock_getres gettimeofday time times alarm setitimer getitimer timer_create timer_settime
timer_gettime timer_getoverrun timer_delete pause"""
_MEMORY = """mmap munmap mremap mprotect madvise brk msync mincore membarrier rseq futex futex_waitv set_robust_list
get_robust_list set_tid_address arch_prctl"""
_SIGNALS = """rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack
restart_syscall"""
_SELF = """getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups getpgid getpgrp setpgid
getsid setsid capget exit exit_group wait4 waitid pidfd_open getrusage sysinfo uname getcpu getrandom getrlimit
setrlimit getpriority sched_yield sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max
sched_get_priority_min"""
_PAIRS = "sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown getsockopt getsockname getpeername"
_PLAIN = f"{_FILES} {_WAITING} {_MEMORY} {_SIGNALS} {_SELF} {_PAIRS}".split()

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP = 1, 22
# copies, flags, locks, sizes of pipes, seals: not F_SETOWN and F_SETSIG, by which a descriptor signals other processes,
# and not leases and notices, which stop who opens a file
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032, 1033, 1034)
_SELF_ONLY = When(0, values=(0,))
_CONDITIONS = {
    "clone": When(0, without=NEW_NAMESPACES & ~0x80),  # 0x80 is a new time namespace in clone3 only
    "prctl": When(0, values=(15, 16, 0x53564D41, 3, 23)),  # a thread's name, a mapping's name, and two questions
    "ioctl": When(1, values=(0x5401, 0x541B, 0x5421, 0x5450, 0x5451), otherwise=ENOTTY),  # isatty, FIONREAD, flags
    "fcntl": When(1, values=_FCNTL),
    "socketpair": When(0, values=(1,)),  # AF_UNIX: event loops need it, and it reaches nobody else
    "prlimit64": _SELF_ONLY,
    "sched_setaffinity": _SELF_ONLY,
}
_CLONE_THREAD = 0x00010000
_TMPFILE = 0o20000000  # a file without a name, whose size nobody could see


@functools.lru_cache
def answer_filter(*, execute: bool, alone: bool, foreign: bool = False) -> bytes:
    """The filter of an answer. execute: may start programs (a compiled answer, the compiler). alone: no namespace
    holds it, and its cases attach a further filter. foreign: files of the machine may belong to its user, and
    Landlock does not see to modes and times; changing them seems to succeed and does nothing."""
    allowed = [*_PLAIN, "fork", "vfork", "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"]
    allowed += [] if foreign else _METADATA.split()
    allowed += ["execve", "execveat"] if execute else []
    conditions = dict(_CONDITIONS)
    if alone:
        allowed += ["landlock_create_ruleset", "landlock_restrict_self"]
        conditions |= {"openat": When(2, without=_TMPFILE), "open": When(1, without=_TMPFILE)}
        conditions["prctl"] = When(0, values=(*conditions["prctl"].values, _PR_SET_SECCOMP, _PR_SET_PDEATHSIG))
    denied = {"clone3": ENOSYS} | (dict.fromkeys(_METADATA.split(), 0) | {"truncate": EPERM} if foreign else {})
    return assemble(allowed, conditions, denied)


def alone_filter(pid: int) -> bytes:
    """On top of it, where no namespace holds processes: threads only, and signals only to the process itself."""
    itself = When(0, values=(pid,))
    conditions = {
        "kill": When(0, values=(pid, 0)),  # 0: its own process group, of which it is the only member
        "tgkill": itself,
        "rt_sigqueueinfo": itself,
        "rt_tgsigqueueinfo": itself,
        "prctl": When(0, values=_CONDITIONS["prctl"].values),
        "clone": When(0, having=_CLONE_THREAD, otherwise=EAGAIN),
    }
    denied = dict.fromkeys(("landlock_create_ruleset", "landlock_restrict_self", "tkill", "setsid", "setpgid"), EPERM)
    return assemble(None, conditions, denied | {"fork": EAGAIN, "vfork": EAGAIN})


def outer_filter() -> bytes:
    """What bubblewrap puts around everything inside it: no new namespaces, mounts, keys, probes or foreign memory."""
    names = "unshare setns mount umount2 pivot_root mount_setattr"
    denied = {name: EPERM for name in names.split() if name in NUMBERS}
    return assemble(None, {"clone": When(0, without=NEW_NAMESPACES & ~0x80)}, denied | {"clone3": ENOSYS})
