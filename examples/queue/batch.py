"""Sends the same file through Azure's Batch API, and prints the answers: batch.py FILE."""

import sys
import time

import requests

from application import GATEWAY, Token

ENDED = {"completed", "failed", "cancelled", "expired"}


def main(file, every=30):
    session = requests.Session()
    session.auth = Token()

    def call(method, path, **rest):
        answer = session.request(method, f"{GATEWAY}/v1/{path}", timeout=600, **rest)
        answer.raise_for_status()
        return answer

    with open(file, "rb") as lines:
        upload = {"purpose": (None, "batch"), "file": (file, lines, "application/jsonl")}
        uploaded = call("POST", "files", files=upload).json()
    order = {"input_file_id": uploaded["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = call("POST", "batches", json=order).json()
    while batch["status"] not in ENDED:
        time.sleep(float(every))
        batch = call("GET", f"batches/{batch['id']}").json()
    print(batch["id"], batch["status"], file=sys.stderr)
    for name in ("output_file_id", "error_file_id"):
        if batch.get(name):
            sys.stdout.write(call("GET", f"files/{batch[name]}/content").text)


if __name__ == "__main__":
    main(*sys.argv[1:])
