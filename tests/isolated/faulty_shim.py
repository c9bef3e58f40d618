"""A shim that goes wrong as its options say."""

import ctypes
import os
import random
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import worker


class Shim:
    def __init__(self, options, job):
        self.options, self.job = options, job
        if options.get("start") == "raise":
            raise RuntimeError("no such weights")
        if options.get("announces"):
            self.announce = self._announce
        self.announced = []

    def build(self, portrait):
        self.fault(portrait["id"])
        self.image = portrait["image"]
        return {"gaussians": 7, "pid": os.getpid()}

    def _announce(self, motions):
        self.announced = [motion["id"] for motion in motions]
        self.corners = [motion["image"][-1, -1] for motion in motions]
        self.fault("announce")

    def render(self, motion):
        image = self.image.copy()
        image[0, 0] = random.randrange(256), np.random.randint(256), motion["index"] % 256
        if self.announced:
            image[0, 1] = self.announced.index(motion["id"])
            image[0, 2] = self.corners[self.announced.index(motion["id"])]
        found = self.fault(motion["id"])
        return image if found is None else found

    def fault(self, name):
        fault = self.options.get("faults", {}).get(name, "")
        mark, gate = self.options.get("once"), self.options.get("gate")
        if gate and not os.path.exists(gate):
            return None
        if fault and mark:
            try:
                os.close(os.open(f"{mark}-{name}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return None
        return getattr(self, fault, lambda: None)()

    # What a worker may do.

    def raises(self):
        raise ValueError("no luck")

    def undecodable(self):
        worker.say("reading \udcff.png")
        raise ValueError("no \udcff.png")

    def cuda(self):
        raise RuntimeError("CUDA error: device-side assert triggered")

    def faceless(self):
        raise worker.Unscorable("no face found in it")

    def segfault(self):
        print("one line before the end")
        ctypes.string_at(0)

    def aborts(self):
        os.abort()

    def exits(self):
        os._exit(0)

    def leaves(self):
        sys.exit(4)

    def interrupts(self):
        raise KeyboardInterrupt("by its own code")

    def killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def hangs(self):
        worker.say("half of it is done")
        time.sleep(60)

    def chatters(self):
        while True:
            worker.say("still at it")

    def holds(self):
        ctypes.PyDLL(None).sleep(60)  # the interpreter's lock with it

    def parents(self):
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        children = [subprocess.Popen(command, start_new_session=alone) for alone in (False, True)]
        with open(self.options["pids"], "w") as file:
            file.write(" ".join(str(pid) for pid in (os.getpid(), *(child.pid for child in children))))
        self.holds()

    def floods(self):
        line = "x" * 1023 + "\n"
        for _ in range(20000):
            sys.stderr.write(line)
        print("the last line")

    def prints(self):
        print("to stdout")
        os.system("echo from a child")
        ctypes.CDLL(None).puts(b"from C")
        ctypes.CDLL(None).fflush(None)

    def reads(self):
        return np.full((4, 4, 3), len(sys.stdin.read()), np.uint8)

    def garbles(self):
        os.write(worker._WIRE._outgoing, b"oops, this was meant for the terminal")
        time.sleep(60)

    def malformed(self):
        os.write(worker._WIRE._outgoing, struct.pack(">I", 9) + b"{not json")
        time.sleep(60)

    def bomb(self):
        header = b'{"message": {"type": "done", "id": 2}, "arrays": [{"dtype": "float64", "shape": [99999, 99999, 3]}]}'
        os.write(worker._WIRE._outgoing, struct.pack(">I", len(header)) + header)
        time.sleep(60)

    def short(self):
        header = b'{"message": {"type": "done", "id": 2}, "arrays": [{"dtype": "uint8", "shape": [64, 64, 3]}]}'
        os.write(worker._WIRE._outgoing, struct.pack(">I", len(header)) + header + b"too few")
        os._exit(0)

    def outside(self):
        return "/etc/hostname"

    def linked(self):
        name = f"{time.monotonic_ns()}.png"
        os.symlink("/etc/hostname", os.path.join(self.job, name))
        return name

    def climbs(self):
        return "../../x.png"

    def absent(self):
        return "absent.png"

    def picture(self):
        rows = b"".join(b"\0" + self.image[y].tobytes() for y in range(len(self.image)))
        import zlib

        height, width = self.image.shape[:2]
        parts = [
            (b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(rows)),
            (b"IEND", b""),
        ]
        path = os.path.join(self.job, "picture.png")
        with open(path, "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            for kind, body in parts:
                file.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
        return path

    def text(self):
        return [1, 2, 3]

    def objects(self):
        return np.array([None, 1])

    def smaller(self):
        return self.image[1:]

    def undefined(self):
        return np.full(self.image.shape, np.nan, np.float32)
