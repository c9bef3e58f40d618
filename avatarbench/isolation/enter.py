"""Runs a command without the network and on files that it cannot change. Linux, standard library only.

``python -I -S enter.py SPEC COMMAND...`` becomes the command (same process id, streams and exit code) after doing what
SPEC, a JSON object, asks: ``network`` false: a network of its own, with nothing but a loopback; ``mounts`` true: every
file system read-only but for the paths of ``writable``; ``read_only``: paths that are so wherever they lie; ``user``
true: do this in a user namespace, as an ordinary user has to; ``data``: bytes of memory; ``cwd``: where to start;
``die``: end when the parent does, and with it, however it ends, all of its process group, of which it is the leader.
``enter.py --probe`` prints which of these the system allows.

Namespaces by system calls and not by ``unshare(1)``: the command keeps its user id and has no privilege left in them.
"""

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
from typing import Any

Spec = dict[str, Any]

NEW_USER, NEW_MOUNTS, NEW_NETWORK = 0x10000000, 0x00020000, 0x40000000
BIND, RECURSIVE, PRIVATE = 1 << 12, 1 << 14, 1 << 18
READ_FLAGS, WRITE_FLAGS, UP = 0x8913, 0x8914, 0x1
MOUNT_SETATTR, AT_CWD, AT_RECURSIVE, ATTR_READ_ONLY = 442, -100, 0x8000, 0x1
DIE_WITH_PARENT, DROP_CAPABILITY, SYS_ADMIN, KILL = 1, 24, 21, 9
CANNOT_ENTER = 125

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def enter_namespaces(flags: int) -> None:
    user, group = os.getuid(), os.getgid()
    check(libc.unshare(flags), "unshare")
    if flags & NEW_USER:
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{user} {user} 1")
        write("/proc/self/gid_map", f"{group} {group} 1")
    if flags & NEW_NETWORK:
        raise_loopback()


def write(path: str, text: str) -> None:
    with open(path, "w") as stream:
        stream.write(text)


def raise_loopback() -> None:
    """Code that talks to itself over 127.0.0.1 goes on working."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, READ_FLAGS, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", answer)[1]
        fcntl.ioctl(control, WRITE_FLAGS, struct.pack("16sh14x", b"lo", flags | UP))


def bind(path: str) -> None:
    name = os.fsencode(path)
    check(libc.mount(name, name, None, BIND | RECURSIVE, None), f"bind {path}")


def set_attributes(path: str, flags: int, set_: int, clear: int) -> None:
    attributes = struct.pack("QQQQ", set_, clear, 0, 0)
    result = libc.syscall(MOUNT_SETATTR, AT_CWD, os.fsencode(path), flags, attributes, len(attributes))
    check(result, f"mount_setattr {path}")


def close_files(writable: list[str], read_only: list[str]) -> None:
    """All is read-only but ``writable``; a path within another of the two lists is as its own list says."""
    check(libc.mount(b"none", b"/", None, RECURSIVE | PRIVATE, None), "mount --make-rprivate /")
    left_open = {os.path.realpath(path) for path in writable if os.path.exists(path)}
    closed = {os.path.realpath(path) for path in read_only} - left_open
    # What was read-only before stays so: a user namespace may not lift it, and nobody could write there anyway.
    opened = [path for path in left_open if not os.statvfs(path).f_flag & os.ST_RDONLY]
    for path in sorted(left_open | closed, key=len):  # a folder before what lies in it, or it would be covered
        bind(path)
    set_attributes("/", AT_RECURSIVE, ATTR_READ_ONLY, 0)
    for path in opened:
        set_attributes(path, 0, 0, ATTR_READ_ONLY)


def flags_of(spec: Spec) -> int:
    cut, mounts = not spec.get("network", True), spec.get("mounts", False)
    if not (cut or mounts):
        return 0
    return (NEW_NETWORK if cut else 0) | (NEW_MOUNTS if mounts else 0) | (NEW_USER if spec.get("user") else 0)


def prepare(spec: Spec) -> None:
    if flags := flags_of(spec):
        enter_namespaces(flags)
        if flags & NEW_MOUNTS:
            close_files(spec["writable"], spec["read_only"])
        check(libc.prctl(DROP_CAPABILITY, SYS_ADMIN, 0, 0, 0), "prctl PR_CAPBSET_DROP")  # or root mounts it all back
    if spec.get("cwd"):
        os.chdir(spec["cwd"])  # after the mounts, or it would lie below them
    if spec.get("data"):
        resource.setrlimit(resource.RLIMIT_DATA, (spec["data"], spec["data"]))
    if spec.get("die"):
        check(libc.prctl(DIE_WITH_PARENT, KILL, 0, 0, 0), "prctl PR_SET_PDEATHSIG")
        leave_nothing()


def leave_nothing() -> None:
    """Fork a watcher that sleeps until this process ends and then ends its group: the compilers of an installer, which
    the death of an installer's parent does not reach."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    leader = os.getpid()
    if os.fork() == 0:
        libc.prctl(DIE_WITH_PARENT, signal.SIGUSR1, 0, 0, 0)
        # The signal tells of a thread's death, not the process's: apptainer becomes its helper in another thread.
        while os.getppid() == leader:
            signal.sigwait({signal.SIGUSR1})
        if os.getpgrp() == leader:
            os.killpg(leader, KILL)
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})


def try_out(spec: Spec) -> str:
    """Why a child process cannot do it, or "" where it can."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            prepare(spec)
            code = 0
        except OSError as error:
            os.write(writer, str(error.strerror or error).encode())
            code = 1
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as stream:
        why = stream.read()
    status = os.waitpid(pid, 0)[1]
    return why or ("" if status == 0 else f"ended with status {status}")


def probe() -> Spec:
    """Directly first, which a real root can, then in a user namespace."""
    answer: Spec = {}
    tried: dict[str, Spec] = {
        "network": {"network": False},
        "mounts": {"mounts": True, "writable": ["/tmp"], "read_only": []},
    }
    for name, spec in tried.items():
        direct = try_out(spec)
        answer[name] = try_out({**spec, "user": True}) if direct else ""
        answer[f"{name}_user"] = bool(direct)
    return answer


def main(arguments: list[str]) -> None:
    if arguments == ["--probe"]:
        print(json.dumps(probe()))
        return
    try:
        prepare(json.loads(arguments[0]))
        os.execvp(arguments[1], arguments[1:])
    except OSError as error:
        sys.stderr.write(f"avatarbench: cannot start {arguments[1]} as isolated as was asked: {error}\n")
        sys.stderr.flush()
        os._exit(CANNOT_ENTER)


if __name__ == "__main__":
    main(sys.argv[1:])
