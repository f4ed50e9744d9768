"""The attacks, as programs that say `ESCAPED` when they get what they want and `held` with the error when not.

In: nothing; out: ATTACKS (run as programs) and CHEATS (answers that try to pass without solving). They are run only
by attacks.py, inside a private namespace.
"""

from __future__ import annotations

from typing import NamedTuple

PRELUDE = """
import ctypes, errno, os, signal, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def held(what, error):
    print("held", what, errno.errorcode.get(getattr(error, "errno", None) or 0, type(error).__name__), flush=True)

def attempt(what, action, *arguments):
    try:
        result = action(*arguments)
    except BaseException as error:
        held(what, error)
        return None
    print("ESCAPED", what, repr(result)[:80], flush=True)
    return result

def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), "call")
    return result
"""


class Attack(NamedTuple):
    """program: Python (with PRELUDE) or C++. limits: which limits may end it; none: it must say `held` itself, or end
    with an error. alone: on rung 3 its processes are never made. quick: needs no long time limit."""

    name: str
    program: str
    language: str = "python"
    limits: tuple[str, ...] = ()


def _cpp(name: str, program: str, *limits: str) -> Attack:
    return Attack(name, program, "cpp", limits)


_NUMBERS = {  # x86_64 calls that an allow-list must not let through, with arguments that would do something
    "unshare(NEWUSER)": (272, 0x10000000), "unshare(NEWNS)": (272, 0x20000), "setns": (308, 0, 0), "ptrace(TRACEME)": (101, 0, 0, 0, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0), "process_vm_writev": (311, 1, 0, 0, 0, 0, 0), "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0), "keyctl": (250, 0, -3, 1, 0, 0), "add_key": (248, 0, 0, 0, 0, 0), "io_uring_setup": (425, 1, 0),
    "userfaultfd": (323, 0), "open_by_handle_at": (304, 0, 0, 0), "name_to_handle_at": (303, 0, 0, 0, 0, 0), "mount": (165, 0, 0, 0, 0, 0),
    "umount2": (166, 0, 2), "pivot_root": (155, 0, 0), "chroot": (161, 0), "init_module": (175, 0, 0, 0), "finit_module": (313, 0, 0, 0),
    "kexec_load": (246, 0, 0, 0, 0), "reboot": (169, 0, 0, 0, 0), "swapon": (167, 0, 0), "acct": (163, 0), "syslog": (103, 2, 0, 0),
    "sethostname": (170, 0, 0), "settimeofday": (164, 0, 0), "clock_settime": (227, 0, 0), "adjtimex": (159, 0), "iopl": (172, 3),
    "ioperm": (173, 0, 1, 1), "personality": (135, 0x0040000), "memfd_create": (319, 0, 0), "memfd_secret": (447, 0), "shmget": (29, 0, 4096, 0o1600),
    "semget": (64, 0, 1, 0o1600), "msgget": (68, 0, 0o1600), "mq_open": (240, 0, 0o102, 0o600, 0), "quotactl": (179, 0, 0, 0, 0),
    "pidfd_getfd": (438, 0, 0, 0), "process_madvise": (440, 0, 0, 0, 0, 0), "seccomp(NOTIFY)": (317, 1, 8, 0), "landlock_create": (444, 0, 0, 1),
    "fanotify_init": (300, 0, 0), "inotify_init1": (294, 0), "mlockall": (151, 1), "vhangup": (153,), "lookup_dcookie": (212, 0, 0, 0),
    "move_pages": (279, 0, 0, 0, 0, 0, 0), "mknod": (133, 0, 0o020666, 259), "setuid(0)": (105, 0), "setgid(0)": (106, 0), "capset": (126, 0, 0),
    "socket(NETLINK)": (41, 16, 3, 0), "socket(PACKET)": (41, 17, 3, 0), "socket(VSOCK)": (41, 40, 1, 0), "socketpair(INET)": (53, 2, 1, 0, 0),
    "clone(NEWUSER)": (56, 0x10000011, 0, 0, 0, 0), "clone(NEWNET|NEWPID)": (56, 0x60000011, 0, 0, 0, 0), "clone3": (435, 0, 88),
    "sched_setscheduler(FIFO)": (144, 0, 1, 0), "prlimit(1)": (302, 1, 7, 0, 0), "setpriority(all)": (141, 2, 0, 19), "kcmp": (312, 1, 1, 0, 0, 0),
    "fsopen": (430, 0, 0), "move_mount": (429, 0, 0, 0, 0, 0), "open_tree": (428, -100, 0, 1), "mount_setattr": (442, -100, 0, 0, 0, 0),
    "x32 getpid": (0x40000000 + 39,),
}  # fmt: skip
_CALLS = f"""
calls = {_NUMBERS!r}
for what, (number, *arguments) in calls.items():
    pid = -1 if number > 1 << 29 else 0
    if pid == -1:
        continue
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
    if result == 0 and number == 56:
        os._exit(0)
    if result >= 0:
        print("ESCAPED", what, result, flush=True)
    elif ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS, errno.EACCES, errno.EAGAIN):
        print("ESCAPED", what, "reached the kernel:", errno.errorcode[ctypes.get_errno()], flush=True)
print("held", len(calls), "EPERM")
"""

ATTACKS = [
    # files
    Attack("read a secret of the machine", "attempt('secret', lambda: open('/tmp/private/secret').read())"),
    Attack("read passwords and keys", """
for path in ("/etc/passwd", "/etc/shadow", "/root/.bashrc", "/etc/hostname", "/var/log/syslog", "/home"):
    attempt(path, lambda: open(path).read())
"""),
    Attack("list the machine's folders", """
for path in ("/proc", "/sys", "/home", "/root", "/var", "/etc/ssl", "/run"):
    attempt(path, os.listdir, path)
"""),
    Attack("read what /proc tells", """
for path in ("/proc/self/environ", "/proc/1/environ", "/proc/1/cmdline", "/proc/self/mem", "/proc/self/maps", "/proc/kcore", "/proc/self/root/etc/passwd",
             "/proc/1/fd/0", f"/proc/{os.getppid()}/mem", "/proc/sys/kernel/hostname"):
    attempt(path, lambda: open(path, "rb").read(10))
"""),
    Attack("find secrets in the environment", """
found = [name for name in os.environ if "SECRET" in name or "KEY" in name or "TOKEN" in name]
print("ESCAPED" if found else "held", "environment", found or "ENOENT")
"""),
    Attack("write outside its folder", """
for path in ("/tmp/../etc/pwned", "/usr/lib/pwned", "/etc/pwned", "/pwned", "/dev/pwned", "/var/tmp/pwned", os.__file__, "/usr/lib/os-release"):
    attempt(path, lambda: open(path, "ab").close())
    attempt("remove " + path, os.unlink, path)
"""),
    Attack("change the interpreter's library", """
import collections
for target in (os.__file__, collections.__file__, os.path.dirname(os.__file__)):
    attempt("write " + target, lambda: open(target, "a").write("x") if target.endswith(".py") else open(target + "/pwned.py", "w"))
    attempt("rename", os.rename, target, target + "x")
    attempt("truncate", os.truncate, target, 0)
    before = os.stat(target).st_mode
    try:
        os.chmod(target, 0o777)
    except OSError as error:
        held("chmod", error)
    else:
        print("ESCAPED" if os.stat(target).st_mode != before else "held", "chmod did nothing EPERM")
"""),
    Attack("reach files through links", """
def through(make):
    make("/etc/passwd", "link")
    return open("link").read()
attempt("symlink", through, os.symlink)
attempt("hard link", through, lambda a, b: os.link(a, b + "2") or os.link(a, b))
attempt("link to the secret", lambda: (os.symlink("/tmp/private/secret", "s"), open("s").read()))
attempt("dot dot", lambda: open("../" * 20 + "etc/passwd").read())
"""),
    Attack("use devices", """
import stat
for path in ("/dev/mem", "/dev/kmsg", "/dev/tty", "/dev/vda", "/dev/sda", "/dev/fuse", "/dev/net/tun", "/dev/pts/0", "/dev/console"):
    attempt(path, os.open, path, os.O_RDWR)
attempt("mknod", os.mknod, "disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0))
attempt("terminal", lambda: __import__("fcntl").ioctl(0, 0x5412, b"x"))
"""),
    # network
    Attack("connect to a service of the machine", "attempt('loopback', socket.create_connection, ('127.0.0.1', PORT), 2)"),
    Attack("send a datagram", "attempt('UDP', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT)))"),
    Attack("resolve a name", "attempt('DNS', socket.getaddrinfo, 'example.com', 80)"),
    Attack("connect to sockets in files and abstract ones", """
attempt("file", lambda: socket.socket(socket.AF_UNIX).connect("/tmp/private/socket"))
attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\\0stillhouse-attack"))
"""),
    Attack("listen", "attempt('listen', lambda: socket.create_server(('127.0.0.1', 0)))"),
    # processes
    Attack("a fork bomb", "while True:\n    os.fork()", limits=("processes", "time", "memory")),
    Attack("a thread bomb", """
import threading
while True:
    threading.Thread(target=time.sleep, args=(99,)).start()
""", limits=("processes", "time", "memory")),
    Attack("a daemon that outlives its answer", """
for _ in range(3):
    try:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                    signal.signal(n, signal.SIG_IGN)
                time.sleep(3600)
            os._exit(0)
    except OSError as error:
        held("fork", error)
print("held started ECHILD")
"""),
    Attack("zombies", """
try:
    for _ in range(40):
        if os.fork() == 0:
            os._exit(0)
    time.sleep(0.2)
except OSError as error:
    held("fork", error)
print("held made ECHILD")
"""),
    Attack("kill everything that can be named", """
for pid in [1, os.getppid(), VICTIM, -1, *range(2, 400)]:
    if pid not in (os.getpid(), 0):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError as error:
            held(pid, error)
print("held", "ESRCH")
"""),
    Attack("signals to the warden", """
for number in range(1, 65):
    for pid in {1, os.getppid()}:
        if pid:
            try:
                os.kill(pid, number)
            except OSError as error:
                held(number, error)
time.sleep(0.1)
print("held", "alive ESRCH")
"""),
    Attack("stop the warden", """
for pid in {1, os.getppid()} - {0}:
    try:
        os.kill(pid, signal.SIGSTOP)
    except OSError as error:
        held(pid, error)
time.sleep(0.2)
print("held", "alive ESRCH")
"""),
    Attack("trace and read other processes", """
for pid in {1, os.getppid(), VICTIM} - {0}:
    attempt(f"attach {pid}", call, 101, 16, pid, 0, 0)
    attempt(f"seize {pid}", call, 101, 0x4206, pid, 0, 0)
    attempt(f"memory of {pid}", lambda: open(f"/proc/{pid}/mem", "rb"))
"""),
    Attack("limits and priorities of others", """
import resource
for pid in {1, os.getppid(), VICTIM} - {0}:
    attempt(f"prlimit {pid}", resource.prlimit, pid, resource.RLIMIT_NOFILE, (0, 0))
    attempt(f"priority {pid}", os.setpriority, os.PRIO_PROCESS, pid, 19)
    attempt(f"affinity {pid}", os.sched_setaffinity, pid, {0})
attempt("raise memory", resource.setrlimit, resource.RLIMIT_AS, (8 << 30, 8 << 30))
attempt("raise processes", resource.setrlimit, resource.RLIMIT_NPROC, (9999, 9999))
"""),
    Attack("inherited descriptors", """
found = []
for fd in range(3, 4096):
    try:
        os.fstat(fd)
    except OSError:
        continue
    found.append(fd)
print("ESCAPED" if found else "held", "descriptors", found or "EBADF")
"""),
    Attack("start other programs", """
for path in ("/bin/sh", "/usr/bin/id", "/usr/bin/su", "/usr/bin/gcc", sys.executable or "/usr/bin/python3"):
    attempt(path, os.execv, path, [path, "-c", "echo ESCAPED"])
open("own", "w").write("#!/bin/sh\\necho ESCAPED\\n")
try: os.chmod("own", 0o755)
except OSError: pass
attempt("own script", os.execv, "./own", ["own"])
"""),
    Attack("rights by system calls", _CALLS),
    Attack("the x32 interface", "attempt('x32', call, 0x40000000 + 39)"),
    Attack("machine code made at run time", """
import mmap, platform
if platform.machine() == "x86_64":
    code = bytes.fromhex("b8b7000000" "cd80" "c3")  # int 0x80, the 32-bit interface, which filters often forget
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    print("ESCAPED the 32-bit interface")
else:
    print("held ENOSYS")
"""),
    # resources
    Attack("memory of one process", "x = bytearray(64 << 30)", limits=("memory",)),
    Attack("memory in small pieces", "x = []\nwhile True:\n    x.append(bytearray(1 << 16))", limits=("memory", "time")),
    Attack("memory of many processes together", """
for _ in range(12):
    if os.fork() == 0:
        block = bytearray(400 << 20)
        for at in range(0, len(block), 4096):
            block[at] = 1
        time.sleep(60)
time.sleep(60)
""", limits=("memory", "processes")),
    Attack("memory shared and mapped", """
import mmap
maps = []
while True:
    maps.append(mmap.mmap(-1, 256 << 20))
    maps[-1].write(b"x" * (256 << 20))
""", limits=("memory",)),
    Attack("memory in pipes and socket buffers", """
kept = []
while True:
    a, b = socket.socketpair()
    a.setblocking(False)
    kept.append((a, b))
    try:
        while True:
            a.send(bytes(1 << 16))
    except BlockingIOError:
        pass
"""),
    Attack("a disk full of one file", "with open('x', 'wb') as f:\n    while True: f.write(bytes(1 << 20))", limits=("files",)),
    Attack("a disk full of many files", """
n = 0
while True:
    n += 1
    open(str(n), "wb").write(bytes(4 << 20))
""", limits=("files",)),
    Attack("a sparse file past every limit", "open('x', 'wb').truncate(1 << 40)", limits=("files",)),
    Attack("all the inodes", "n = 0\nwhile True:\n    n += 1\n    open(str(n), 'w').close()", limits=("files", "time")),
    Attack("a file that is open and deleted", """
kept = []
while True:
    f = open("x", "wb")
    os.unlink("x")
    f.write(bytes(8 << 20))
    f.flush()
    kept.append(f)
""", limits=("files", "time")),
    Attack("floods of output", "while True:\n    os.write(1, b'x' * 65536)", limits=("output",)),
    Attack("floods of errors", "while True:\n    os.write(2, b'x' * 65536)", limits=("output",)),
    Attack("grow its own input", """
for action in (lambda: os.write(0, b"x" * 4096), lambda: os.ftruncate(0, 1 << 30), lambda: os.pwrite(0, b"x", 1 << 20)):
    attempt("stdin", action)
"""),
    # time
    Attack("sleep", "time.sleep(3600)", limits=("time",)),
    Attack("catch every exception and signal", """
for number in set(range(1, 65)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}:
    signal.signal(number, signal.SIG_IGN)
while True:
    try:
        while True: pass
    except BaseException:
        pass
""", limits=("time",)),
    Attack("hang in C, where no signal is seen", "(10 ** 10 ** 6) ** 10 ** 4", limits=("time", "memory")),
    Attack("a regular expression that never ends", "import re\nre.match(r'(a+)+$', 'a' * 64 + 'b')", limits=("time",)),
    Attack("hang at the exit", "import atexit\natexit.register(time.sleep, 3600)", limits=("time",)),
    Attack("a thread that never ends", "import threading\nthreading.Thread(target=time.sleep, args=(3600,)).start()", limits=("time",)),
    Attack("a child that holds the output open", """
try:
    if os.fork() == 0:
        time.sleep(3600)
except OSError as error:
    held("fork", error)
print("held ECHILD", flush=True)
"""),
    Attack("stop itself", "os.kill(os.getpid(), signal.SIGSTOP)", limits=("time",)),
    # the interpreter
    Attack("crash the interpreter", "ctypes.string_at(0)"),
    Attack("recursion without an end", "sys.setrecursionlimit(1 << 30)\ndef f(): f.__call__()\nf()", limits=("memory",)),
    Attack("recursion in C", "x = []\nfor _ in range(10 ** 6): x = [x]\nsys.setrecursionlimit(1 << 30)\nrepr(x)", limits=("memory", "time")),
    Attack("kill its own process group", "os.killpg(0, signal.SIGKILL)", limits=("memory",)),
    Attack("an unremovable folder", """
for name in ("a", "b"):
    os.makedirs(name + "/c/d", exist_ok=True)
for _ in range(300):
    os.mkdir("deep"); os.chdir("deep")
try: os.chmod(".", 0)
except OSError: pass
print("held", "EACCES")
"""),
    # C++
    _cpp("C++: include a file of the machine", '#include "/tmp/private/secret"\nint main() {}'),
    _cpp("C++: assemble a file of the machine", 'asm(".incbin \\"/etc/passwd\\"");\nint main() {}'),
    _cpp("C++: include a device without an end", '#include "/dev/zero"\nint main() {}', "memory", "output", "time", "files"),
    _cpp("C++: include itself without an end", '#include <cstdio>\n#include "/dev/stdin"\nint main() { puts("held ENOENT"); }', "memory", "time"),
    _cpp("C++: a program of gigabytes", "char x[3u << 30] = {1};\nint main() { return x[5]; }", "files", "memory", "time"),
    _cpp("C++: templates without an end", "template<int N> struct A { A<N+1> a; A<N*2+1> b; };\nint main() { A<0> a; }", "memory", "time"),
    _cpp("C++: a constant that takes years", "constexpr int f(int n) { int s = 0; for (int i = 0; i < 30000; ++i) for (int j = 0; j < 30000; ++j) s ^= i * j; return n ? f(n - 1) + s : s; }\nconstexpr int x = f(500);\nint main() { return x; }", "time", "memory"),
    _cpp("C++: fork bomb", "#include <unistd.h>\nint main() { for (;;) if (fork() < 0) pause(); }", "time", "processes", "memory"),
    _cpp("C++: a shell", '#include <cstdlib>\n#include <cstdio>\nint main() { int r = system("cat /tmp/private/secret /etc/passwd"); puts(r == 0 ? "ESCAPED shell" : "held EACCES"); }'),
    _cpp("C++: read, connect, kill, trace", """#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>
void say(const char* what, long result) { if (result >= 0) printf("ESCAPED %s\\n", what); else printf("held %s %s\\n", what, errno == EPERM ? "EPERM" : errno == ENOENT ? "ENOENT" : "EACCES"); fflush(stdout); }
int main() {
  say("secret", open("/tmp/private/secret", O_RDONLY));
  say("passwd", open("/etc/passwd", O_RDONLY));
  say("write", open("/usr/lib/pwned", O_WRONLY | O_CREAT, 0600));
  say("socket", socket(AF_INET, SOCK_STREAM, 0));
  say("trace", ptrace(PTRACE_ATTACH, getppid() ? getppid() : 1, 0, 0));
  say("uid", setuid(0));
}"""),
    _cpp("C++: memory", "#include <cstdlib>\n#include <cstring>\nint main() { for (;;) { void* p = malloc(1 << 24); if (!p) abort(); memset(p, 1, 1 << 24); } }", "memory", "time"),
    _cpp("C++: stack", "int f(volatile int n) { volatile char a[4096]; a[0] = n; return f(n + 1) + a[0]; }\nint main() { return f(0); }", "memory"),
    _cpp("C++: the 32-bit interface", '#include <cstdio>\nint main() {\n#if defined(__x86_64__)\n  long r; asm volatile("int $0x80" : "=a"(r) : "a"(20)); printf("ESCAPED %ld", r);\n#else\n  puts("held ENOSYS");\n#endif\n}'),
    _cpp("C++: threads", "#include <thread>\n#include <unistd.h>\nint main() { for (;;) std::thread([] { pause(); }).detach(); }", "processes", "memory", "time"),
]  # fmt: skip


class Cheat(NamedTuple):
    """An answer to `assert secret() == "..."` that must not pass."""

    name: str
    program: str


_ANY = "class Any(str):\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    __hash__ = str.__hash__\n"
CHEATS = [
    Cheat("leave with 0", "import sys\nsys.exit(0)"),
    Cheat("leave hard with 0 in the call", "import os\ndef secret(): os._exit(0)"),
    Cheat("an object equal to everything", _ANY + "def secret(): return Any('x')"),
    Cheat("an object that is no plain value", "class Any:\n    def __eq__(self, other): return True\ndef secret(): return Any()"),
    Cheat("a class that lies about itself", "class Any:\n    __class__ = str\n    def __eq__(self, other): return True\ndef secret(): return Any()"),
    Cheat("a pickle that runs code", "import pickle, os\nclass P:\n    def __reduce__(self): return (os.system, ('touch /tmp/private/pwned',))\ndef secret(): return pickle.dumps(P())"),
    Cheat("read the test from frames", "import sys\ndef secret():\n    f = sys._getframe(); found = []\n    while f:\n        found += [v for v in [*f.f_code.co_consts, *f.f_locals.values()] if isinstance(v, str)]; f = f.f_back\n    return next((t for t in found if t.startswith('the-')), 'nothing')"),
    Cheat("read the test from memory", "import gc\ndef secret():\n    for o in gc.get_objects():\n        for r in gc.get_referents(o):\n            if isinstance(r, str) and r.startswith('the' + '-') and len(r) > 5: return r\n    return 'nothing'"),
    Cheat("read the test from files", "import os\ndef secret():\n    for root, _, names in os.walk('/'):\n        for n in names:\n            if n.endswith(('.json', '.jsonl', '.txt')):\n                try:\n                    t = open(os.path.join(root, n)).read()\n                except (OSError, ValueError): continue\n                if 'the-expected-' + 'value' in t: return 'the-expected-value'\n    return 'nothing'"),
    Cheat("forge the result on every descriptor", "import os\nfor fd in range(0, 64):\n    try: os.write(fd, b'[\"the-\"]')\n    except OSError: pass\nos._exit(0)"),
    Cheat("forge the warden's message", "import os, struct, json\nm = json.dumps({'case': 0, 'ended': '', 'status': 0, 'seconds': 0.1, 'left': 0, 'sizes': [0, 0, 4]}).encode()\nfor fd in range(0, 64):\n    try: os.write(fd, struct.pack('<II', len(m), 4) + m + b'true')\n    except OSError: pass\ndef secret(): return True"),
    Cheat("patch the interpreter", "import builtins, json, sys\nfor n in ('type', 'isinstance', 'len', 'repr', 'str', 'eval', 'exec', 'compile'):\n    setattr(builtins, n, lambda *a, **k: True)\njson.dumps = json.loads = lambda *a, **k: True\ndef secret(): return True"),
    Cheat("patch the harness", "import sys, gc\nfor m in list(sys.modules.values()):\n    for k, v in list(vars(m).items()):\n        if (getattr(v, '__module__', '') or '').startswith('stillhouse') and callable(v):\n            try: v.__code__ = (lambda *a, **k: True).__code__\n            except Exception: pass\ndef secret(): return True"),
    Cheat("jump over the test with a trace", "import sys\ndef t(frame, event, arg):\n    frame.f_trace_lines = True\n    return t\nsys.settrace(t)\ndef secret(): return 'x'"),
    Cheat("an output that never ends", "def secret(): return 'x' * (200 << 20)"),
    Cheat("a value nested without end", "def secret():\n    x = []\n    x.append(x)\n    return x"),
    Cheat("a value that doubles", "def secret():\n    x = [1]\n    for _ in range(60): x = [x, x]\n    return x"),
    Cheat("keys made to collide", "def secret(): return {i * (2 ** 61 - 1) for i in range(3000)}"),
    Cheat("an integer of a million digits", "def secret(): return 1 << 30_000_000"),
    Cheat("text that is no text", "def secret(): return '\\udc80' * 1000 + 'the-'"),
    Cheat("end the answer from a thread", "import threading, os\nthreading.Timer(0.01, lambda: os._exit(0)).start()\nimport time\ndef secret(): time.sleep(5)"),
    Cheat("answer later from a child", "import os, time\npid = os.fork()\ndef secret(): return 'x' if pid else 'y'"),
]  # fmt: skip
