"""What the Python clients share. They print one JSON document a line."""

import json
import threading
import time


def show(step, *values):
    print(json.dumps([step, *values], default=str, sort_keys=True), flush=True)


def cancel_when_asleep(cancel, connect):
    """Calls cancel from a thread once the server sleeps, as a user would."""

    def wait():
        watcher = connect()
        watcher.autocommit = True
        with watcher.cursor() as cur:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                cur.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND state = 'active' AND wait_event = 'PgSleep'"
                )
                if cur.fetchone()[0]:
                    break
        watcher.close()
        cancel()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread

