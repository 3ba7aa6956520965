"""What tests ask for by name."""

import contextlib
import itertools

import pytest

from kit.gateway import Gateway, install_schema
from kit.postgres import Postgres
from kit.proxy import Proxy
from kit.tls import Certificate
from kit.tokens import SECRET

numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres():
    """A server that no test may disturb."""
    server = Postgres()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(scope="session")
def secret_file(tmp_path_factory):
    """The key that kit.tokens makes tokens with."""
    path = tmp_path_factory.mktemp("keys") / "secret"
    path.write_bytes(SECRET)
    return path


@pytest.fixture
def fragile_postgres():
    """A server of this test's own, to stop and to break."""
    server = Postgres()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(scope="session")
def gateway(postgres):
    """A gateway that no test may disturb: channels t/... by pattern, listed/a and listed/b by name."""
    process = Gateway("--postgres", postgres.conninfo, "--live", "listed/a,listed/b,t/**", "--workers", "2")
    try:
        yield process.wait_ready()
    finally:
        code = process.stop()
    assert code == 0, process.log_text()


@pytest.fixture(scope="session")
def durable_gateway(postgres):
    """A gateway with durable channels that no test may disturb: d/... by pattern, kept/a and kept/b by name, and the
    live channels t/..."""
    install_schema(postgres.conninfo)
    process = Gateway("--postgres", postgres.conninfo, "--live", "t/**", "--durable", "d/**,kept/a,kept/b",
                      "--workers", "2")
    try:
        yield process.wait_ready()
    finally:
        code = process.stop()
    assert code == 0, process.log_text()


@contextlib.contextmanager
def starting(postgres, **always):
    """Starts gateways of one test's own, and ends them: arguments of the program; `database`: a server, a conninfo, or
    None where a configuration file says it all; `durable`: its durable channels, whose schema is installed first."""
    started = []

    def start(*arguments, database=postgres, live="t/**", durable=None, **options):
        conninfo = getattr(database, "conninfo", database)
        given = ("--postgres", conninfo) if conninfo else ()
        given += ("--live", live) if conninfo and live else ()
        if durable:
            install_schema(conninfo)
            given += ("--durable", durable)
        process = Gateway(*given, *arguments, **always | options)
        started.append(process)
        return process

    yield start
    codes = [process.stop() for process in started]
    assert all(code in (0, 143, -9) for code in codes), [process.log_text() for process in started]


@pytest.fixture
def start_gateway(postgres):
    with starting(postgres) as start:
        yield start


@pytest.fixture(scope="session")
def certificate():
    made = Certificate()
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def tls_gateway(postgres, certificate):
    """What `gateway` is, but over TLS."""
    process = Gateway("--postgres", postgres.conninfo, "--live", "listed/a,listed/b,t/**", "--workers", "2",
                      certificate=certificate)
    try:
        yield process.wait_ready()
    finally:
        code = process.stop()
    assert code == 0, process.log_text()


@pytest.fixture
def start_tls_gateway(postgres, certificate):
    with starting(postgres, certificate=certificate) as start:
        yield start


@pytest.fixture
def channel():
    """A live channel that is this test's alone."""
    return f"t/{next(numbers)}"


@pytest.fixture
def durable_channel():
    """A durable channel that is this test's alone."""
    return f"d/{next(numbers)}"


@pytest.fixture
def make_proxy():
    proxies = []

    def make(target):
        proxies.append(Proxy(target))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()
