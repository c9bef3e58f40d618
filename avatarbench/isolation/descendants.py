"""Every process that a worker's start led to, by a variable in its environment, and the end of them all.

A group reaches none that made a session of its own (a server, a pool of loaders), and an orphan has lost its parent;
what a process was started with stays. Copied into foreign environments beside worker.py: any Python from 3.8, standard
library. Where there is no ``/proc`` nothing is found.
"""

from __future__ import annotations

import os
import signal
import time

MARK = "AVATARBENCH_JOB"
"""The variable. Its value, the job folder, is no other worker's."""
ROUNDS = 50


def marked(job: str) -> list[int]:
    """The processes, but for this one, that were started with the mark ``job``. What has ended is none."""
    entry, found = os.fsencode(f"{MARK}={job}"), []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as stream:
                if entry in stream.read().split(b"\0"):
                    found.append(int(name))
        except OSError:  # another user's, or it has ended meanwhile
            continue
    return found


def end(job: str) -> None:
    """Kill them, those too that are started meanwhile; return once none is left, or after a second."""
    for _ in range(ROUNDS if job else 0):
        found = marked(job)
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:  # it has ended, or changed its user
                continue
        time.sleep(0.02)
