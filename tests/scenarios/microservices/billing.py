"""Billing, in Python without a library for events: an invoice for each order that was shipped.

The invoice, the event that tells of it, and how far billing has read are one transaction of billing's own database.
So each order is billed once, whenever billing is killed.
"""

import json
import os
import secrets
import time
import urllib.request

import psycopg2

database = psycopg2.connect("dbname=billing")


def shipped(after):
    """Orders from there on, as they come."""
    url = f"{os.environ['GATEWAY']}/events?channel=order/*&format=ndjson&after={after}"
    with urllib.request.urlopen(url, timeout=60) as lines:  # a heartbeat comes every 15 s
        for line in lines:
            event = json.loads(line) if line.strip() else {}
            if "gap" in event:
                raise SystemExit(f"events are missing: {event['gap']}")
            if event.get("type") == "order_shipped":
                yield event


def child_of(trace):
    """The same trace, a new span: https://www.w3.org/TR/trace-context/"""
    version, trace_id, _, flags = trace.split("-")
    return f"{version}-{trace_id}-{secrets.token_hex(8)}-{flags}"


def bill(event):
    order = event["data"]
    with database, database.cursor() as sql:
        sql.execute("insert into invoice (order_id, cents) values (%s, %s)", (order["id"], order["cents"]))
        sql.execute("select eventgate.publish(%s, %s, 'invoice_made', trace => %s)",
                    (f"invoice/{order['id']}", json.dumps({"cents": order["cents"]}), child_of(event["trace"])))
        sql.execute("update progress set place = %s", (event["id"],))


def place():
    with database, database.cursor() as sql:
        sql.execute("select place from progress")
        return sql.fetchone()[0]


print(json.dumps({"ready": True}), flush=True)
while True:
    try:
        for one in shipped(place()):
            bill(one)
    except OSError:  # no gateway, or not any more
        time.sleep(0.3)
