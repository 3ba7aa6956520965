"""A reader of events with nothing but Python's standard library, which comes back by Last-Event-ID:
with_python.py URL [TOKEN] prints what it hears, a JSON line each."""

import http.client
import json
import sys
import time
import urllib.request


class Reader:
    """`last_id` and `retry` (in seconds) are what the stream has said last."""

    def __init__(self):
        self.last_id, self.retry = "", 3.0

    def headers(self, token):
        return ({"Last-Event-ID": self.last_id} if self.last_id else {}) | (
            {"Authorization": f"Bearer {token}"} if token else {})

    def messages(self, lines):
        """(kind, data) of each message that is whole; `lines`: of bytes."""
        kind, data, last_id = "message", [], self.last_id
        for line in lines:
            name, _, value = line.decode().rstrip("\n").partition(":")
            value = value.removeprefix(" ")
            if line == b"\n":
                self.last_id = last_id
                if data:
                    yield kind, "\n".join(data)
                kind, data = "message", []
            elif name == "data":
                data.append(value)
            elif name == "event":
                kind = value
            elif name == "id":
                last_id = value
            elif name == "retry":
                self.retry = int(value) / 1000


def say(kind, data=None, last_id=None):
    print(json.dumps({"kind": kind, "data": data, "id": last_id}), flush=True)


def main(url, token=None):
    reader = Reader()
    while True:
        try:
            request = urllib.request.Request(url, headers=reader.headers(token))
            with urllib.request.urlopen(request, timeout=60) as stream:  # a heartbeat comes every 15 seconds
                say("open")
                for kind, data in reader.messages(stream):
                    say(kind, data, reader.last_id)
            say("error", "the stream has ended")
        except (OSError, http.client.HTTPException) as error:  # URLError and HTTPError are OSErrors
            if getattr(error, "code", 500) in (400, 401, 403, 404):
                raise
            say("error", repr(error))
        time.sleep(reader.retry)


if __name__ == "__main__":
    main(*sys.argv[1:])
