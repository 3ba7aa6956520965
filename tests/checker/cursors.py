"""Cursors and ids as clients see them: [TAG.]POS[~EPOCH-N], and EPOCH-N alone, the id of a live event."""

import collections
import re

CURSOR = re.compile(r"(?:(?:([a-z0-9]{1,8})\.)?(\d+))?(?:(?:^|~)([a-z2-7]{10})-(\d+))?$")
Cursor = collections.namedtuple("Cursor", "tag position epoch place")
NONSENSE = Cursor(None, None, None, 0)


def parse(text):
    """What the text says; None where it says nothing (`place`: 0)."""
    found = CURSOR.match(text or "")
    if not found:
        return NONSENSE
    tag, position, epoch, place = found.groups()
    return Cursor(tag, int(position) if position else None, epoch, int(place or 0))


def matches(pattern, channel):
    """Does the name or pattern of a subscription cover the channel?"""
    if "*" not in pattern:
        return pattern == channel
    wanted, levels = pattern.split("/"), channel.split("/")
    if wanted[-1] == "**":
        wanted.pop()
        levels = levels[:len(wanted)] if len(levels) > len(wanted) else []
    return len(wanted) == len(levels) and all(a in ("*", b) for a, b in zip(wanted, levels, strict=True))
