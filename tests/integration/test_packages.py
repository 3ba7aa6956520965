"""What is installed: below any prefix, and by the Debian package; that it works from there, and goes without a trace."""

import gzip
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess

import pytest

from kit.gateway import RELEASE, ROOT, environment, install_schema
from kit.postgres import unprivileged
from kit.sandbox import filter_of, settings
from kit.wait import until

BUILD = pathlib.Path(RELEASE).parent
PACKAGE = "pg-eventgate"
MOST_EXPOSED = 2.0


def command(*words, **options):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300, **options)


def succeeds(*words, **options):
    done = command(*words, **options)
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def install(prefix, destdir=""):
    """Installs, and returns what the installation says that it has installed."""
    succeeds("cmake", "--install", BUILD, "--prefix", prefix, env=environment(DESTDIR=str(destdir)))
    return sorted((BUILD / "install_manifest.txt").read_text().split("\n"))


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefix")
    install(folder)
    return folder


# --- below a prefix


def test_everything_lies_below_the_prefix(prefix, tmp_path):
    below = files_below(prefix)
    assert below == sorted([
        "bin/pg_eventgate", "etc/pg_eventgate/pg_eventgate.conf", "lib/systemd/system/pg_eventgate.service",
        "lib/systemd/system/pg_eventgate.socket", "share/man/man1/pg_eventgate.1.gz",
        "share/man/man5/pg_eventgate.conf.5.gz", "share/pg_eventgate/eventgate.sql",
        *(f"share/pg_eventgate/extension/{name}" for name in extension_names())])
    told = install(tmp_path / "anew")
    assert told == [str(tmp_path / "anew" / name) for name in below]
    assert files_below(tmp_path / "anew") == below


def test_destdir_goes_before_the_prefix(prefix, tmp_path):
    told = install("/opt/eventgate", destdir=tmp_path / "root")
    below = files_below(tmp_path / "root" / "opt" / "eventgate")
    assert files_below(tmp_path / "root") == [f"opt/eventgate/{name}" for name in below]
    assert below == files_below(prefix) and told == [f"/opt/eventgate/{name}" for name in below]
    unit = (tmp_path / "root/opt/eventgate/lib/systemd/system/pg_eventgate.service").read_text()
    assert settings(unit, "ExecStart") == [
        "/opt/eventgate/bin/pg_eventgate --config /opt/eventgate/etc/pg_eventgate/pg_eventgate.conf"]


def test_a_configuration_that_is_there_is_kept(tmp_path):
    install(tmp_path)
    configuration = tmp_path / "etc/pg_eventgate/pg_eventgate.conf"
    configuration.write_text("# mine\n")
    install(tmp_path)
    assert configuration.read_text() == "# mine\n"


def extension_names():
    return sorted(path.name for path in (BUILD / "sql").glob("pg_eventgate[.-]*"))


def test_the_script_and_the_extension_are_the_build_s(prefix):
    for name in extension_names():
        assert (prefix / "share/pg_eventgate/extension" / name).read_bytes() == (BUILD / "sql" / name).read_bytes()
    assert "pg_eventgate.control" in extension_names() and len(extension_names()) >= 2
    assert (prefix / "share/pg_eventgate/eventgate.sql").read_bytes() == (BUILD / "sql/eventgate.sql").read_bytes()


# --- manual and sample


def options_in_help():
    shown = succeeds(RELEASE, "--help")
    options = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", shown, re.MULTILINE))
    assert len(options) > 50
    return options


def commands_in_help():
    listed = re.search(r"^Commands[^\n]*:\n(.*?)\n\n", succeeds(RELEASE, "--help"), re.MULTILINE | re.DOTALL)[1]
    commands = re.findall(r"^  ([a-z]+)", listed, re.MULTILINE)
    assert len(commands) >= 4
    return commands


def manual(prefix, page, width=500):
    """What man shows of it."""
    shown = command("man", "--warnings", "-l", prefix / f"share/man/man{page[-1]}/{page}.gz",
                    env=environment(LC_ALL="C.UTF-8", MANWIDTH=str(width), MANPAGER="cat"))
    assert shown.returncode == 0 and shown.stderr == "", shown.stderr
    return shown.stdout


@pytest.mark.skipif(shutil.which("man") is None, reason="man isn't here")
def test_the_manual_has_every_option_command_signal_and_status(prefix):
    program, configuration = manual(prefix, "pg_eventgate.1"), manual(prefix, "pg_eventgate.conf.5")
    for option in options_in_help():
        assert re.search(rf"^ +(-\w, )?{option}\b", program, re.MULTILINE), option
        key = option[2:].replace("-", "_")
        if key in ("config", "check_config", "help", "version"):
            continue
        assert re.search(rf"^ +{key} = \S", configuration, re.MULTILINE), key
        assert re.search(rf"^ +EVENTGATE_{key.upper()}$", program, re.MULTILINE), key
    for chapter in ("NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "SIGNALS", "EXIT STATUS", "ENVIRONMENT",
                    "FILES", "SEE ALSO"):
        assert re.search(rf"^{chapter}$", program, re.MULTILINE), chapter
    words = " ".join(program.split())
    for name in commands_in_help():
        assert re.search(rf"^ +{name}\b", program, re.MULTILINE), name
        for line in succeeds(RELEASE, name, "--help").splitlines():
            assert " ".join(line.split()) in words, line
    for page in ("pg_eventgate.1", "pg_eventgate.conf.5"):
        assert not [line for line in manual(prefix, page, 80).splitlines() if len(line) > 80], page
    for term in ("SIGTERM", "SIGHUP", "SIGUSR2", "143", "DATABASE_URL", "NOTIFY_SOCKET",
                 "/etc/pg_eventgate/pg_eventgate.conf"):
        assert re.search(rf"^ +{term}\b", program, re.MULTILINE), term


def test_the_sample_has_every_option_and_says_what_is_missing(prefix):
    sample = prefix / "etc/pg_eventgate/pg_eventgate.conf"
    options = {"--" + key.replace("_", "-") for key in re.findall(r"^#(\w+) =", sample.read_text(), re.MULTILINE)}
    assert options == options_in_help() - {"--config", "--check-config", "--help", "--version"}
    shown = command(prefix / "bin/pg_eventgate", "--check-config", "--config", sample, env=environment())
    assert shown.returncode == 2 and "no channels" in shown.stderr


def test_the_sample_is_accepted_with_every_comment_removed(prefix, tmp_path):
    """Each option as it stands there; a text behind "# " remains one."""
    sample = (prefix / "etc/pg_eventgate/pg_eventgate.conf").read_text()
    text, count = re.subn(r"^#(?! )", "", sample, flags=re.MULTILINE)
    assert count > 50
    (tmp_path / "all.conf").write_text(text)
    shown = command(prefix / "bin/pg_eventgate", "--check-config", "--config", tmp_path / "all.conf", env=environment())
    assert shown.returncode == 0 and "1 channel set" in shown.stdout, shown.stderr


# --- the units

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze isn't here")


def unit_of(prefix):
    return prefix / "lib/systemd/system/pg_eventgate.service"


def test_the_service_is_a_notifying_one_with_a_watchdog(prefix):
    unit = unit_of(prefix).read_text()
    expected = {"Type": "notify", "DynamicUser": "yes", "ExecReload": "/bin/kill -HUP $MAINPID",
                "ExecStart": f"{prefix}/bin/pg_eventgate --config {prefix}/etc/pg_eventgate/pg_eventgate.conf"}
    assert {name: settings(unit, name)[0] for name in expected} == expected
    assert settings(unit, "WatchdogSec") and int(settings(unit, "LimitNOFILE")[0]) >= 65536


@needs_systemd
def test_systemd_knows_all_that_the_units_say(prefix):
    units = sorted((prefix / "lib/systemd/system").iterdir())
    assert len(units) == 2
    shown = command("systemd-analyze", "verify", *units, env=environment(MANPATH=str(prefix / "share/man")))
    told = [line for line in (shown.stdout + shown.stderr).splitlines() if "pg_eventgate" in line]
    assert shown.returncode == 0 and told == [], shown.stderr


@needs_systemd
def test_how_exposed_the_service_is(prefix):
    shown = command("systemd-analyze", "security", "--no-pager", "--offline=true", unit_of(prefix))
    found = re.search(r"Overall exposure level for pg_eventgate\.service: ([0-9.]+)", shown.stdout)
    assert found and float(found[1]) <= MOST_EXPOSED, shown.stdout[-200:] + shown.stderr


@needs_systemd
def test_it_works_with_the_system_calls_that_the_unit_allows(prefix, start_gateway, postgres, make_proxy):
    """A look-up of a name, streams, POSTs to live and durable channels, a reload: any other call would kill it."""
    proxy = make_proxy(postgres.socket)
    install_schema(postgres.conninfo)
    gateway = start_gateway("--workers", "2", "--durable", "d/**", binary=prefix / "bin/pg_eventgate",
                            database=f"host=localhost port={proxy.port} user=postgres dbname=postgres",
                            process_options={"preexec_fn": filter_of(unit_of(prefix).read_text())})
    gateway.wait_ready()
    with gateway.stream("/channels/t/sandbox") as stream:
        stream.cursor()
        assert gateway.publish("t/sandbox", '{"n":1}').status == 202
        assert stream.event().data == {"n": 1}
    assert gateway.publish("d/sandbox", "1").status == 201
    assert gateway.metric("process_resident_memory_bytes") > 0
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_log("configuration reloaded")
    assert gateway.stop() == 0, gateway.log_text()


# --- the Debian package

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-shlibdeps") is None, reason="dpkg-dev isn't here")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    succeeds("cpack", "-G", "DEB", "-B", folder, cwd=BUILD)
    (built,) = folder.glob("*.deb")
    return built


@needs_dpkg
def test_what_the_package_says_of_itself(package):
    version = succeeds(RELEASE, "--version").split()[1]
    assert re.fullmatch(rf"{PACKAGE}_{re.escape(version)}-\d+_[a-z0-9]+\.deb", package.name)
    fields = dict(re.findall(r"^([\w-]+): (.*)", succeeds("dpkg-deb", "--field", package), re.MULTILINE))
    assert fields["Package"] == PACKAGE and fields["Section"] == "database"
    assert {name.split()[0] for name in fields["Depends"].split(", ")} >= {"libc6", "libpq5"}
    assert succeeds("dpkg-deb", "--info", package, "conffiles").split() == ["/etc/pg_eventgate/pg_eventgate.conf"]


@needs_dpkg
def test_the_package_has_the_extension_for_every_postgresql(package, tmp_path):
    succeeds("dpkg-deb", "--extract", package, tmp_path)
    majors = sorted(path.name for path in (tmp_path / "usr/share/postgresql").iterdir())
    assert majors == ["14", "15", "16", "17", "18"]
    for major in majors:
        folder = tmp_path / "usr/share/postgresql" / major / "extension"
        assert sorted(path.name for path in folder.iterdir()) == extension_names()
        assert all(path.resolve(strict=True).is_relative_to(tmp_path) for path in folder.iterdir())
    written = (tmp_path / f"usr/share/doc/{PACKAGE}/copyright").read_text()
    for name, file in (("PostgreSQL", "LICENSE"), ("Expat", "gateway/web/playground/uPlot.LICENSE")):
        licence = (ROOT / file).read_text().split("\n\n", 2)[2]
        stated = written.split(f"License: {name}\n")[1].split("\nFiles:")[0]
        assert licence.split() == [word for word in stated.split() if word != "."]
    with gzip.open(tmp_path / f"usr/share/doc/{PACKAGE}/changelog.Debian.gz", "rt") as changelog:
        assert changelog.readline().split()[1] == f"({package.name.split('_')[1]})"
    overrides = (tmp_path / f"usr/share/lintian/overrides/{PACKAGE}").read_text().splitlines()
    assert len([line for line in overrides if not line.startswith("#")]) <= 3
    assert all(overrides[i - 1].startswith("# ") for i, line in enumerate(overrides) if not line.startswith("#"))


@needs_dpkg
@pytest.mark.skipif(shutil.which("man") is None, reason="man isn't here")
def test_the_files_that_the_manual_names_are_in_the_package(package, prefix, tmp_path):
    succeeds("dpkg-deb", "--extract", package, tmp_path)
    chapter = re.search(r"^FILES\n(.*?)^\S", manual(prefix, "pg_eventgate.1"), re.MULTILINE | re.DOTALL)[1]
    named = re.findall(r"^ +(/\S+)$", chapter, re.MULTILINE)
    assert len(named) >= 5 and all((tmp_path / name[1:]).exists() for name in named), named


@needs_dpkg
@pytest.mark.skipif(shutil.which("lintian") is None, reason="lintian isn't here")
def test_lintian_finds_nothing(package):
    shown = command("lintian", "--allow-root", "--no-cfg", "--fail-on", "error,warning", package, env=environment())
    assert shown.returncode == 0 and shown.stdout == "", shown.stdout + shown.stderr


# tests/run is for root, or a user with sudo.
AS_ROOT = [] if os.getuid() == 0 else ["sudo", "-n"]


def is_root_to_be_had():
    return not AS_ROOT or shutil.which("sudo") is not None and command(*AS_ROOT, "true").returncode == 0


def dpkg(*words):
    """Waits for its turn, as apt does."""
    def run():
        done = command(*AS_ROOT, "env", "DEBIAN_FRONTEND=noninteractive", "dpkg", *words)
        return None if done.returncode == 2 and "lock" in done.stderr else done

    done = until(run, "dpkg's lock is free", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def is_installed():
    return command("dpkg-query", "--status", PACKAGE).returncode == 0


def traces():
    """What there is of it on this machine, and the folders where it leaves things."""
    found = command("find", "/etc", "/usr", "/lib/systemd", "/var/lib/systemd", "/run", "-xdev", "-name", "*pg*eventgate*",
                    "-not", "-path", "/usr/share/postgresql/*")
    return sorted(found.stdout.split()) + sorted(str(path) for path in pathlib.Path("/usr/share/postgresql").glob("*/*"))


@needs_dpkg
@pytest.mark.skipif(not is_root_to_be_had(), reason="installing needs root")
def test_installed_started_and_removed(package, start_gateway, postgres, tmp_path):
    """On this machine; where systemd is not running, as here in a container, the scripts of the package must not mind."""
    try:
        until(lambda: not is_installed(), "another run of this test has removed it", timeout=30)
    except AssertionError:
        pytest.skip(f"{PACKAGE} is installed on this machine")
    before = traces()
    configuration = pathlib.Path("/etc/pg_eventgate/pg_eventgate.conf")
    try:
        dpkg("--install", str(package))
        assert succeeds("dpkg", "--verify", PACKAGE) == ""
        unit = pathlib.Path("/usr/lib/systemd/system/pg_eventgate.service").read_text()
        start = shlex.split(settings(unit, "ExecStart")[0])
        assert start == ["/usr/bin/pg_eventgate", "--config", str(configuration)]
        text = configuration.read_text().replace("#listen = 127.0.0.1:8080", "listen = 127.0.0.1:0")
        text = text.replace("#[set shop]", "[set shop]").replace("#live = orders, chat/*", "live = t/**")
        (tmp_path / "adapted").write_text(text.replace("#postgres = dbname=shop user=eventgate",
                                                       f"postgres = {postgres.conninfo}"))
        succeeds(*AS_ROOT, "cp", tmp_path / "adapted", configuration)
        gateway = start_gateway(*start[1:], binary=start[0], database=None, listen=None,
                                process_options=unprivileged()).wait_ready()
        assert gateway.publish("t/installed", "1").status == 202
        assert gateway.stop() == 0, gateway.log_text()
        has_extension = postgres.sql("select count(*) from pg_available_extensions where name = 'pg_eventgate'")
        assert has_extension == [(1,)]
        dpkg("--remove", PACKAGE)
        assert configuration.exists() and not pathlib.Path(start[0]).exists()
    finally:
        if is_installed():
            dpkg("--purge", PACKAGE)
    assert traces() == before
