"""A harmless program that tries what an answer must not be able to do; run once on every start of the sandbox.

In: how it went; out: what it could do that it must not, in words. Why: a rung counts only when it holds here and
now, whatever the kernel's version and settings claim.
"""

from __future__ import annotations

from stillhouse.sandbox.outcome import Case, Ran

CANARY = """
import ctypes, os, socket

def attempt(action):
    try:
        action()
    except OSError:
        return False
    return True

def new_namespace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")

def rights():
    header = ctypes.create_string_buffer((0x20080522).to_bytes(4, "little") + bytes(4), 8)
    held = ctypes.create_string_buffer(24)
    ctypes.CDLL(None).capget(header, held)
    return any(held.raw)

def tries():
    return {
        "read a file of the machine": attempt(lambda: open("/etc/passwd").close()),
        "list the root of the machine": attempt(lambda: os.listdir("/proc")),
        "write outside its folder": attempt(lambda: open("/usr/lib/canary", "w").close()),
        "open a network socket": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
        "make a namespace": attempt(new_namespace),
        "signal another process": attempt(lambda: os.kill(os.getppid() or 1 << 22, 0)) and os.getppid() > 1,
        "write its own folder": attempt(lambda: open("canary", "w").close()),
        "hold rights": rights(),
    }
"""
CANARY_CASE = Case(steps=(("value", "tries()"),))
_NEEDED = "write its own folder"


def escapes(ran: Ran, rung: int) -> str:
    """What is wrong, or nothing. On rung 4 only that programs run at all is asked."""
    if ran.outcome != "done" or not ran.values or not isinstance(ran.values[0], dict):
        return f"a harmless program does not run: {ran.reason} {ran.stderr.decode('utf-8', 'replace')[-500:]}".strip()
    told = ran.values[0]
    if not told.get(_NEEDED):
        return "a program cannot write its own folder"
    could = [name for name, succeeded in told.items() if succeeded and name != _NEEDED]
    return "" if rung > 3 or not could else f"it does not hold: a program could {', '.join(could)}"
