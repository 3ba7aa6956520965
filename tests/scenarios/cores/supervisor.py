"""Gateways that accept from one socket: supervisor.py ADDRESS:PORT ADMIN-ADDRESS:PORT,... COMMAND...

There is one for each admin address, at which operators find just that one (/metrics). The socket stays open whoever dies,
so nobody is refused a connection meanwhile; who has died is started anew. SIGTERM drains them all.
"""

import json
import os
import signal
import socket
import sys

LISTEN_FD = 3  # where sd_listen_fds(3) looks

(host, port), admins, command = sys.argv[1].split(":"), sys.argv[2].split(","), sys.argv[3:]
listener = socket.create_server((host, int(port)), backlog=4096)
processes = {}
stopping = False


def start(admin):
    pid = os.fork()
    if pid == 0:
        os.dup2(listener.fileno(), LISTEN_FD)
        os.set_inheritable(LISTEN_FD, True)
        os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), EVENTGATE_ADMIN_LISTEN=admin)
        os.execvp(command[0], command)
    processes[pid] = admin
    print(json.dumps({"started": {"admin": admin, "pid": pid}}), flush=True)


def stop(*_):
    global stopping
    stopping = True
    for pid in processes:
        os.kill(pid, signal.SIGTERM)


for each in admins:
    start(each)
signal.signal(signal.SIGTERM, stop)
while processes:
    ended, status = os.wait()
    which = processes.pop(ended)
    if os.waitstatus_to_exitcode(status) == 2:
        raise SystemExit("The configuration is not valid, and doesn't get better by itself.")
    if not stopping:
        start(which)
