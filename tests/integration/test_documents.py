"""What is written about the program is true of it: documentation, dashboard and alerts name no metric, option or
endpoint that there isn't, and leave none out."""

import re

import pytest

from kit.gateway import ROOT, run

DASHBOARD, ALERTS = ROOT / "docker/grafana/pg_eventgate.json", ROOT / "docker/prometheus/alerts.yml"
README, REFERENCE = ROOT / "README.md", ROOT / "docs/metrics.md"
DOCUMENTS = [README, *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("docker/**/*.json")),
             *sorted(ROOT.glob("docker/**/*.yml")), *sorted(ROOT.glob("docker/**/*.yaml"))]
each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)

# Other things whose names begin like a metric's: roles and a schema of the database, a cookie.
NO_METRICS = {"eventgate_publish", "eventgate_read", "eventgate_gateway", "eventgate_admin", "eventgate_watch",
              "eventgate_token"}
# Flags of other programs, and of commands of ours.
OTHER_FLAGS = {"--build", "--cacert", "--check-config", "--component", "--config", "--connects",
               "--data-binary", "--disable-triggers", "--faults", "--from-file", "--from-literal", "--help",
               "--install", "--isolation", "--kill-whom", "--long", "--now", "--offline", "--plots", "--prefix",
               "--reference", "--runs", "--sabotage", "--seconds", "--set", "--signal", "--target", "--version",
               "--yes"}
OTHER_PATHS = {"/usr", "/etc", "/run", "/proc", "/dev", "/var", "/tmp", "/lib", "/events-api", "/64", "/32", "/8",
               "/listen"}
# Names of programs that one moves from.
OTHER_WORDS = {"authorization_details", "socket_io_attachments", "write_timeout"}


# --- what is named, and what there is


def metrics_in(text):
    """The families that it names."""
    return {re.sub(r"_(bucket|sum|count)$", "", name)
            for name in re.findall(r"\b(?:eventgate|process)_[a-z_]+[a-z]\b", text)} - NO_METRICS


def flags_in(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+[a-z]", text)) - OTHER_FLAGS


def words_in(text):
    """Names with an underscore in backticks, as options have them: `max_body`, `max_body = 1MB`."""
    return {name for quoted in re.findall(r"`([^`\n]+)`", text)
            for name in re.findall(r"^([a-z]+(?:_[a-z]+)+)(?: = .*)?$", quoted)}


def endpoints_in(text):
    """The first levels of the paths that it names, as METHOD /path, `/path` or a URL."""
    found = re.findall(r"(?:\b(?:GET|POST|HEAD|PUT|OPTIONS) |`|:80\d\d|localhost:8443)(/[a-z0-9-]+(?:\.[a-z]+)*)", text)
    return {path for path in found if path not in OTHER_PATHS}


@pytest.fixture(scope="module")
def metrics(durable_gateway):
    return set(re.findall(r"^# TYPE (\S+) ", durable_gateway.get("/metrics").text(), re.MULTILINE))


@pytest.fixture(scope="module")
def options():
    flags = set(re.findall(r"^ +(--[a-z-]+)", run("--help").stdout, re.MULTILINE)) - {"--check-config"}
    assert len(flags) > 50
    return {flag[2:].replace("-", "_") for flag in flags}


@pytest.fixture(scope="module")
def flags(options):
    """Those of the gateway, and of the program's commands."""
    commands = re.findall(r"^  ([a-z]+) ", run("--help").stdout.partition("\nCommands (")[2].partition("\n\n")[0],
                          re.MULTILINE)
    assert "schema" in commands
    texts = [run(command, "--help").stdout for command in commands]
    assert all("Usage: pg_eventgate" in text for text in texts)
    return {name for text in texts for name in re.findall(r"--([a-z-]+)", text)} | {
        name.replace("_", "-") for name in options}


@pytest.fixture(scope="module")
def sources():
    files = [path for folder in ("gateway", "include", "sql", "tests", "packaging")
             for path in (ROOT / folder).rglob("*")
             if path.suffix in (".c", ".h", ".sql", ".py", ".txt", ".in", "") and path.is_file()
             and path.name != "test_documents.py" and "corpus" not in path.parts]
    return set(re.findall(r"\w+", "\n".join(path.read_text(errors="replace") for path in files))) | {
        path.stem for path in files}


ASSETS = {"/openapi.json", "/asyncapi.json", "/eventgate.js"}
ROUTES = set(re.findall(r'\{"(/[a-z]+)", EG_ROUTE_', (ROOT / "gateway/http/request.c").read_text())) | ASSETS


# --- metrics


@each_document
def test_the_metrics_that_it_names_are_there(path, metrics):
    named = metrics_in(path.read_text())
    assert named <= metrics, named - metrics


def test_every_metric_is_described_and_shown(metrics):
    assert len(metrics) > 60
    for path in (REFERENCE, DASHBOARD):
        missing = metrics - metrics_in(path.read_text())
        assert not missing, (path.name, missing)


# --- options


@each_document
def test_the_options_that_it_names_are_there(path, options, flags, metrics, sources):
    text = path.read_text()
    named = {flag[2:] for flag in flags_in(text)}
    assert named <= flags, named - flags
    words = words_in(text) - options - metrics - OTHER_WORDS
    assert words <= sources, words - sources
    variables = set(re.findall(r"\bEVENTGATE_[A-Z_]+\b", text))
    unknown = {name for name in variables if name[10:].lower() not in options} - sources
    assert not unknown, unknown


def test_the_readme_has_every_option(options):
    missing = {name for name in options if f"| `{name}` |" not in README.read_text()}
    assert not missing, missing


def test_alerts_name_options_and_metrics_only(options, metrics):
    """What an operator is told to set or to look at; what is PostgreSQL's or the log's own is listed."""
    words = words_in(ALERTS.read_text()) - {"trace_id"}
    assert words and words <= options | metrics, words - options - metrics


def test_the_configurations_that_the_readme_shows_are_valid(tmp_path):
    shown = re.findall(r"```ini\n(\[(?:gateway|set ).*?)```", README.read_text(), re.DOTALL)
    assert shown
    for number, text in enumerate(shown):
        file = tmp_path / f"{number}.conf"
        file.write_text(text)
        done = run("--config", str(file), "--check-config")
        assert done.returncode == 0, done.stderr


# --- endpoints


def test_there_are_endpoints(gateway):
    assert len(ROUTES) >= 7
    for path in ROUTES | {"/channels/t/a"}:
        assert gateway.call("OPTIONS", path).status == 204, path


@each_document
def test_the_endpoints_that_it_names_are_there(path):
    named = endpoints_in(path.read_text())
    assert named <= ROUTES, named - ROUTES


def test_the_readme_has_every_endpoint():
    text = README.read_text()
    chapter = text[text.index("## HTTP reference"):text.index("## Configuration")]
    missing = ROUTES - endpoints_in(chapter.replace("`, `/", "` `/"))
    assert not missing, missing


# --- the checks themselves


def test_what_is_not_there_is_found(options, flags, metrics, sources):
    text = "`eventgate_nothing_total` and rate(eventgate_nothing_bucket[5m]), `--nothing-at-all`, " \
           "`nothing_at_all = 1`, `GET /nothing`, http://127.0.0.1:8080/nowhere, `/nobody`"
    assert metrics_in(text) - metrics == {"eventgate_nothing_total", "eventgate_nothing"}
    assert flags_in(text) == {"--nothing-at-all"} and "nothing-at-all" not in flags
    assert words_in(text) - options - sources == {"nothing_at_all", "eventgate_nothing_total"}
    assert endpoints_in(text) == {"/nothing", "/nowhere", "/nobody"} and not endpoints_in(text) & ROUTES
