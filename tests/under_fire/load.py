"""The producer: a stock, idempotent client that goes to the broker itself, not through the proxy. The oracle hears what was acknowledged."""

import threading
import time
from functools import partial

from confluent_kafka import Producer

QUEUED_MAX = 5_000


class Load:
    def __init__(self, broker, topic, oracle, events, per_second):
        self.topic, self.oracle, self.events, self.per_second = topic, oracle, events, per_second
        self.ending = threading.Event()
        self.failures = []
        self.sent = self.keyless = 0
        self.producer = Producer(
            {
                "bootstrap.servers": broker,
                "client.id": "load",
                # A broker that is away is what this is about: nothing to tell.
                "log_level": 0,
                "enable.idempotence": True,
                "acks": "all",
                # As Java clients do; the client's own default is another.
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                # A broker that is away is waited for: a record that is given up may or may not have been stored.
                "message.timeout.ms": 600_000,
                "reconnect.backoff.max.ms": 1_000,
                "queue.buffering.max.messages": 2 * QUEUED_MAX,
            }
        )
        self.thread = threading.Thread(target=self.run, name="load", daemon=True)

    def start(self):
        self.thread.start()

    def run(self):
        try:
            self.send_all()
        except Exception as error:
            self.failures.append(f"the load ended: {error!r}")

    def send_all(self):
        began = time.monotonic()
        given_up = 0
        while not self.ending.is_set():
            due = int((time.monotonic() - began) * self.per_second) - given_up
            if due - self.sent > self.per_second:
                # It was away for longer: what was not sent then is not sent at once now.
                given_up += due - self.sent - self.per_second
            while self.sent < due and len(self.producer) < QUEUED_MAX and not self.ending.is_set():
                self.send()
            self.producer.poll(0.01)

    def send(self):
        tenant, event = self.events.make()
        route = self.events.routes.get(tenant)
        if route is None:
            self.produce(tenant, event, key=tenant.encode())
        elif self.events.next[tenant] % 2:
            self.produce(tenant, event, key=tenant.encode(), partition=route.sent)
        else:
            self.produce(tenant, event, partition=route.sent)
            self.keyless += 1
        self.sent += 1

    def produce(self, tenant, event, **where):
        self.producer.produce(self.topic, value=event, on_delivery=partial(self.delivered, tenant), **where)

    def delivered(self, tenant, error, message):
        if error:
            self.failures.append(f"a record was given up, nobody knows whether it was stored: {error}")
        else:
            self.oracle.acknowledged(tenant, message.value())

    def finish(self, patience_s=300):
        """Stops, and waits for every acknowledgement."""
        self.ending.set()
        self.thread.join()
        if self.producer.flush(patience_s):
            self.failures.append("the broker does not acknowledge what was produced")
