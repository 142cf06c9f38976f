"""Writes through redis-py's Sentinel support until a second server has taken writes.

    sentinel.py KEY SENTINEL-PORT...

Prints "at PORT" whenever writes go to another server than before. Exit 0: two servers have taken 50 writes each; 1: not
within 90 seconds."""
import sys
import time

import redis
from redis.sentinel import MasterNotFoundError, Sentinel

key = sys.argv[1]
sentinel = Sentinel([("127.0.0.1", int(port)) for port in sys.argv[2:]], socket_timeout=1)
primary = sentinel.master_for("mymaster", socket_timeout=1)
end = time.monotonic() + 90
at, taken, n = None, {}, 0
while time.monotonic() < end:
    try:
        assert primary.execute_command("VADD", key, "VALUES", 2, 1, n, f"e{n}") == 1
        port = primary.info("server")["tcp_port"]
    except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, MasterNotFoundError):
        n += 1
        time.sleep(0.05)
        continue
    n += 1
    taken[port] = taken.get(port, 0) + 1
    if port != at:
        at = port
        print("at", port, flush=True)
    if len(taken) > 1 and taken[at] >= 50:
        sys.exit(0)
    time.sleep(0.01)
sys.exit(1)
