"""Raw Linux system calls through ctypes: namespaces, mounts, capabilities, prctl, with errno as OSError.

In: numbers and paths; out: nothing, or a file descriptor. Why: the standard library offers few of these, and the
forkserver must stay a small process of the standard library alone. Numbers for x86_64 and aarch64.
"""

from __future__ import annotations

import ctypes
import fcntl
import os

_NUMBERS = """
read:0:63 write:1:64 close:3:57 close_range:436:436 open:2:- openat:257:56 openat2:437:437 creat:85:- stat:4:-
fstat:5:80 lstat:6:- newfstatat:262:79 statx:332:291 statfs:137:43 fstatfs:138:44 access:21:- faccessat:269:48
faccessat2:439:439 lseek:8:62 readv:19:65 writev:20:66 pread64:17:67 pwrite64:18:68 preadv:295:69
pwritev:296:70 preadv2:327:286 pwritev2:328:287 sendfile:40:71 copy_file_range:326:285 splice:275:76
tee:276:77 dup:32:23 dup2:33:- dup3:292:24 pipe:22:- pipe2:293:59 fcntl:72:25 flock:73:32 fsync:74:82
fdatasync:75:83 ftruncate:77:46 truncate:76:45 fallocate:285:47 fadvise64:221:223 getdents:78:-
getdents64:217:61 getcwd:79:17 chdir:80:49 fchdir:81:50 rename:82:- renameat:264:38 renameat2:316:276
mkdir:83:- mkdirat:258:34 rmdir:84:- link:86:- linkat:265:37 unlink:87:- unlinkat:263:35 symlink:88:-
symlinkat:266:36 readlink:89:- readlinkat:267:78 chmod:90:- fchmod:91:52 fchmodat:268:53 fchmodat2:452:452
utime:132:- utimes:235:- utimensat:280:88 futimesat:261:- umask:95:166 poll:7:- ppoll:271:73 select:23:-
pselect6:270:72 epoll_create:213:- epoll_create1:291:20 epoll_ctl:233:21 epoll_wait:232:- epoll_pwait:281:22
epoll_pwait2:441:441 eventfd:284:- eventfd2:290:19 timerfd_create:283:85 timerfd_settime:286:86
timerfd_gettime:287:87 signalfd:282:- signalfd4:289:74 mmap:9:222 munmap:11:215 mremap:25:216 mprotect:10:226
madvise:28:233 brk:12:214 msync:26:227 mincore:27:232 membarrier:324:283 rseq:334:293 futex:202:98
futex_waitv:449:449 set_robust_list:273:99 get_robust_list:274:100 set_tid_address:218:96 arch_prctl:158:-
rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139 rt_sigpending:127:136 rt_sigtimedwait:128:137
rt_sigsuspend:130:133 sigaltstack:131:132 restart_syscall:219:128 nanosleep:35:101 clock_nanosleep:230:115
clock_gettime:228:113 clock_getres:229:114 gettimeofday:96:169 time:201:- times:100:153 alarm:37:-
setitimer:38:103 getitimer:36:102 timer_create:222:107 timer_settime:223:110 timer_gettime:224:108
timer_getoverrun:225:109 timer_delete:226:111 pause:34:- getpid:39:172 getppid:110:173 gettid:186:178
getuid:102:174 geteuid:107:175 getgid:104:176 getegid:108:177 getresuid:118:148 getresgid:120:150
getgroups:115:158 getpgid:121:155 getpgrp:111:- setpgid:109:154 getsid:124:156 setsid:112:157 exit:60:93
exit_group:231:94 wait4:61:260 waitid:247:95 pidfd_open:434:434 getrusage:98:165 sysinfo:99:179 uname:63:160
getcpu:309:168 getrandom:318:278 getrlimit:97:163 setrlimit:160:164 prlimit64:302:261 getpriority:140:141
setpriority:141:140 sched_yield:24:124 sched_getaffinity:204:123 sched_setaffinity:203:122
sched_getparam:143:121 sched_getscheduler:145:120 sched_get_priority_max:146:125
sched_get_priority_min:147:126 clone:56:220 fork:57:- vfork:58:- clone3:435:435 execve:59:221 execveat:322:281
kill:62:129 tkill:200:130 tgkill:234:131 rt_sigqueueinfo:129:138 rt_tgsigqueueinfo:297:240
pidfd_send_signal:424:424 socketpair:53:199 socket:41:198 sendto:44:206 recvfrom:45:207 sendmsg:46:211
recvmsg:47:212 sendmmsg:307:269 recvmmsg:299:243 shutdown:48:210 getsockopt:55:209 setsockopt:54:208
getsockname:51:204 getpeername:52:205 prctl:157:167 ioctl:16:29 memfd_create:319:279
landlock_create_ruleset:444:444 landlock_add_rule:445:445 landlock_restrict_self:446:446 seccomp:317:277
mount:165:40 umount2:166:39 pivot_root:155:41 mount_setattr:442:442 unshare:272:97 setns:308:268 capset:126:91
capget:125:90
"""  # name:x86_64:aarch64, from the kernel's own headers; "-" where a machine has no such call

MACHINE = os.uname().machine
_COLUMN = {"x86_64": 1, "aarch64": 2}.get(MACHINE)
NUMBERS: dict[str, int] = {}  # of this machine; empty on a machine that the sandbox does not know
for _entry in _NUMBERS.split():
    _fields = _entry.split(":")
    if _COLUMN and _fields[_COLUMN] != "-":
        NUMBERS[_fields[0]] = int(_fields[_COLUMN])

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWTIME = 0x10000000, 0x20000000, 0x40000000, 0x00000080
NEW_NAMESPACES = (
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET
) | CLONE_NEWTIME

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
MS_REC, MS_PRIVATE, MNT_DETACH = 16384, 1 << 18, 2
MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_EXEC = 1, 2, 16

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def call(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make a system call by name. Integers go as 64 bits. Raises OSError with the call's name."""
    number = NUMBERS.get(name)
    if number is None:
        raise OSError(38, f"no system call {name} on {MACHINE}")
    converted = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = int(_syscall(ctypes.c_long(number), *converted))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def unshare(flags: int) -> None:
    call("unshare", flags)


def setns(descriptor: int, kind: int) -> None:
    call("setns", descriptor, kind)


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    call("mount", source.encode(), target.encode(), kind.encode() if kind else None, flags, data.encode() or None)


def bind_read_only(source: str, target: str) -> None:
    """Bind a file or a whole tree, read-only, without set-uid programs; kernel 5.12 or newer."""
    mount(source, target, None, MS_BIND | MS_REC)
    # struct mount_attr: attr_set, attr_clr, propagation, userns_fd. 1 = read-only, 2 = nosuid
    attributes = ctypes.create_string_buffer((3).to_bytes(8, "little") + bytes(24), 32)
    at_fdcwd, at_recursive = -100, 0x8000
    call("mount_setattr", at_fdcwd, target.encode(), at_recursive, attributes, 32)


def change_root(folder: str) -> None:
    """Make folder, a mount point, the root and detach the old root."""
    os.chdir(folder)
    call("pivot_root", b".", b".")
    call("umount2", b".", MNT_DETACH)
    os.chdir("/")


def prctl(option: int, *arguments: int) -> int:
    return call("prctl", option, *(arguments + (0,) * (4 - len(arguments))))


PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER = 1, 4, 38, 24, 36


def forbid_capabilities() -> None:
    """Empty the bounding set, where that is allowed; do it before the user changes."""
    for number in range(64):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError:  # EPERM without CAP_SETPCAP: no_new_privs still keeps them from coming back; EINVAL: the last
            break


def drop_capabilities() -> None:
    """Empty every set of this process."""
    header = ctypes.create_string_buffer((0x20080522).to_bytes(4, "little") + bytes(4), 8)
    call("capset", header, ctypes.create_string_buffer(24))


def memory_file(name: str, data: bytes, *, executable: bool = False) -> int:
    """A sealed file in memory that nobody can change or grow, at offset 0."""
    flags = MFD_CLOEXEC | MFD_ALLOW_SEALING
    try:
        descriptor = os.memfd_create(name, flags | (MFD_EXEC if executable else 0))
    except OSError:  # MFD_EXEC is unknown before 6.3, where every such file is executable
        descriptor = os.memfd_create(name, flags)
    with open(descriptor, "wb", closefd=False, buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) or 0 :]
    fcntl.fcntl(descriptor, 1033, 0xF)  # F_ADD_SEALS: seal, shrink, grow, write
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
