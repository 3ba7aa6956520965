"""A subscriber that needs nothing but Python: keeps the activities of a topic in SQLite, each once, whatever is killed.

    python3 keeper.py http://127.0.0.1:8080 'forum/*/*/create' notes.db
"""

import http.client
import json
import sqlite3
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

GATEWAY, TOPIC, FILE = sys.argv[1:]


def follow(store):
    """Reads the stream to its end; an activity and the place where it goes on are stored in one transaction."""
    place = store.execute("SELECT id FROM activity ORDER BY number DESC LIMIT 1").fetchone()
    query = urllib.parse.urlencode({"channel": TOPIC, "format": "ndjson", "after": place[0] if place else "earliest"})
    with urllib.request.urlopen(f"{GATEWAY}/events?{query}", timeout=40) as stream:  # there is a line every 15 s
        for line in stream:
            event = json.loads(line) if line.strip() else {}
            if "gap" in event:
                print("This may be missing:", event["gap"], file=sys.stderr)
            elif "data" in event:
                with store:
                    store.execute("INSERT INTO activity (id, topic, data) VALUES (?, ?, ?)",
                                  (event["id"], event["channel"], json.dumps(event["data"])))


def main():
    store = sqlite3.connect(FILE)
    store.execute("PRAGMA journal_mode = WAL")  # who reads it disturbs nobody
    store.execute("CREATE TABLE IF NOT EXISTS activity (number INTEGER PRIMARY KEY, id TEXT, topic TEXT, data TEXT)")
    while True:
        try:
            follow(store)
        except urllib.error.HTTPError as error:
            if error.code in (400, 401, 403, 404):
                sys.exit(error.read().decode())  # the gateway says what is wrong with the request
        except (OSError, http.client.HTTPException):
            pass  # it is away, or the network is
        time.sleep(1)


if __name__ == "__main__":
    main()
