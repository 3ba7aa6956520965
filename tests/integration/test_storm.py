"""A reconnect storm: ten thousand streams come back at once, each with a cursor. All of them get what they missed, and
who is connected meanwhile goes on getting its events."""

import pathlib
import resource
import subprocess

from kit.gateway import RELEASE

LOAD = pathlib.Path(RELEASE).parent / "tests" / "bench_load"
CLIENTS = 10_000
MISSED = 50
SERVED_MEANWHILE = 20  # of events one after the other, each published when the one before has arrived


def raise_limit():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def storm(gateway, target, folder):
    """Opens the streams as fast as the gateway takes them; ends when each has had its events, and fails if one is closed."""
    aims = pathlib.Path(folder, "aims")
    aims.write_text(f"{MISSED} {target}\n")
    host, port = gateway.address
    return subprocess.Popen([LOAD, "drain", "--server", f"{host}:{port}/", "--aims", aims,
                             "--streams", str(CLIENTS)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            preexec_fn=raise_limit)


def follow_until_over(gateway, stream, process, name):
    """Publishes and reads until the storm is over; how many events that were."""
    count = 0
    while process.poll() is None:
        assert gateway.publish(name, str(count)).status == 202
        assert stream.event().json()["data"] == count, "an event is missing, or there is a gap"
        count += 1
    return count


def test_ten_thousand_come_back_while_others_are_served(start_gateway, postgres, channel, durable_channel, tmp_path):
    gateway = start_gateway("--workers", "2", durable="d/**", binary=RELEASE).wait_ready()
    cursor = gateway.poll(f"/channels/{durable_channel}")["next"]
    for number in range(MISSED):
        assert gateway.publish(durable_channel, f'{{"t":1,"n":{number}}}').status == 201
    with gateway.stream(f"/channels/{channel}") as stream:
        stream.cursor()
        process = storm(gateway, f"/channels/{durable_channel}?after={cursor}", tmp_path)
        served = follow_until_over(gateway, stream, process, channel)
    assert process.returncode == 0, process.stdout.read()
    process.stdout.close()
    assert served >= SERVED_MEANWHILE
    assert gateway.metric("eventgate_gaps_total") == 0
