"""Runs the Keycloak of its order with an empty database in memory, under a public name, and prints
where it listens. It ends when nobody holds its standard input any more."""

import json
import os
import re
import subprocess
import sys
import threading

ORDER = json.loads(sys.argv[1])
LISTENING = re.compile(r"Listening on: (http://127\.0\.0\.1:\d+)")

server = subprocess.Popen(
    [
        *(ORDER["home"] + "/bin/kc.sh", "start", "--optimized", "--hostname", ORDER["hostname"]),
        *("--http-enabled", "true", "--http-host", "127.0.0.1", "--http-port", "0"),
    ],
    env={
        **ORDER["environment"],
        # It announces itself by standard output alone.
        "KC_LOG": "console",
        "KC_LOG_CONSOLE_COLOR": "false",
        "KC_BOOTSTRAP_ADMIN_USERNAME": "admin",
        "KC_BOOTSTRAP_ADMIN_PASSWORD": ORDER["password"],
    },
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    text=True,
    start_new_session=True,
)


def stop_at_the_end():
    sys.stdin.read()
    # The script has started the server's virtual machine, which does not end with it.
    os.killpg(server.pid, 15)


threading.Thread(target=stop_at_the_end, daemon=True).start()
for line in server.stdout:
    if found := LISTENING.search(line):
        print(json.dumps({"door": found.group(1)}), flush=True)
    elif " ERROR " in line or " WARN " in line:
        print(line, end="", file=sys.stderr)
sys.exit(server.wait())
