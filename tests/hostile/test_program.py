"""What the program is made of: how it was built, read from the ELF, and what its sources may call."""

import functools
import platform
import re
import subprocess

import pytest

from kit.gateway import RELEASE, ROOT

SOURCES = sorted([*ROOT.glob("gateway/**/*.c"), *ROOT.glob("include/**/*.h")])
ENDBR64 = bytes.fromhex("f30f1efa")
x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="CET is x86_64's")


# --- the build


@functools.cache
def readelf(*options):
    return subprocess.run(["readelf", "-W", *options, RELEASE], check=True, capture_output=True, text=True).stdout


def segment(name):
    return next(line.split() for line in readelf("--segments").splitlines() if line.split()[:1] == [name])


def imported():
    rows = [line.split() for line in readelf("--dyn-syms").splitlines()]
    return {row[7].split("@")[0] for row in rows if len(row) > 7 and row[6] == "UND"}


def test_position_independent():
    assert re.search(r"Type:\s+DYN", readelf("--file-header"))
    assert re.search(r"FLAGS_1.* PIE", readelf("--dynamic"))


def test_relocations_are_read_only_from_the_start():
    assert segment("GNU_RELRO")
    dynamic = readelf("--dynamic")
    assert "BIND_NOW" in dynamic and re.search(r"FLAGS_1.* NOW", dynamic)
    assert "TEXTREL" not in dynamic


def test_the_stack_is_not_executable():
    flags = segment("GNU_STACK")[6]
    assert flags == "RW", flags


def test_nothing_is_both_writable_and_executable():
    for line in readelf("--segments").splitlines():
        assert not re.search(r"^\s+LOAD\s.*\sRWE\s", line), line


def test_libraries_come_from_the_system():
    dynamic = readelf("--dynamic")
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic


def test_stack_protector():
    assert "__stack_chk_fail" in imported()


def test_fortify():
    checked = {name for name in imported() if name.endswith("_chk")}
    assert {"__snprintf_chk", "__vsnprintf_chk", "__memcpy_chk"} <= checked, checked
    assert not imported() & {"sprintf", "vsprintf", "strcpy", "strcat", "gets"}


@x86_64
def test_shadow_stack():
    assert re.search(r"x86 feature:.*SHSTK", readelf("--notes"))


def text_section():
    """Address, offset and size of .text."""
    row = next(line for line in readelf("--sections").splitlines() if re.search(r"\] \.text\s", line))
    return [int(field, 16) for field in row.split("]", 1)[1].split()[2:5]]


@x86_64
def test_frames_are_probed_page_by_page():
    """-fstack-clash-protection: no function moves the stack pointer by more than a page at once."""
    shown = subprocess.run(["objdump", "-d", "--no-show-raw-insn", "-j", ".text", RELEASE], check=True,
                           capture_output=True, text=True).stdout
    steps = [int(step, 16) for step in re.findall(r"sub\s+\$0x([0-9a-f]{1,8}),%rsp", shown)]
    assert steps and max(steps) <= 4096, max(steps)


@x86_64
def test_every_function_of_ours_begins_with_endbr64():
    address, offset, size = text_section()
    with open(RELEASE, "rb") as program:
        program.seek(offset)
        text = program.read(size)
    functions = {}
    for line in readelf("--symbols").splitlines():
        fields = line.split()
        if len(fields) == 8 and fields[3:5] == ["FUNC", "GLOBAL"] and re.match(r"(eg_\w+|main)$", fields[7]):
            functions[fields[7]] = int(fields[1], 16) - address
    bare = [name for name, at in functions.items() if text[at:at + 4] != ENDBR64]
    assert len(functions) > 300 and not bare, bare


# --- the sources


def code(path):
    """The text of a source without comments and without what stands in string literals."""
    text = re.sub(r"/\*.*?\*/", lambda match: "\n" * match[0].count("\n"), path.read_text(), flags=re.DOTALL)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


def calls(names):
    """[(file, line)] of every call of one of these functions."""
    found = []
    for path in SOURCES:
        for number, line in enumerate(code(path).splitlines(), 1):
            if re.search(rf"(?<![\w.>])({names})\s*\(", line):
                found.append((path.relative_to(ROOT).as_posix(), number))
    return found


def test_no_program_is_ever_run_but_this_one():
    """An upgrade starts the path that the kernel was given for this process; nothing else comes near it."""
    started = calls(r"system|popen|fork|vfork|clone|posix_spawnp?|exec[lv]p?e?|execvpe|fexecve|wordexp|dlopen")
    assert [path for path, _ in started] == ["gateway/host/successor.c"]
    assert [path for path, _ in calls("eg_successor_start")] == ["gateway/host/successor.c", "gateway/upgrade.c",
                                                                 "include/eventgate/successor.h"]
    assert not imported() & {"system", "popen", "fork", "vfork", "execve", "execvp", "execv", "execl", "execlp",
                             "dlopen", "posix_spawnp", "wordexp"}


# Who may open a file, and how often: its name is a constant, or comes from the command line and the configuration.
FILES_OPENED = {
    "gateway/host/file.c": 2,  # the configuration; the keys of tokens, tls_certificate and tls_key
    "gateway/doctor/doctor_access.c": 1,  # keys and tls_key: may others read them?
    "gateway/client/cursor_file.c": 2,  # tail --cursor-file, and its being put in its place
    "gateway/http/intake.c": 1,  # /dev/null, the reserve descriptor
    "gateway/http/intake_accept.c": 1,  # the same
    "gateway/host/process.c": 3,  # /proc/self/status, how large /proc/self/fd is, /dev/null in place of what is closed
}


def test_no_file_is_opened_but_the_listed_ones():
    opened = {}
    for path, _ in calls(r"open|open64|openat|creat|fopen|freopen|opendir|mkstemp|tmpfile|rename|unlink|remove|mkdir|"
                         r"symlink|truncate|realpath|stat|lstat|access|chdir"):
        opened[path] = opened.get(path, 0) + 1
    assert opened == FILES_OPENED


# --- SQL

# What a command may be where it is sent: a literal, a constant text, or the buffer of one of the two functions that put
# an SQL text together (check_server: constants of settings; send_names: names quoted by PQescapeIdentifier()).
COMMANDS = r'"|[a-z]+_sql\b|situation_query|eg_schema_script|sql\.data'
ASSEMBLED = {"gateway/postgres/connection.c", "gateway/postgres/listener.c"}
# The one format that makes a part of a command: names and numbers of our own.
FORMATTED = {"gateway/postgres/log_query.c": 2}
SQL = r"\b(SELECT|INSERT|UPDATE|DELETE|LISTEN|NOTIFY|COPY|CREATE|DROP|ALTER|set_config|pg_catalog|eventgate\.\w+)\b"


def arguments(path, function):
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    return re.findall(rf"(?<![\w]){function}\(([^;{{]*?)\);", text, re.DOTALL)


def test_libpq_is_given_commands_in_one_place():
    for path in SOURCES:
        sending = re.findall(r"\b(PQexec\w*|PQprepare|PQsendQuery|PQsendQueryParams|PQsendPrepare)\(", code(path))
        where = path.relative_to(ROOT).as_posix()
        if where == "gateway/postgres/connection.c":
            assert sorted(sending) == ["PQsendPrepare", "PQsendQuery"]
        elif where == "gateway/postgres/connection_admin.c":
            assert set(sending) == {"PQexec"}
        else:
            assert not sending, where


def test_commands_are_constant_but_for_quoted_names():
    found = 0
    for path in SOURCES:
        where = path.relative_to(ROOT).as_posix()
        for function, position in (("eg_connection_query", 1), ("eg_connection_prepare", 2), ("eg_admin_run", 1)):
            for given in arguments(path, function):
                if given.startswith("struct "):
                    continue  # the declaration
                command = given.split(",", position)[position].strip()
                assert re.match(COMMANDS, command), (where, given)
                assert not command.startswith("sql.data") or where in ASSEMBLED, (where, given)
                if name := re.match(r"[a-z]+_sql\b", command):
                    assert re.search(rf"^static const char {name[0]}\[\] =", path.read_text(), re.MULTILINE), (where, given)
                found += 1
    assert found >= 12


def test_no_format_makes_sql():
    formatted = {}
    for path in SOURCES:
        for function in ("snprintf", "sprintf", "asprintf", "eg_buffer_add_format"):
            for given in arguments(path, function):
                if re.search(rf'"[^"]*{SQL}[^"]*%[^"]*"', given) and path.parent.name != "http":
                    where = path.relative_to(ROOT).as_posix()
                    formatted[where] = formatted.get(where, 0) + 1
    assert formatted == FORMATTED


def test_the_schema_runs_no_command_that_is_pasted_together():
    """What sql/ executes is a constant, or made by format(), which quotes (%I, %L); %s only of the listed things, which
    are of type regclass, numbers or constants. `command` in watch.sql is made by format() as well."""
    plain = {"watch", "scratch", "relation", '"table"', "begun.number"}
    for path in sorted(ROOT.glob("sql/*.sql")):
        text = re.sub(r"--.*", "", path.read_text())
        for command in re.findall(r"(?<!GRANT )\bEXECUTE\s+(?!ON\b|FUNCTION\b|PROCEDURE\b)(.*?);", text, re.DOTALL):
            if re.fullmatch(r"'[^']*'( INTO \w+)?|command", command.strip()):
                continue
            assert command.startswith("format("), (path.name, command)
            assert "||" not in command.split(",")[0], (path.name, command)
            if simple := re.fullmatch(r"format\('[^%']*%s[^%']*',\s*(.*)\)", command.strip()):
                assert simple[1] in plain, (path.name, command)
