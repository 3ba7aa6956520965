"""A service manager's side of sd_notify(3): a socket, and what has been heard on it."""

import os
import shutil
import socket
import tempfile
import time

from kit.wait import DEADLINE


class Manager:
    """`heard`: the datagrams, each as a dict of its lines, in order."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="eventgate-manager-")
        self.path = f"{self.folder}/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.heard = []

    def variables(self, **more):
        return {"NOTIFY_SOCKET": self.path} | more

    def _receive(self, seconds):
        """The next datagram, or None if none comes within so long."""
        self.socket.settimeout(max(seconds, 0.001))
        try:
            datagram = self.socket.recv(4096)
        except (TimeoutError, BlockingIOError):
            return None
        self.heard.append(dict(line.split("=", 1) for line in datagram.decode().splitlines()))
        return self.heard[-1]

    def wait(self, condition, what, timeout=DEADLINE):
        """The next datagram for which the condition holds."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            state = self._receive(deadline - time.monotonic())
            if state is not None and condition(state):
                return state
        raise AssertionError(f"not within {timeout} s: {what}; heard {self.heard}")

    def wait_for(self, name, value=None):
        return self.wait(lambda state: name in state and value in (None, state[name]), f"{name}={value or '...'}")

    def listen_for(self, seconds):
        """All that is heard in so long."""
        first, deadline = len(self.heard), time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._receive(deadline - time.monotonic())
        return self.heard[first:]

    def close(self):
        self.socket.close()
        shutil.rmtree(self.folder)


def has_socket_activate():
    return os.access("/usr/bin/systemd-socket-activate", os.X_OK)
