"""A steady load on the API: writers whose every event is remembered by what its answer said, and readers."""

import http.client
import secrets
import threading
import time
from collections import Counter

from api_case import TENANTS

PAUSE_S = 0.01
# Of one answer. More than the server takes to say that Kafka does not answer.
PATIENCE_S = 120


class Load:
    """Runs with its block. What was acknowledged is the case's `acknowledged`."""

    def __init__(self, case, servers, writers=4, readers=2, paths=()):
        self.case, self.servers, self.paths = case, servers, paths
        self.ending, self.lock = threading.Event(), threading.Lock()
        # By what the answers were: (kind, status, code).
        self.seen = Counter()
        self.strange = []
        self.threads = [threading.Thread(target=self.run, args=(self.write, n)) for n in range(writers)]
        self.threads += [threading.Thread(target=self.run, args=(self.read, n)) for n in range(readers)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def run(self, work, n):
        while not self.ending.is_set():
            try:
                work(self.servers[n % len(self.servers)], n)
            except (OSError, http.client.HTTPException) as error:
                self.count("broken", 0, type(error).__name__)
                time.sleep(0.2)
            except Exception as error:  # noqa: BLE001: a thread that ends says nothing
                self.strange.append(repr(error))
                return
            time.sleep(PAUSE_S)

    def count(self, kind, status, code):
        with self.lock:
            self.seen[kind, status, code] += 1

    def write(self, server, n):
        event = self.case.event(TENANTS[n % len(TENANTS)])
        # Sent until it is taken: again with the same id, it is the same event.
        while not self.ending.is_set():
            answer = server.ask("POST", "/v1/events", event, key=event["tenant_id"], patience_s=PATIENCE_S)
            self.count("write", answer.status, answer.code)
            if answer.status == 202:
                with self.lock:
                    self.case.acknowledge(event)
                return
            self.judge(answer)
            time.sleep(0.1)

    def read(self, server, n):
        path = self.paths[secrets.randbelow(len(self.paths))]
        answer = server.get(path, patience_s=PATIENCE_S)
        self.count("read", answer.status, answer.code)
        self.judge(answer)

    def judge(self, answer):
        if answer.status == 503 and not answer.headers["Retry-After"]:
            self.strange.append(f"no Retry-After: {answer}")
        if answer.status not in (200, 202, 503):
            self.strange.append(repr(answer))

    def times(self, kind, *statuses):
        with self.lock:
            return sum(count for (what, status, _), count in self.seen.items() if what == kind and status in statuses)

    def goes_on(self, kind, *statuses, count=10):
        """A wait for so many more answers of these statuses."""
        before = self.times(kind, *statuses)
        return lambda: self.strange or self.times(kind, *statuses) >= before + count
