"""Prints how each job of examples/queue has ended, and what is in its queues; takes nothing out."""

import json
import sqlite3
import sys

import pika

order = json.loads(sys.argv[1])
channel = pika.BlockingConnection(pika.URLParameters(order["broker"])).channel()


def count(queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def dead():
    ids = []
    while True:
        delivery, properties, _ = channel.basic_get("jobs.dead")
        if delivery is None:
            return ids  # the channel closes, and the broker puts them back
        ids.append(properties.message_id)


state = {
    "ready": count("jobs"),
    "waiting": sum(count(f"jobs.wait.{seconds}") for seconds in order["waits"]),
    "outcomes": sqlite3.connect(order["outcomes"]).execute("select outcome, job from outcomes").fetchall(),
}
if order["dead"]:
    state["dead"] = dead()
print(json.dumps(state))
