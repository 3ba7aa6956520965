"""A small Debian of our own that is booted: systemd is its process 1, in namespaces, on this machine's kernel. Needs root
and debootstrap. It has its own network, with a loopback and nothing else."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from kit.postgres import memory
from kit.wait import until

CACHE = pathlib.Path("/var/cache/pg_eventgate")  # tests/bare keeps bases there, too
BOOT = """
mount --make-rprivate /
mount --bind "$0" "$0"
mount -t proc proc "$0/proc"
mount -t sysfs sysfs "$0/sys"
mount -t cgroup2 cgroup2 "$0/sys/fs/cgroup"
mount -t devtmpfs devtmpfs "$0/dev"
mount -t tmpfs -o mode=755 tmpfs "$0/run"
ip link set lo up
mkdir -p "$0/old"
cd "$0"
pivot_root . old
umount -l /old
mount --make-rshared /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal
"""


def cgroups():
    """Where control groups of version 2 are mounted."""
    mounts = (line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines())
    return next((pathlib.Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)


def suite():
    release = pathlib.Path("/etc/os-release").read_text()
    return re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE)[1] if "\nID=debian\n" in release else None


def why_not():
    """What this machine lacks for it, or None."""
    if os.getuid() != 0:
        return "booting a machine needs root"
    if not suite():
        return "this isn't Debian, whose libraries the machine has to have"
    if not shutil.which("debootstrap"):
        return "debootstrap isn't here"
    return None if cgroups() else "control groups of version 2 aren't mounted here"


class Machine:
    def __init__(self, *packages):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="eventgate-machine.", dir="/var/tmp"))
        self.in_memory = memory() is not None
        if self.in_memory:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", self.folder], check=True)
        self.group = cgroups() / self.folder.name
        self.process = self.pid = None
        try:
            self._make(packages)
        except BaseException:
            self.remove()
            raise

    def _make(self, packages):
        self._make_base()
        shutil.copy("/etc/resolv.conf", self.folder / "etc/resolv.conf")
        (self.folder / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (self.folder / "usr/sbin/policy-rc.d").chmod(0o755)
        self.chroot("apt-get", "update", "-q")
        self.install("systemd", "systemd-sysv", *packages)
        (self.folder / "usr/sbin/policy-rc.d").unlink()

    def _make_base(self):
        base = CACHE / f"{suite()}.tar"
        if base.exists() and time.time() - base.stat().st_mtime < 86400:
            subprocess.run(["tar", "-C", self.folder, "-xf", base], check=True)
        else:
            subprocess.run(["debootstrap", "--variant=minbase", suite(), self.folder], check=True, capture_output=True)
            CACHE.mkdir(exist_ok=True)
            made = base.with_suffix(f".{os.getpid()}")
            subprocess.run(["tar", "-C", self.folder, "-cf", made, "."], check=True)
            made.rename(base)
        self.folder.chmod(0o755)

    def chroot(self, *words):
        """Runs something while it is not booted."""
        done = subprocess.run(["chroot", self.folder, "env", "DEBIAN_FRONTEND=noninteractive", *words], text=True,
                              capture_output=True)
        assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    def install(self, *packages):
        return self.chroot("apt-get", "install", "-y", "-q", "--no-install-recommends", *packages)

    def put(self, path, text):
        file = self.folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def boot(self):
        self.group.mkdir()
        joins = f"echo $$ >{self.group}/cgroup.procs; exec setsid unshare -mpfuinC --kill-child bash -euc \"$1\" \"$0\""
        self.process = subprocess.Popen(["bash", "-c", joins, self.folder, BOOT], stdin=subprocess.DEVNULL)
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.pid = until(lambda: children.read_text().split(), "process 1 is there")[0]
        until(lambda: self.tries("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"),
              "it has booted", 60)

    def _inside(self, words):
        return ["nsenter", "-t", self.pid, "-m", "-p", "-u", "-i", "-n", "-C", *words]

    def tries(self, *words):
        return subprocess.run(self._inside(words), text=True, capture_output=True, timeout=60)

    def run(self, *words):
        done = self.tries(*words)
        assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    def start(self, *words):
        """Runs it beside us."""
        return subprocess.Popen(self._inside(words), text=True, stdout=subprocess.PIPE)

    def property(self, unit, name):
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()

    def remove(self):
        if self.process:
            self.process.kill()  # and process 1 with it, and all others with that
            self.process.wait(60)

            def is_empty():
                for folder in sorted(self.group.glob("**/"), reverse=True):
                    try:
                        folder.rmdir()
                    except OSError:
                        return False
                return True

            until(is_empty, "its processes have ended", 60)
        if self.in_memory:
            subprocess.run(["umount", "--lazy", self.folder], check=True)
        shutil.rmtree(self.folder)
