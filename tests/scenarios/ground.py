"""What a scenario stands on: a database, and a gateway that can be killed."""

import json
import signal

from kit import schema


class Database(schema.Database):
    """One of this scenario's own, with the schema of durable channels."""

    @property
    def variables(self):
        """What PostgreSQL's clients want."""
        return {"PGHOST": self.server.folder, "PGUSER": "postgres", "PGDATABASE": self.name}

    def published(self):
        """[(id, channel, data)]: all that was ever published durably, in order."""
        tag = self.value("select tag from eventgate.state")
        rows = self.sql("select pos, channel, data::text from eventgate.log order by pos")
        return [(f"{tag}.{pos}", channel, json.loads(data)) for pos, channel, data in rows]


class SteadyGateway:
    """A gateway that comes back at its address after it was killed; `start`: the fixture start_gateway."""

    def __init__(self, start, *arguments, **options):
        options.setdefault("live", None)
        self._start = lambda listen: start("--retry", "100ms", *arguments, listen=listen, **options)
        self.gateway = self._start("127.0.0.1:0").wait_ready()
        self.url, self.address = self.gateway.url, self.gateway.address

    def kill(self):
        self.gateway.stop(signal.SIGKILL)

    def start(self):
        self.gateway = self._start("{}:{}".format(*self.address)).wait_ready()
