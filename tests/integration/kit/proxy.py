"""A TCP proxy between two of our processes, whose network can fail."""

import contextlib
import socket
import struct
import threading

CHUNK = 65536


class Proxy:
    """Forwards 127.0.0.1:port to `target`: the path of a Unix socket, or an address and port."""

    def __init__(self, target):
        self.target = target
        self.port = 0
        self.flowing = threading.Event()
        self.flowing.set()
        self.pairs = []
        self.listener = None
        self.accept()

    @property
    def address(self):
        return "127.0.0.1", self.port

    def _bind(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self.address)
        self.port = listener.getsockname()[1]
        return listener

    def accept(self):
        """Takes connections (again)."""
        self._close_listener()
        self.listener = self._bind()
        self.listener.listen()
        threading.Thread(target=self._serve, args=(self.listener,), daemon=True).start()

    def refuse(self):
        """Refuses new connections; those there are stay."""
        self._close_listener()
        self.listener = self._bind()  # keeps the port ours

    def stall(self):
        """Nothing passes any more in any direction, and nobody is told."""
        self.flowing.clear()

    def flow(self):
        self.flowing.set()

    def cut(self):
        """Resets every connection; returns how many there were."""
        pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RD)  # wakes the thread that reads it
                end.close()
        return len(pairs)

    def close(self):
        self._close_listener()
        self.flow()
        self.cut()

    def _close_listener(self):
        if self.listener:
            with contextlib.suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()

    def _serve(self, listener):
        with contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                try:
                    far = self._connect()
                except OSError:
                    near.close()
                    continue
                self.pairs.append((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _connect(self):
        far = socket.socket(socket.AF_UNIX if isinstance(self.target, str) else socket.AF_INET)
        far.connect(self.target)
        return far

    def _pump(self, source, destination):
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                self.flowing.wait()
                destination.sendall(data)
        with contextlib.suppress(OSError):
            destination.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RD)  # who goes on writing is told that nobody reads it any more
