"""What is published to, and the gateway's configuration around it."""

# Listed by name; `fat` has large payloads, so that a reader that stops reading fills its socket.
LISTED = [f"listed/{i}" for i in range(6)]
FAT = "listed/fat"
# Given by a pattern: LISTENed when somebody subscribes, UNLISTENed LINGER_S after the last one has gone.
CHOSEN = [f"chosen/{i}" for i in range(6)]
# Only those who come and go read these, so that they really are UNLISTENed.
LEFT = [f"left/{i}" for i in range(3)]
ALL = [*LISTED, FAT, *CHOSEN, *LEFT]

LINGER_S = 0.5
JOURNAL_EVENTS = 4000
FAT_BYTES = 7000

CONFIGURATION = f"""
[gateway]
workers = 2
heartbeat = 1s
retry = 100ms
drain_timeout = 3s
max_header = 16kB

[set checked]
postgres = {{conninfo}}
live = {",".join(LISTED)},{FAT},chosen/*,left/*
linger = {int(LINGER_S * 1000)}ms
journal_events = {JOURNAL_EVENTS}
postgres_heartbeat = 500ms
query_timeout = 1s
connect_timeout = 1s
"""
