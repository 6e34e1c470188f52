"""Takes jobs from the queue, sends them through the gateway, and records how each ended. Run as many as you like."""

import hashlib
import json
import os
import sqlite3
import time

import pika
import requests

import queues
from application import GATEWAY, Token

OLDEST = 24 * 3600  # seconds; an older job has failed for good
AGAIN = {408, 409, 429, 500, 502, 503, 504}
DONE, DEAD, WAIT = "done", "dead", "wait"


class Outcomes:
    """The one outcome of each job: the first that is recorded stands."""

    def __init__(self, file):
        self.database = sqlite3.connect(file, timeout=60, isolation_level=None)
        self.database.execute("pragma journal_mode = wal")
        self.database.execute("create table if not exists outcomes (job text primary key, outcome text, answer text)")

    def of(self, job):
        row = self.database.execute("select outcome from outcomes where job = ?", [job]).fetchone()
        return row and row[0]

    def record(self, job, outcome, answer):
        self.database.execute("insert into outcomes values (?, ?, ?) on conflict do nothing", [job, outcome, answer])
        return self.of(job)


class Worker:
    def __init__(self):
        self.outcomes = Outcomes(os.environ.get("OUTCOMES", "outcomes.db"))
        self.session, self.token = requests.Session(), Token()
        self.rests = {}  # until when an address takes no more

    def work(self):
        channel = queues.connect()
        for delivery, properties, body in channel.consume(queues.JOBS):
            self.handle(channel, delivery.delivery_tag, properties, body)

    def handle(self, channel, tag, properties, body):
        job = properties.message_id or hashlib.sha256(body).hexdigest()
        since = properties.timestamp or int(time.time())
        outcome = self.outcomes.of(job)
        if outcome is None:
            outcome, said = self.attempt(body, since)
            if outcome == WAIT:
                queues.put_back(channel, body, job, since, said)
                return channel.basic_ack(tag)
            outcome = self.outcomes.record(job, outcome, said)
        if outcome == DONE:
            channel.basic_ack(tag)
        else:
            channel.basic_reject(tag, requeue=False)  # to the queue of dead letters

    def attempt(self, body, since):
        """Returns how a job ended and what was said, or for how many seconds it must wait."""
        try:
            job = json.loads(body)
            address = (job["url"], job["body"].get("model"))
        except (ValueError, KeyError, AttributeError) as error:
            return DEAD, f"not a job: {error!r}"
        if time.time() - since > OLDEST:
            return DEAD, "too old"
        rest = self.rests.get(address, 0) - time.monotonic()
        if rest > 0:  # whoever has just been told to wait need not ask again for the next job
            return WAIT, rest
        outcome, said = self.ask(job)
        if outcome == WAIT:
            self.rests[address] = time.monotonic() + said
        return outcome, said

    def ask(self, job):
        try:
            answer = self.session.post(GATEWAY + job["url"], json=job["body"], auth=self.token, timeout=600)
        except requests.RequestException:  # the gateway restarts, or the issuer gives no token
            return WAIT, 1
        if answer.status_code == 401:
            self.token.forget()
            return WAIT, 1
        if answer.status_code in AGAIN:
            after = answer.headers.get("retry-after", "5")
            return WAIT, int(after) if after.isdigit() else 5
        return (DONE if answer.ok else DEAD), answer.text


def main():
    worker = Worker()
    while True:
        try:
            worker.work()
        except pika.exceptions.AMQPError:  # what it held is delivered again, to this worker or another
            time.sleep(1)


if __name__ == "__main__":
    main()
