"""curl, started again with the last id whenever its stream has ended: with_curl.py URL [TOKEN]"""

import subprocess
import sys
import time

from with_python import Reader, say


def main(url, token=None):
    reader = Reader()
    while True:
        headers = [f"-H{name}: {value}" for name, value in reader.headers(token).items()]
        with subprocess.Popen(["curl", "-sfN", *headers, url], stdout=subprocess.PIPE) as curl:
            for kind, data in reader.messages(curl.stdout):
                say(kind, data, reader.last_id)
        say("error", curl.returncode)
        time.sleep(reader.retry)


if __name__ == "__main__":
    main(*sys.argv[1:])
