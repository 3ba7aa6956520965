"""TLS: versions, certificates and their reload, what a client sees of the end, and that nothing goes past it."""

import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess

import pytest

from kit.crowd import Crowd
from kit.gateway import RELEASE, run
from kit.http import Closed, Connection, call
from kit.streams import Stream
from kit.tls import Certificate
from kit.wait import DEADLINE, until
from test_taken import block, by_format, chunks, library_in_use, rename_import, start_with

RSA = ("-newkey", "rsa:2048")


@pytest.fixture
def own_certificate():
    made = Certificate()
    yield made
    made.remove()


def cut(connection):
    """Reads up to the end: was there no close_notify?"""
    connection.rest()
    return connection.is_cut


# --- what is spoken


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@by_format
def test_streams_polls_and_posts_of_both_versions(tls_gateway, certificate, postgres, channel, version, form):
    context = certificate.context(version, version)
    with Stream(tls_gateway.address, f"/channels/{channel}?format={form}", tls=context) as stream:
        cursor = stream.cursor()
        assert stream.connection.socket.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
        assert stream.connection.socket.selected_alpn_protocol() == "http/1.1"
        posted = call(tls_gateway.address, "POST", f"/channels/{channel}", '"posted"', tls=context)
        assert posted.status == 202
        postgres.notify(channel, '"notified"')
        assert [event.data for event in stream.events(2)] == ["posted", "notified"]
    again = Stream(tls_gateway.address, f"/channels/{channel}?format={form}&after={cursor}", tls=context)
    assert [event.data for event in again.events(2)] == ["posted", "notified"], "resumed"
    again.close()
    answer = call(tls_gateway.address, "GET", f"/channels/{channel}?format=poll&after={cursor}", tls=context)
    assert [event["data"] for event in answer.json()["events"]] == ["posted", "notified"]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["1.0", "1.1"])
def test_older_versions_are_refused(tls_gateway, certificate, most):
    context = certificate.context(ssl.TLSVersion.TLSv1, most)
    context.set_ciphers("ALL:@SECLEVEL=0")
    failed = tls_gateway.metric('eventgate_tls_handshakes_total{result="failed"}')
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Connection(tls_gateway.address, tls=context)
    until(lambda: tls_gateway.metric('eventgate_tls_handshakes_total{result="failed"}') == failed + 1, "it is counted")


def test_a_client_that_speaks_no_http_1_is_told_so(tls_gateway, certificate):
    context = certificate.context()
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        Connection(tls_gateway.address, tls=context)


def test_a_session_is_resumed_by_a_ticket(tls_gateway, certificate):
    context = certificate.context(most=ssl.TLSVersion.TLSv1_2)
    first = Connection(tls_gateway.address, tls=context)
    session = first.socket.session
    first.close()
    with socket.create_connection(tuple(tls_gateway.address)) as plain, \
            context.wrap_socket(plain, server_hostname="localhost", session=session) as again:
        assert again.session_reused


def test_curl(tls_gateway, certificate, channel):
    url = f"https://localhost:{tls_gateway.address[1]}"
    command = ["curl", "-sS", "--fail", "--cacert", certificate.certificate, "--resolve",
               f"localhost:{tls_gateway.address[1]}:{tls_gateway.address[0]}"]
    with subprocess.Popen([*command, "-N", f"{url}/channels/{channel}"], stdout=subprocess.PIPE, text=True) as stream:
        try:
            assert stream.stdout.readline().startswith("retry:")
            done = subprocess.run([*command, "-d", '"by curl"', f"{url}/channels/{channel}"], capture_output=True,
                                  text=True, timeout=DEADLINE, check=False)
            assert done.returncode == 0 and done.stderr == "", done
            assert any('"by curl"' in line for line in stream.stdout)
        finally:
            stream.kill()


# --- the handshake


def test_a_plain_request_is_not_answered(tls_gateway):
    with Connection(tuple(tls_gateway.address)) as plain:
        plain.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"HTTP" not in plain.rest()


@pytest.mark.parametrize("start", [b"", b"\x16", b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + b"x" * 100],
                         ids=["nothing", "a byte", "half a hello"])
def test_a_slow_handshake_is_cut_at_the_deadline_of_the_head(start_tls_gateway, start):
    gateway = start_tls_gateway("--header-timeout", "300ms").wait_ready()
    with Connection(tuple(gateway.address)) as slow:
        slow.send(start)
        assert slow.is_closed()
    until(lambda: gateway.metric("eventgate_connections") == 1, "no connection is left but the one that asks")
    assert gateway.metric('eventgate_limited_total{limit="header_timeout"}') == 1


def test_half_open_handshakes_cost_no_processor_time(start_tls_gateway):
    gateway = start_tls_gateway("--workers", "1", binary=RELEASE).wait_ready()
    waiting = [Connection(tuple(gateway.address)) for _ in range(20)]
    for connection in waiting:
        connection.send(b"\x16\x03\x01")
    until(lambda: gateway.metric("eventgate_connections") == 21, "they are all there")

    def ticks():
        with open(f"/proc/{gateway.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before, turns = ticks(), 5
    for _ in range(turns):  # each of them is a second that the gateway has nothing to do in
        assert gateway.poll("/channels/t/quiet?wait=1&after=" + gateway.poll("/channels/t/quiet")["next"])["next"]
    assert ticks() - before < turns * os.sysconf("SC_CLK_TCK") // 4
    for connection in waiting:
        connection.close()


def test_a_connection_over_the_limit_is_closed_before_its_handshake(start_tls_gateway, channel):
    gateway = start_tls_gateway("--max-connections-per-address", "5").wait_ready()
    streams = [gateway.stream(f"/channels/{channel}", source="127.0.0.2") for _ in range(5)]
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Connection(gateway.address, source="127.0.0.2")
    assert gateway.metric('eventgate_limited_total{limit="max_connections_per_address"}') == 1
    for stream in streams:
        stream.close()
    until(lambda: gateway.metric("eventgate_streams") == 0, "all streams are gone")
    with gateway.stream(f"/channels/{channel}", source="127.0.0.2") as stream:
        assert stream.cursor()


# --- requests that two servers would read differently


PLANTED = b"POST /channels/%s HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n\"planted\""


@pytest.mark.parametrize("head", [
    b"POST /channels/%s HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 3\r\n\r\n",
    b"POST /channels/%s HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /channels/%s HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\n",
    b"POST /channels/%s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
    b"GET /channels/%s HTTP/1.1\nHost: a\n\n",
    b"GET /channels/%s HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
], ids=["CL twice", "CL and TE", "space", "unknown TE", "bare LF", "folding"])
@pytest.mark.parametrize("behind", ["first", "pipelined", "kept alive"])
def test_what_is_planted_behind_a_bad_head_does_not_run(tls_gateway, channel, head, behind):
    name = channel.encode()
    good = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
    with tls_gateway.stream(f"/channels/{channel}") as stream, Connection(tls_gateway.address) as connection:
        stream.cursor()
        bad = (head.replace(b"%s", name)) + PLANTED % name
        if behind == "first":
            connection.send(bad)
        elif behind == "pipelined":
            connection.send(good + bad)
        else:
            connection.send(good)
        if behind != "first":
            assert connection.response().status == 200
        if behind == "kept alive":
            connection.send(bad)
        answer = connection.response()
        assert answer.status in (400, 501) and answer.problem() and answer.header("connection") == "close"
        assert connection.is_closed() and not connection.is_cut, "the refusal is whole, and so is the session's end"
        assert tls_gateway.publish(channel, '"ours"').status == 202
        assert stream.event().data == "ours", "nothing planted stands before it"


# --- the end


def test_every_end_says_so(start_tls_gateway, channel):
    gateway = start_tls_gateway("--idle-timeout", "300ms").wait_ready()
    with Connection(gateway.address) as answered, Connection(gateway.address) as idle:
        assert answered.request("GET", "/livez", Connection="close").response().status == 200
        assert not cut(answered)
        assert idle.request("GET", "/livez").response().status == 200
        assert not cut(idle)
    stream = gateway.stream(f"/channels/{channel}")
    stream.cursor()
    gateway.process.send_signal(signal.SIGTERM)
    assert stream.until_closed() == [] and not cut(stream.connection)
    stream.close()
    assert gateway.ended() == 0


@by_format
def test_a_drain_completes_what_has_been_begun(start_tls_gateway, postgres, channel, form):
    gateway = start_tls_gateway("--drain-timeout", "1min").wait_ready()
    with block(gateway, postgres, channel, form=form) as connection:
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait_log("draining")
        found, _ = chunks(connection.rest())
        assert not connection.is_cut
    assert found.pop() == b"", "the end is said"
    assert all(b'"n"' in chunk for chunk in found[2 if form == "sse" else 1:-1]), "and whole events stand before it"
    assert gateway.ended() == 0


def test_the_drain_does_not_wait_for_a_reader_that_is_stuck(start_tls_gateway, postgres, channel):
    gateway = start_tls_gateway("--drain-timeout", "300ms").wait_ready()
    with block(gateway, postgres, channel) as connection:
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.ended() == 0
        assert gateway.wait_log("drain deadline.*streams=1")
        assert cut(connection), "the client can tell that this is not the whole of it"


def test_clients_that_are_killed_are_noticed(start_tls_gateway, channel):
    gateway = start_tls_gateway().wait_ready()
    before = gateway.descriptors()
    crowd = Crowd(gateway, f"/channels/{channel}", 50)
    try:
        crowd.wait_open()
        assert gateway.metric("eventgate_streams") == 50
    finally:
        crowd.kill()
    until(lambda: gateway.metric("eventgate_streams") == 0, "eventgate_streams is 0")
    until(lambda: gateway.descriptors() <= before, "all descriptors are given back")


# --- certificates


def peer(gateway, context):
    with Connection(gateway.address, tls=context) as connection:
        return connection.socket.getpeercert(binary_form=True)


def reload(gateway):
    """Sends SIGHUP, and waits until that has been dealt with; the log since then."""
    lines = len(gateway.log)
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: any("reloaded" in line for line in gateway.log[lines:]), "it is reloaded, or not")
    return "\n".join(gateway.log[lines:])


def trusting(*certificates):
    context = certificates[0].context()
    for other in certificates[1:]:
        context.load_verify_locations(other.certificate)
    return context


@pytest.mark.threads
def test_a_new_certificate_is_for_new_connections_and_streams_go_on(start_gateway, postgres, own_certificate, channel):
    gateway = start_gateway("--workers", "2", certificate=own_certificate).wait_ready()
    old = own_certificate.der()
    context = own_certificate.context()
    streams = [Stream(gateway.address, f"/channels/{channel}", tls=context) for _ in range(8)]
    for stream in streams:
        stream.cursor()
    for number in range(3):
        own_certificate.make(key=RSA if number == 0 else ("-newkey", "ed25519"))
        context.load_verify_locations(own_certificate.certificate)
        assert "TLS certificate loaded" in reload(gateway)
        new = own_certificate.der()
        until(lambda: peer(gateway, context) == new, "new connections see the new certificate")
        assert new != old
        old = new
        postgres.notify(channel, str(number))
        assert [stream.event().data for stream in streams] == [number] * len(streams)
    for stream in streams:
        stream.close()


@pytest.mark.parametrize("broken", ["no key", "no certificate", "another key", "nonsense", "an encrypted key",
                                    "a folder", "a pipe"])
def test_a_bad_pair_changes_nothing_and_at_start_is_an_error(start_gateway, own_certificate, postgres, broken):
    gateway = start_gateway(certificate=own_certificate).wait_ready()
    context = own_certificate.context()
    old = own_certificate.der()
    key, certificate = pathlib.Path(own_certificate.key), pathlib.Path(own_certificate.certificate)
    other = Certificate()
    told = {"no key": "tls_key: .*No such file", "no certificate": "tls_certificate: .*No such file",
            "another key": "tls_certificate: .* does not belong to the key", "nonsense": "tls_key: .*no private key",
            "an encrypted key": "tls_key: .* is encrypted", "a folder": "tls_certificate: .*cannot be read",
            "a pipe": "tls_key: .*cannot be read: it is no regular file"}[broken]
    if broken == "no key":
        key.unlink()
    elif broken == "no certificate":
        certificate.unlink()
    elif broken == "another key":
        key.write_text(pathlib.Path(other.key).read_text(encoding="ascii"), encoding="ascii")
    elif broken == "nonsense":
        key.write_text("nonsense", encoding="ascii")
    elif broken == "an encrypted key":
        subprocess.run(["openssl", "pkey", "-in", other.key, "-out", own_certificate.key, "-aes256", "-passout",
                        "pass:secret"], check=True)
        key.chmod(0o644)
    elif broken == "a pipe":
        key.unlink()
        os.mkfifo(key)
    else:
        certificate.unlink()
        certificate.mkdir()
    other.remove()
    reload(gateway)
    gateway.wait_log(f"not reloaded, nothing has changed.*{told}")
    assert peer(gateway, context) == old
    shown = run("--live", "a", "--postgres", postgres.conninfo, "--listen", "tls:127.0.0.1:0",
                *own_certificate.arguments())
    assert shown.returncode == 2
    assert re.search(told, shown.stderr), shown.stderr


@pytest.mark.parametrize("days, told", [(30, "INFO .*TLS certificate loaded"), (3, "WARN .*about to expire"),
                                        (None, "WARN .*has expired")])
def test_the_end_of_a_certificate_is_told(start_gateway, own_certificate, days, told):
    if days:
        own_certificate.make(days)
    else:
        own_certificate.make_expired()
    start_gateway(certificate=own_certificate).wait_log(told)


def test_tls_needs_both_files():
    for arguments, told in ((["--listen", "tls:127.0.0.1:0"], "tls_certificate is missing"),
                            (["--listen", "127.0.0.1:0", "--tls-certificate", "x"], "tls_key is missing"),
                            (["--listen", "tls:nowhere"], "nowhere")):
        shown = run("--check-config", "--live", "a", *arguments)
        assert shown.returncode == 2 and told in shown.stderr, shown.stderr


def test_plain_and_tls_side_by_side(start_gateway, own_certificate, channel):
    gateway = start_gateway(*own_certificate.arguments(), listen="127.0.0.1:0,tls:127.0.0.1:0").wait_ready()
    port = int(gateway.wait_log("listening.*tls=yes").rpartition(":")[2].split()[0])
    with gateway.stream(f"/channels/{channel}") as plain, \
            Stream(("127.0.0.1", port), f"/channels/{channel}", tls=own_certificate.context()) as secure:
        plain.cursor(), secure.cursor()
        assert call(("127.0.0.1", port), "POST", f"/channels/{channel}", "1", tls=own_certificate.context()).status == 202
        assert gateway.publish(channel, "2").status == 202
        assert [stream.event().data for stream in (plain, plain, secure, secure)] == [1, 2, 1, 2]
    assert gateway.metric("eventgate_tls_certificate_expiry_timestamp_seconds") > 1e9


# --- nothing goes past it


@pytest.mark.parametrize("writes_with", [b"send", b"write"])
def test_it_starts_only_if_the_library_writes_through_tls(postgres, own_certificate, tmp_path, writes_with):
    """A copy of the library in use whose import of send() is that of write(): it would answer in plain bytes."""
    library = library_in_use()
    (tmp_path / library.name).write_bytes(rename_import(library.read_bytes(), b"send", writes_with))
    code, log = start_with(postgres.conninfo, *own_certificate.arguments(), listen="tls:127.0.0.1:0",
                           LD_LIBRARY_PATH=str(tmp_path))
    if writes_with == b"send":
        assert code == 0 and "tls=yes" in log, log
    else:
        assert code == 1 and "cannot be used with TLS" in log and "listening" not in log, log


def test_small_records(tls_gateway, postgres, channel):
    """A client that asks for records of 512 bytes (max_fragment_length) gets events larger than those whole."""
    command = ["openssl", "s_client", "-quiet", "-maxfraglen", "512", "-tls1_2", "-noservername", "-ign_eof",
               "-connect", f"{tls_gateway.address[0]}:{tls_gateway.address[1]}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        try:
            client.stdin.write(f"GET /channels/{channel}?format=ndjson HTTP/1.0\r\n\r\n".encode())
            client.stdin.flush()
            until(lambda: b"cursor" in client.stdout.readline(), "the stream has begun")
            postgres.notify(channel, *[f'"{n} {"x" * 5000}"' for n in range(20)])
            for number in range(20):
                assert f'"{number} {"x" * 5000}"'.encode() in client.stdout.readline()
        finally:
            client.kill()


def test_a_closed_stream_raises(tls_gateway, channel):
    stream = tls_gateway.stream(f"/channels/{channel}")
    stream.cursor()
    stream.connection.socket.unwrap()  # close_notify, both ways
    with pytest.raises((Closed, ssl.SSLError, ValueError, OSError)):
        stream.read(0.5)
    stream.close()
    until(lambda: tls_gateway.metric("eventgate_streams") == 0, "the stream is gone")
