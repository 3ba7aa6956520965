"""Topics as an API: a forum publishes Activity Streams 2.0 under forum/BOARD/THREAD/VERB, instead of to a topic broker.

Four subscribers, in Python, in the shell and in Node, take what they want by wildcards. On the way one is killed and
returns, the gateway is killed, and one is added; the forum is told nothing of it.
"""

import contextlib
import json
import re
import sqlite3

from counting import Count
from ground import SteadyGateway
from kit.wait import until

ACTIVITIES = 300


class Keeper:
    """topics/keeper.py, and what it keeps; started again, it goes on with the same file."""

    def __init__(self, launch, gateway, topic, file):
        self.file = file
        self.start = lambda: launch("topics/keeper.py", gateway.url, topic, file)
        self.program = self.start()

    def heard(self):
        with contextlib.closing(sqlite3.connect(self.file, timeout=60)) as store:
            if not store.execute("SELECT 1 FROM sqlite_master WHERE name = 'activity'").fetchall():
                return []
            return store.execute("SELECT id, data FROM activity ORDER BY number").fetchall()


def test_topics(database, start_gateway, launch, tmp_path, tell):
    gateway = SteadyGateway(start_gateway, database=database, durable="forum/**")
    notes = Keeper(launch, gateway, "forum/*/*/create", tmp_path / "notes")
    archive = Keeper(launch, gateway, "forum/**", tmp_path / "archive")
    board = launch("topics/board.sh", "tea", GATEWAY=gateway.url)
    until(lambda: gateway.gateway.metric("eventgate_streams") == 3, "three subscribers follow")
    forum = launch("topics/forum.mjs", ACTIVITIES, GATEWAY=gateway.url)
    forum.wait("published", ACTIVITIES // 4)
    until(notes.heard, "a note has been kept")
    notes.program.kill()
    forum.wait("published", ACTIVITIES // 2)
    gateway.kill()
    gateway.start()
    ranking = launch("topics/ranking.mjs", GATEWAY=gateway.url)
    notes.start()
    forum.wait("published", ACTIVITIES)

    log = [(id, channel, json.dumps(data)) for id, channel, data in database.published()]
    assert forum.of("published") == [id for id, _, _ in log], "each activity is in the log once"
    heard = {
        "forum/[^/]+/[^/]+/create": notes.heard,
        "forum/.+": archive.heard,
        "forum/tea/.+": lambda: [(line["id"], json.dumps(line["data"])) for line in list(board.said)],
        "forum/[^/]+/[^/]+/like": lambda: [(line["heard"], json.dumps(line["activity"])) for line in list(ranking.said)],
    }
    count = Count()
    for topic, got in heard.items():
        published = [(id, data) for id, channel, data in log if re.fullmatch(topic, channel)]
        until(lambda: published[-1] in got(), f"the last of {topic} is heard of")
        count.add(published, got())
    assert ranking.said[-1]["ranking"] == most_liked(log)
    tell(f"topics: {len(log)} activities, {count.delivered} deliveries to {count.receivers} subscribers, one of which and the "
         f"gateway were killed, and one was added: {count}")
    assert count.is_exact


def most_liked(log):
    likes = {}
    for _, channel, _ in log:
        _, board, thread, verb = channel.split("/")
        if verb == "like":
            likes[f"{board}/{thread}"] = likes.get(f"{board}/{thread}", 0) + 1
    return sorted(map(list, likes.items()), key=lambda row: -row[1])[:3]
