"""Clients that come for one answer each, by a new connection every time, as many as they can."""

import contextlib
import socket
import struct
import threading
import time

REQUEST = b"GET /livez HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n"
THREADS = 4
PAUSE_S = 0.0005
NO_LINGER = struct.pack("ii", 1, 0)  # no port is kept for a minute


def once(address):
    """None, or what was wrong with the answer."""
    try:
        with contextlib.closing(socket.create_connection(address, timeout=20)) as connection:
            connection.sendall(REQUEST)
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    except OSError as error:
        return f"connecting: {error}"
    return None if answer.startswith(b"HTTP/1.1 200 ") else f"connecting: answered {answer[:100]}"


def run(addresses, over, connects):
    """Until `over`; counts up `connects`. Returns what wasn't answered as it should: [(time, text)]."""
    unanswered, counts, pause = [], [0] * THREADS, threading.Event()

    def come(number):
        while not over.is_set():
            wrong = once(addresses[counts[number] % len(addresses)])
            counts[number] += 1
            if wrong:
                unanswered.append((time.monotonic(), wrong))
            pause.wait(PAUSE_S)

    threads = [threading.Thread(target=come, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connects.value = sum(counts)
    return unanswered
