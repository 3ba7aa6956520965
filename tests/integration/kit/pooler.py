"""PgBouncer in transaction mode, before a server."""

import os
import subprocess

import psycopg2

from kit.postgres import private_folder, unprivileged
from kit.wait import until


class Pooler:
    def __init__(self, postgres):
        self.folder = private_folder("eventgate-pooler-")
        self.conninfo = f"host={self.folder} port=6432 user=postgres dbname=postgres"
        path = os.path.join(self.folder, "pgbouncer.ini")
        with open(path, "w") as file:
            file.write(f"[databases]\n* = host={postgres.folder} user=postgres\n"
                       f"[pgbouncer]\nunix_socket_dir = {self.folder}\nlisten_port = 6432\nauth_type = any\n"
                       "pool_mode = transaction\nignore_startup_parameters = extra_float_digits\n")
        os.chmod(path, 0o644)
        self.process = subprocess.Popen(["/usr/sbin/pgbouncer", "-q", path], cwd=self.folder,
                                        stderr=subprocess.DEVNULL, **unprivileged())

    def start(self):
        until(self._accepts, "PgBouncer accepts connections")
        return self

    def _accepts(self):
        try:
            psycopg2.connect(self.conninfo).close()
            return True
        except psycopg2.OperationalError:
            return False

    def remove(self):
        self.process.kill()
        self.process.wait()
        subprocess.run(["rm", "-rf", self.folder], check=True)
