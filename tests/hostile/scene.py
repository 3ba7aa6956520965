"""What a row of the table acts on."""

import contextlib
import dataclasses
import itertools
import json
import shutil
import subprocess
import tempfile

from kit.gateway import Gateway, install_schema
from kit.http import Connection
from kit.postgres import Postgres, unprivileged
from kit.proxy import Proxy
from kit.wait import until
from witness import Witness

numbers = itertools.count(1)
ROWS = []


@dataclasses.dataclass
class Row:
    name: str
    does: str  # what is done to the gateway
    sees: str  # what its users see of it
    stays: tuple  # the gaps of a live channel that the row is allowed to cause, of who stays connected; None: no gap
    returns: tuple  # the same of who was away meanwhile
    shared: bool  # on the gateway that all such rows share, with its witness there beforehand
    run: object


def row(does, sees, shared=False, gap=None, returns=None):
    """Enters a function of a scene into the table. `gap`: reasons, for both; `returns`: others for who comes back."""
    def enter(function):
        reasons = (gap,) if isinstance(gap, str) else gap
        again = (returns,) if isinstance(returns, str) else returns
        ROWS.append(Row(function.__name__, does, sees, reasons, again or reasons, shared, function))
        return function

    return enter


class Template:
    """A data folder with the schema in it, copied for each server that a row may break."""

    def __init__(self):
        self.server = Postgres()
        self.server.start()
        install_schema(self.server.conninfo)
        self.server.stop()

    def server_of_its_own(self):
        return Copy(self.server.folder)


class Copy(Postgres):
    def __init__(self, template):
        self.template = template
        super().__init__()

    def make_data(self):
        subprocess.run(["cp", "-a", "--reflink=auto", f"{self.template}/data", self.folder], check=True,
                       **unprivileged())


class Scene:
    """`gateway`, `postgres`: those of this row. What it opens is closed behind it."""

    def __init__(self, shared_gateway, shared_postgres, template):
        self.shared_gateway, self.postgres, self.template = shared_gateway, shared_postgres, template
        self.gateway, self.witness = None, None
        self.cleanup = contextlib.ExitStack()
        number = next(numbers)
        self.live, self.durable = f"t/row/{number}", f"d/row/{number}"

    # --- who is there

    def watch(self, gateway, database=None):
        self.gateway = gateway
        self.witness = Witness(gateway, self.postgres, database)
        self.cleanup.callback(self.witness.close)
        return gateway

    def use_shared(self):
        return self.watch(self.shared_gateway)

    def launch(self, *arguments, conninfo=None, live="t/**", durable="d/**", sets=True, make=Gateway, **options):
        """A gateway that nobody watches yet; it must end in order. Not `sets`: the arguments say which there are."""
        given = ("--postgres", conninfo or self.postgres.conninfo, "--live", live) if sets else ()
        given += ("--durable", durable) if sets and durable else ()
        gateway = make(*given, *arguments, **options)
        self.cleanup.callback(self.end, gateway)
        return gateway

    def end(self, gateway):
        assert gateway.stop() in (0, 143, -9), gateway.log_text()

    def start(self, *arguments, **options):
        """A gateway of this row's own, with the witness on it."""
        return self.watch(self.launch(*arguments, **options).wait_ready())

    def own_postgres(self):
        """A server of this row's own, to stop and to break."""
        self.postgres = self.template.server_of_its_own()
        self.cleanup.callback(self.postgres.remove)
        self.postgres.start()
        return self.postgres

    def proxy(self, target=None):
        """A network of this row's own, before the database, or before `target`."""
        proxy = Proxy(target or self.postgres.socket)
        self.cleanup.callback(proxy.close)
        return proxy

    def start_behind(self, proxy, *arguments, **options):
        conninfo = f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres"
        return self.start(*arguments, conninfo=conninfo, **options)

    def connect(self, gateway=None, **options):
        connection = Connection((gateway or self.gateway).address, **options)
        self.cleanup.callback(connection.close)
        return connection

    def stream(self, target, gateway=None, **options):
        stream = (gateway or self.gateway).stream(target, **options)
        self.cleanup.callback(stream.close)
        return stream

    def folder(self):
        folder = tempfile.mkdtemp(prefix="eventgate-hostile-")
        self.cleanup.callback(shutil.rmtree, folder)
        return folder

    # --- what they see

    def terminate(self, purpose="%"):
        self.postgres.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like %s",
                          f"pg_eventgate {purpose}")

    def metric(self, name):
        return self.gateway.metric(name)

    def sessions(self):
        return self.metric('eventgate_postgres_sessions_total{connection="listen"}')

    def refused(self, answer, status, name):
        assert answer.status == status and answer.problem()[0] == name, answer
        assert answer.problem()[1].endswith("."), "a sentence says what to do"
        if status in (429, 503):
            assert int(answer.header("retry-after")) > 0
        return answer.problem()[1]

    def unready(self, told):
        """Not ready, and /healthz says why."""
        self.gateway.wait_unready()
        until(lambda: told in self.gateway.get("/healthz").text().lower(), f"/healthz tells of {told}")
        assert self.gateway.get("/livez").status == 200

    def posts(self, channel, payload="1", status=None, **headers):
        answer = self.gateway.publish(channel, payload, **headers)
        assert answer.status == (status or (201 if channel.startswith("d/") else 202)), answer
        return answer

    def in_log(self, channel):
        """What the log has of a channel."""
        return [row[0] for row in self.postgres.sql("select data::text from eventgate.log where channel = %s order by pos", channel)]

    def batch(self, *items, **headers):
        headers.setdefault("Content_Type", "application/json")
        return self.gateway.call("POST", "/events", json.dumps([{"channel": c, "data": d} for c, d in items]), **headers)

    def close(self):
        self.cleanup.close()
