"""Puts the jobs of a file into the queue, one a line, in the format of OpenAI's batches: producer.py FILE."""

import json
import sys
import time

import queues


def main(file):
    channel = queues.connect()
    with open(file) as lines:
        for line in lines:
            # The id makes a job that is published twice the same job.
            queues.put(channel, queues.JOBS, line, json.loads(line)["custom_id"], int(time.time()))


if __name__ == "__main__":
    main(*sys.argv[1:])
