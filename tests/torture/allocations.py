"""The other side of allocations.c: tells a gateway which of its allocations fail, and learns which did."""

import collections
import mmap
import struct
import subprocess
import tempfile

CALLERS = 24
LAYOUT = struct.Struct(f"=4Q16s{CALLERS}Q")
FOREVER = 2**64 - 1


class Allocations:
    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="eventgate-torture-")
        self.file.write(bytes(LAYOUT.size))
        self.file.flush()
        self.memory = mmap.mmap(self.file.fileno(), LAYOUT.size)

    @property
    def variables(self):
        """What the gateway's environment needs."""
        return {"EVENTGATE_TORTURE": self.file.name}

    def _put(self, at, value):
        struct.pack_into("=Q", self.memory, at * 8, value)

    def arm(self, first, count=1, thread=""):
        """From now on counts the allocations of the threads whose names begin so, and lets `count` of them fail from
        the `first` on."""
        self.disarm()
        self._put(1, min(first + count - 1, FOREVER))
        self._put(2, 0)
        self._put(3, 0)
        struct.pack_into("=16s", self.memory, 32, thread.encode())
        self._put(0, first)

    def disarm(self):
        self._put(0, 0)

    @property
    def seen(self):
        return LAYOUT.unpack_from(self.memory)[2]

    @property
    def failed(self):
        return LAYOUT.unpack_from(self.memory)[3]

    @property
    def callers(self):
        """The addresses of what called the last one that failed, innermost first."""
        return tuple(address for address in LAYOUT.unpack_from(self.memory)[5:] if address)

    def close(self):
        self.memory.close()
        self.file.close()


def read_maps(pid):
    """Where a running process has what."""
    with open(f"/proc/{pid}/maps") as maps:
        return [line.split() for line in maps]


def describe(rows, callers):
    """These addresses as text, one a line, by what read_maps() said."""
    lines, bases = [], {}
    objects = collections.defaultdict(list)
    for row in rows:
        if len(row) == 6 and row[5].startswith("/"):
            start, end = (int(part, 16) for part in row[0].split("-"))
            bases.setdefault(row[5], start)
            for address in callers:
                if start <= address < end:
                    objects[row[5]].append(address)
    names = {}
    for path, addresses in objects.items():
        done = subprocess.run(["llvm-symbolizer", "--obj=" + path, "--output-style=GNU", "-f", "-s", "-p",
                               "--no-inlines", *(hex(address - bases[path] - 1) for address in addresses)],
                              capture_output=True, text=True, check=False)
        for address, line in zip(addresses, done.stdout.splitlines()):
            names[address] = line.replace("??:0", f"{path}+{address - bases[path]:#x}")
    for address in callers:
        lines.append("    " + names.get(address, hex(address)))
    return "\n".join(lines)
