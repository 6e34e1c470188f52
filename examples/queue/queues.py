"""The queues: one of jobs, one for each time to wait, and one of jobs that failed for good."""

import os

import pika

JOBS, DEAD = "jobs", "jobs.dead"
WAITS = [1, 2, 5, 10, 30, 60, 300]  # seconds


def connect():
    """Opens a channel on which each publication is confirmed, and declares the queues."""
    parameters = pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost"))
    parameters.heartbeat = 900  # an answer may take as long as the worker waits for it
    channel = pika.BlockingConnection(parameters).channel()
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=1)
    channel.queue_declare(DEAD, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_declare(JOBS, durable=True, arguments=leads_to(DEAD))
    for seconds in WAITS:
        # A queue for each time: within one queue, a message that waits long holds up those behind it.
        ttl = {"x-message-ttl": 1000 * seconds}
        channel.queue_declare(f"{JOBS}.wait.{seconds}", durable=True, arguments=leads_to(JOBS) | ttl)
    return channel


def leads_to(queue):
    """A replicated queue whose dead letters are removed only after the next queue has confirmed them."""
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def put(channel, queue, body, job, since):
    """Publishes a job of this id and age, and returns once the broker has stored it; else it raises."""
    persistent = pika.DeliveryMode.Persistent.value
    properties = pika.BasicProperties(message_id=job, timestamp=since, delivery_mode=persistent)
    channel.basic_publish("", queue, body, properties, mandatory=True)


def put_back(channel, body, job, since, seconds):
    """Publishes a job that comes back after this time, or a little later."""
    wait = next((wait for wait in WAITS if wait >= seconds), WAITS[-1])
    put(channel, f"{JOBS}.wait.{wait}", body, job, since)
