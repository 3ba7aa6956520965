"""Puts the schema `eventgate` into a database, as its users do."""

import subprocess

from kit.gateway import environment


def install(postgres, binary):
    subprocess.run([binary, "schema", "install", "--postgres", postgres.conninfo], check=True, env=environment())
