"""The system calls that a systemd unit allows, as a filter for a child process: what it calls beyond them kills it."""

import ctypes
import errno
import functools
import socket
import subprocess

KILL_PROCESS, ALLOW, ERRNO, EQUAL = 0x80000000, 0x7FFF0000, 0x00050000, 4


class Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def settings(unit, name):
    """The values of one setting, in order."""
    return [line.split("=", 1)[1] for line in unit.splitlines() if line.startswith(name + "=")]


@functools.cache
def expand(name):
    """The calls of a group (@network-io), those of the groups in it included."""
    if not name.startswith("@"):
        return {name}
    shown = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
    words = [line.strip() for line in shown.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*(expand(word) for word in words))


def allowed_calls(unit):
    """SystemCallFilter=: the first line allows, those that begin with ~ take away."""
    allowed = set()
    for value in settings(unit, "SystemCallFilter"):
        calls = set().union(*(expand(word) for word in value.lstrip("~").split()))
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


def filter_of(unit):
    """For preexec_fn: puts the process under the unit's SystemCallFilter= and RestrictAddressFamilies=."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint,
                                               ctypes.POINTER(Comparison)]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    context = library.seccomp_init(KILL_PROCESS)

    def rule(action, name, *comparisons):
        number = library.seccomp_syscall_resolve_name(name.encode())
        array = (Comparison * len(comparisons))(*comparisons)
        if number >= 0:  # else it is another architecture's
            assert library.seccomp_rule_add_array(context, action, number, len(comparisons), array) == 0, name

    for name in sorted(allowed_calls(unit) - {"socket"}):
        rule(ALLOW, name)
    families = {int(getattr(socket, word)) for word in " ".join(settings(unit, "RestrictAddressFamilies")).split()}
    for family in range(socket.AF_VSOCK + 1):
        action = ALLOW if family in families else ERRNO | errno.EAFNOSUPPORT
        rule(action, "socket", Comparison(0, EQUAL, family, 0))

    def load():
        assert library.seccomp_load(context) == 0

    return load
