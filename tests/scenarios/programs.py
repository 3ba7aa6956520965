"""The processes of an application, in Node, Python or the shell: started, listened to, killed."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

from kit.gateway import BINARY, environment
from kit.wait import until

COMMANDS = f"{pathlib.Path(BINARY).resolve().parent}:{os.environ['PATH']}"  # as if the gateway's program were installed
HERE = pathlib.Path(__file__).parent
PROGRAMS = pathlib.Path(os.environ.get("EVENTGATE_SCENARIOS") or HERE)
RUNNERS = {".mjs": "node", ".py": sys.executable, ".sh": "sh"}


class Program:
    """`command`: a file in a folder of scenarios, and its arguments; `variables`: its environment. It prints a JSON object
    a line, each of which names what it is by its first key: {"got": 7}."""

    def __init__(self, file, *arguments, **variables):
        self.name = " ".join([file, *map(str, arguments)])
        command = [RUNNERS[pathlib.Path(file).suffix], str(PROGRAMS / file), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env=environment(PATH=COMMANDS, **variables))
        self.said, self.errors, self.killed = [], "", False
        self.readers = [threading.Thread(target=reader, daemon=True) for reader in (self._read, self._read_errors)]
        for reader in self.readers:
            reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def _read_errors(self):
        self.errors = self.process.stderr.read()

    def of(self, kind):
        """What it has said of this kind, in order."""
        return [line[kind] for line in list(self.said) if kind in line]

    def wait(self, kind, count=1, timeout=60):
        """Waits until it has said this so often; returns what it said."""

        def enough():
            running = self.process.poll() is None
            if not running:
                self._finish_reading()
            said = self.of(kind)
            assert running or len(said) >= count, f"{self.name} has ended: {self.errors}"
            return said if len(said) >= count else None

        return until(enough, f"{self.name}: {count} times {kind!r}", timeout)

    def ask(self, question, kind="answer"):
        """Writes a line to it, and waits for what it says then."""
        before = len(self.of(kind))
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self.wait(kind, before + 1)[before]

    def kill(self):
        """As a crash would: it can't clean up. What it had said by then is there."""
        self.killed = True
        self.stop(signal.SIGKILL)

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.send_signal(how)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
        self._finish_reading()

    def _finish_reading(self):
        for reader in self.readers:
            reader.join(60)

    def check(self):
        """What has ended by itself, and not in order, has failed."""
        code = self.process.returncode
        assert self.killed or code in (0, -signal.SIGTERM), f"{self.name} ended with {code}: {self.errors}"
