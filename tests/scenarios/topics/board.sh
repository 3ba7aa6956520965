#!/bin/sh
# A subscriber without a program: all of one board, a JSON line each.
#     GATEWAY=http://127.0.0.1:8080 sh board.sh tea
exec pg_eventgate tail "forum/$1/**" --url "$GATEWAY" --after earliest
