"""A page of docs/ that shows how to move from something else: its code is run as it stands there.

What stands below a sentence that begins with *Now* or *Before* and ends with a colon is code to run."""

import json
import pathlib
import re
import shlex
import socket
import subprocess

from kit.chromium import chromium
from kit.gateway import ROOT, Gateway, environment, run
from kit.wait import until
from test_clients import PROGRAMS, Client

SAYS_WHEN = re.compile(r"(?:^|\. )(Now|Before)\b[^.]*:$")


def blocks_of(text):
    """(heading, Now or Before, language, code) of all that is run, in order."""
    heading = when = language = None
    code = ""
    for line in text.splitlines(keepends=True):
        if line.startswith("```"):
            if language and when:
                yield heading, when, language, code
            language, code = (None if language else line[3:].strip()), ""
        elif language:
            code += line
        elif line.startswith("#"):
            heading, when = line.strip("# \n"), None
        elif SAYS_WHEN.search(line.strip()):
            when = SAYS_WHEN.search(line.strip())[1]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Browser(Client):
    """Chromium, with a page for each piece of code."""

    def __init__(self):
        super().__init__(["node", f"{PROGRAMS}/pages.mjs", chromium()])

    def tell(self, **what):
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        self.process.stdin.flush()


class Page:
    def __init__(self, browser, url, file, cookie):
        self.browser, self.name = browser, str(file)
        browser.tell(name=self.name, url=url, file=self.name, cookie=cookie)

    def of(self, kind):
        return [each["data"] for each in self.browser.of(kind) if each["name"] == self.name]

    def shown(self, count):
        until(lambda: len(self.of("shown")) >= count, f"{self.name} shows {count}", timeout=60)
        return self.of("shown")

    def click(self, selector):
        self.browser.tell(name=self.name, click=selector)


class Program(Client):
    """Of Node."""

    def shown(self, count):
        self.wait("shown", count)
        return [each["data"] for each in self.of("shown")]

    def write(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def close(self):
        self.process.terminate()
        self.process.wait(60)


class Guide:
    """`folder`: where its files lie, and its programs run. Its database is `shop`, as in the code."""

    def __init__(self, name, folder, postgres, browser):
        self.folder, self.postgres, self.browser = pathlib.Path(folder), postgres, browser
        self.blocks = list(blocks_of((ROOT / "docs" / name).read_text()))
        self.used, self.gateways, self.programs = set(), [], []
        (self.folder / "node_modules").symlink_to(f"{PROGRAMS}/node_modules")
        postgres.sql("CREATE DATABASE shop")
        self.variables = {"PGHOST": postgres.folder, "PGUSER": "postgres", "PGDATABASE": "shop"}
        self.ports = {}

    def code(self, heading, language, when="Now"):
        """The block under the heading that begins so; programs talk to the gateway where it is."""
        place, code = next((place, code) for place, (title, then, kind, code) in enumerate(self.blocks)
                           if re.match(rf"(?:\d\. )?{heading}", title) and (then, kind) == (when, language))
        self.used.add(place)
        for port, ours in self.ports.items() if language == "js" else ():
            code = code.replace(f"127.0.0.1:{port}", f"127.0.0.1:{ours}").replace(f"Server({port},", f"Server({ours},")
        return code

    def unused(self):
        """What is to be run and hasn't been."""
        return [block for place, block in enumerate(self.blocks) if place not in self.used and block[1] == "Now"]

    def start_gateway(self, heading):
        """Runs the commands there; the last one is the gateway."""
        for line in self.code(heading, "sh").replace("\\\n", "").splitlines():
            program, *arguments = shlex.split(line)
            assert program == "pg_eventgate"
            if arguments[0] == "schema":
                done = run(*arguments, **self.variables)
                assert done.returncode == 0, done.stderr
                continue
            place = arguments.index("--listen")
            assert arguments[place + 1] == "127.0.0.1:8080"
            del arguments[place:place + 2]
            gateway = Gateway(*arguments, variables=self.variables, process_options={"cwd": self.folder})
            self.gateways.append(gateway.wait_ready())
            self.ports[8080] = gateway.address[1]
        return self.gateways[-1]

    def sql(self, text):
        conninfo = self.postgres.conninfo.replace("dbname=postgres", "dbname=shop")
        return self.postgres.run("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", conninfo, text=text)

    def page(self, name, code, cookie=None):
        """A page of the gateway that was started last; its stream is there."""
        gateway = self.gateways[-1]
        before = gateway.metric("eventgate_streams")
        page = Page(self.browser, gateway.url, self.file(name, code), cookie)

        def is_there():
            assert self.browser.process.poll() is None and not page.of("error"), (page.of("error"), self.browser.errors)
            return gateway.metric("eventgate_streams") > before

        until(is_there, "the page's stream is there", timeout=60)
        return page

    def file(self, name, code):
        path = self.folder / name
        path.write_text(code)
        return path

    def node(self, name, code, **variables):
        """A program that prints a JSON line for each thing that it shows."""
        self.programs.append(Program(["node", str(self.file(name, code))], cwd=self.folder,
                                     env=environment(**self.variables, **variables)))
        return self.programs[-1]

    def run_node(self, name, code, **variables):
        """Runs a program to its end; returns what it prints."""
        done = subprocess.run(["node", str(self.file(name, code))], cwd=self.folder, text=True, timeout=60, check=False,
                              capture_output=True, env=environment(**self.variables, **variables))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self):
        for program in self.programs:
            program.close()
        for gateway in self.gateways:
            assert gateway.stop() == 0, gateway.log_text()
        self.postgres.sql("DROP DATABASE shop WITH (FORCE)")
