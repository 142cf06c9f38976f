#!/usr/bin/python3
"""Three nodes, anything goes: random commands on the primary, readers on all nodes, and now and then a node is killed and
restarted, hands over, or follows another one. After each such event the nodes have to agree: in step, with equal digests of
records and graph, every key as long as what it lists.

    soak.py --server build/vecstore-server --seconds 60 [--seed N] [--with expire,evict,journal,threads]

A writer that gets no answer within PATIENCE fails the run, and so does a node that ends by itself. The same seed gives the
same commands in the same order, not the same interleaving. Ends with a line; on a failure with the end of each log, and the
folder of the nodes is kept.
"""
import argparse
import json
import os
import random
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import redis

DIMS = {"k0": 8, "k1": 16, "k2": 32, "k3": 64, "k4": 128, "k5": 8, "k6": 8, "k7": 8}
KEYS = list(DIMS)
IDS = 4000
START_S, STEP_S, SAME_S = 60, 90, 90
PATIENCE = 40  # seconds, under sanitizers too
FEATURES = ("expire", "evict", "journal", "threads")


class Failure(Exception):
    pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, seconds, condition, alive):
    until = time.monotonic() + seconds
    while not condition():
        alive()
        if time.monotonic() > until:
            raise Failure("not in time: " + what)
        time.sleep(0.05)


class Node:
    def __init__(self, name, folder, server, rng, features):
        self.name, self.server, self.rng, self.features = name, server, rng, features
        self.folder = os.path.join(folder, name)
        os.mkdir(self.folder)
        self.log = os.path.join(self.folder, "log")
        self.port = free_port()
        self.journal = "yes" if "journal" in features else rng.choice(["yes", "yes", "no"])
        self.process = None
        self.follows = None

    def arguments(self):
        pick = self.rng.choice
        a = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--save", "", "--appendonly", self.journal,
             "--appendfsync", pick(["always", "everysec"]), "--repl-backlog-size", pick(["64kb", "1mb", "16mb"]),
             "--search-threads", pick("123")]
        if "threads" in self.features:
            a += ["--io-threads", pick("123")]
        if "evict" in self.features:
            a += ["--maxmemory-policy", pick(["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-ttl"])]
        if self.rng.random() < 0.3:
            a += ["--max-open-partitions", pick("48")]
        if self.follows:
            a += ["--replicaof", "127.0.0.1 %d" % self.follows.port]
        return a

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.server + self.arguments(), stdout=log, stderr=log, cwd=self.folder)
        self.client = redis.Redis(port=self.port, socket_timeout=PATIENCE)

        def answers():
            try:
                return self.client.ping()
            except redis.exceptions.RedisError:
                return False

        wait_until("%s does not start" % self.name, START_S, answers, self.alive)

    def alive(self):
        if self.process.poll() is not None:
            raise Failure("%s ended by itself: %d" % (self.name, self.process.returncode))

    def end(self, sig):
        self.alive()
        self.process.send_signal(sig)
        self.process.wait()

    def follow(self, other):
        self.follows = other
        self.client.execute_command("REPLICAOF", "127.0.0.1", other.port)

    def replication(self):
        return self.client.info("replication")

    def in_database(self, db, *commands):
        p = self.client.pipeline(transaction=False)
        p.execute_command("SELECT", db)
        for c in commands:
            p.execute_command(*c)
        p.execute_command("SELECT", 0)
        return p.execute(raise_on_error=False)[1:-1]

    def facts(self):
        """What it holds: an entry a partition."""
        out = []
        for db in (0, 1):
            for key in sorted(self.in_database(db, ("KEYS", "*"))[0]):
                about = self.in_database(db, ("VPARTITION", "INFO", key))[0]
                if isinstance(about, Exception):
                    continue  # it has ended meanwhile
                n = dict(zip(about[::2], about[1::2]))[b"partitions"]
                for i, p in enumerate(self.in_database(db, *[("VPARTITION", "INFO", key, i) for i in range(n)])):
                    if isinstance(p, Exception):
                        continue
                    p = dict(zip(p[::2], p[1::2]))
                    if p[b"state"] == b"damaged":
                        raise Failure("%s: partition %d of %s is damaged: %s" % (self.name, i, key, p))
                    out.append((db, key, i) + tuple(p[f] for f in (
                        b"elements", b"sequence", b"linked_sequence", b"records_digest", b"graph_digest")))
        return out


class Soak:
    def __init__(self, options, folder):
        self.options, self.features = options, options.features
        self.rng = random.Random(options.seed)
        self.nodes = [Node("node%d" % i, folder, options.server, self.rng, self.features) for i in range(3)]
        self.primary = self.nodes[0]
        self.vectors = {}
        self.dumps = [b"no dump"]  # of keys, the last few
        self.over = False
        self.troubles = []  # of readers
        self.events = self.commands = 0

    # ---- commands ----

    def vector(self, dim, which):
        if (dim, which) not in self.vectors:
            r = random.Random(which * 7919 + dim)
            self.vectors[dim, which] = struct.pack("%df" % dim, *[r.random() - 0.5 for _ in range(dim)])
        return self.vectors[dim, which]

    def command(self):
        r, pick = self.rng, self.rng.choice
        key = pick(KEYS) if r.random() < 0.5 else "k0"
        dim = DIMS[key]
        expire = "expire" in self.features

        def vector():
            return self.vector(dim, r.randrange(300))

        def element():
            return "e%d" % (r.randrange(20) if r.random() < 0.2 else r.randrange(IDS))

        def attributes():
            return json.dumps({"n": r.randrange(100), "t": "x" * pick([1, 5, 50, 400]), "g": pick("ab")})

        def vadd():
            a = ["VADD", key, "FP32", vector(), element()]
            if r.random() < 0.3:
                a += ["SETATTR", attributes()]
            return a + (["PX", pick([5, 50, 500, 5000])] if expire and r.random() < 0.2 else [])

        def vmadd():
            n = pick([1, 5, 50, 300])
            return ["VMADD", key, "FP32", n] + [x for _ in range(n) for x in (element(), vector())]

        def create():
            return ["VPARTITION", "CREATE", key, "DIM", dim, "PARTITIONS", pick([1, 2, 5]), "SEED", r.randrange(1, 99)] + pick(
                [[], ["NOQUANT"], ["F16"], ["BIN"], ["Q4"], ["TRANSIENT"], ["METRIC", "L2"], ["TYPE", "FLAT"], ["MAP", "ALL"],
                 ["MAP", "CODES"]])

        def whole_key():
            return pick([["DEL", key], ["UNLINK", key], ["EXISTS", key], ["EXISTS", key], ["TYPE", key], ["TTL", key]])

        kinds = [(45, vadd), (15, vmadd), (12, lambda: [pick(["VREM", "VDEL"]), key, element()]),
                 (8, lambda: ["VSETATTR", key, element(), pick([attributes(), ""])]), (2, create),
                 (0.5, lambda: ["VPARTITION", "DROP", key, r.randrange(5)]), (0.5, lambda: ["VPARTITION", "BALANCE", key]),
                 (1, whole_key), (1, lambda: [pick(["RENAME", "RENAMENX", "COPY"]), key, pick(KEYS[5:])]),
                 (0.2, lambda: ["SWAPDB", 0, 1]), (0.05, lambda: ["FLUSHDB"]), (2, lambda: ["VGETATTR", key, element()]),
                 (3, lambda: ["VSIM", key, "FP32", vector(), "COUNT", 10, "WITHSCORES"]),
                 (3, lambda: ["VSIM", key, "FP32", vector(), "COUNT", 5, "FILTER", ".n > 50"])]
        if expire:
            kinds += [(1, lambda: ["PEXPIRE", key, pick([10, 1000, 10000])]), (1, lambda: ["PERSIST", key])]
        return r.choices([k for _, k in kinds], [w for w, _ in kinds])[0]()

    def keep_dump(self):
        try:
            dump = self.primary.client.dump(self.rng.choice(KEYS))
        except redis.exceptions.ResponseError:
            return
        if dump:
            self.dumps = self.dumps[-3:] + [dump]

    def write(self):
        p = self.primary.client.pipeline(transaction=self.rng.random() < 0.15)
        n = self.rng.choice([1, 3, 30, 100])
        for _ in range(n):
            p.execute_command(*self.command())
        try:
            p.execute(raise_on_error=False)
        except redis.exceptions.ResponseError:
            pass  # a transaction that was discarded
        self.commands += n

    def read(self, number):
        """A reader: nodes may end at any time, but one that lives answers."""
        r = random.Random(self.options.seed * 100 + number)
        while not self.over:
            node = r.choice(self.nodes)
            process = node.process
            try:
                c = redis.Redis(port=node.port, socket_timeout=PATIENCE)
                for _ in range(r.choice([1, 20, 200])):
                    p = c.pipeline(transaction=False)
                    for _ in range(r.choice([1, 10])):
                        key = r.choice(KEYS)
                        v, e = self.vector(DIMS[key], r.randrange(50)), "e%d" % r.randrange(IDS)
                        p.execute_command(*r.choice([
                            ["VSIM", key, "FP32", v, "COUNT", 10], ["VSIM", key, "ELE", e, "COUNT", 500, "WITHSCORES"],
                            ["VSIM", key, "FP32", v, "COUNT", 10, "FILTER", '.g == "a" and .n < 30'],
                            ["VSIM", key, "FP32", v, "TRUTH"], ["VMSEARCH", key, "FP32", 2, v, v, "COUNT", 5],
                            ["VRANGE", key, "-", "+", 50], ["VRANDMEMBER", key, r.choice([1, -5, 20])], ["VLINKS", key, e],
                            ["VEMB", key, e], ["VGETATTR", key, e], ["DUMP", key], ["MEMORY", "USAGE", key], ["VINFO", key],
                            ["VCARD", key], ["SCAN", 0], ["VPARTITION", "LIST", key], ["RANDOMKEY"], ["INFO"]]))
                    p.execute(raise_on_error=False)
                c.close()
            except redis.exceptions.TimeoutError:
                if process is node.process and process.poll() is None:
                    self.troubles.append("%s does not answer a reader" % node.name)
            except redis.exceptions.RedisError:
                time.sleep(0.05)

    # ---- checks ----

    def alive(self):
        for n in self.nodes:
            n.alive()
        if self.troubles:
            raise Failure(self.troubles[0])

    def in_step(self):
        def so():
            try:
                p = self.primary.replication()
                others = [n.replication() for n in self.nodes if n is not self.primary]
            except redis.exceptions.RedisError:
                return False
            states = [about["state"] for info in [p] + others for name, about in info.items() if name.startswith("slave") and
                      isinstance(about, dict)]
            if any(state != "online" for state in states):
                return False  # a replica may have loaded everything before its primary knows that all has been sent
            return all(o.get("master_link_status") == "up" and o["master_replid"] == p["master_replid"] and
                       o["master_repl_offset"] == p["master_repl_offset"] for o in others)

        wait_until("the nodes in step", STEP_S, so, self.alive)

    def same(self):
        self.in_step()
        seen = []

        def so():
            seen[:] = [n.facts() for n in self.nodes]
            return seen[0] == seen[1] == seen[2]

        try:
            wait_until("the same on all nodes", SAME_S, so, self.alive)
        except Failure as e:
            differ = [x for s in seen for x in s if any(x not in t for t in seen)]
            raise Failure("%s: %s" % (e, differ[:6]))
        if "expire" not in self.features:
            self.countable()
        return seen[0]

    def countable(self):
        for n in self.nodes:
            for db in (0, 1):
                answers = n.in_database(db, *[c for k in KEYS for c in (("VCARD", k), ("VRANGE", k, "-", "+"))])
                for key, card, ids in zip(KEYS, answers[::2], answers[1::2]):
                    if not isinstance(ids, Exception) and card != len(ids):
                        raise Failure("%s: VCARD %s %d, VRANGE %d" % (n.name, key, card, len(ids)))

    # ---- events ----

    def a_replica(self):
        return self.rng.choice([n for n in self.nodes if n is not self.primary])

    def restart_replica(self):
        n = self.a_replica()
        n.end(self.rng.choice([signal.SIGKILL, signal.SIGTERM]))
        for _ in range(self.rng.choice([0, 5, 30])):
            self.write()
        n.start()

    def restart_primary(self):
        """What was acknowledged is there again; where nothing ends or goes by itself, exactly that."""
        if self.primary.journal == "no":
            return
        exact = not {"expire", "evict"} & set(self.features)
        before = self.same() if exact else None
        self.primary.client.config_set("appendfsync", "always")
        if not exact:
            self.write()
        self.primary.end(signal.SIGKILL)
        self.primary.start()
        if exact:
            wait_until("the primary after a restart as before", SAME_S, lambda: self.primary.facts() == before, self.alive)

    def hand_over(self):
        self.in_step()
        old, new = self.primary, self.a_replica()
        old.client.execute_command("FAILOVER", "TO", "127.0.0.1", new.port)
        wait_until("the failover", STEP_S, lambda: new.replication()["role"] == "master", self.alive)
        self.primary, new.follows = new, None
        for n in self.nodes:
            if n is not new:
                n.follow(new)

    def take_over(self):
        """The primary dies in the midst of writes; the replica that has most takes over, and the dead one comes back to it."""
        old = self.primary
        for _ in range(self.rng.choice([1, 10])):
            self.write()
        old.end(signal.SIGKILL)
        new = max((n for n in self.nodes if n is not old), key=lambda n: n.replication()["slave_repl_offset"])
        new.client.execute_command("REPLICAOF", "NO", "ONE")
        self.primary, new.follows, old.follows = new, None, new
        for _ in range(self.rng.choice([0, 5])):
            self.write()
        for n in self.nodes:
            if n is not new and n is not old:
                n.follow(new)
        old.start()

    def chain(self):
        last = self.a_replica()
        between = next(n for n in self.nodes if n not in (last, self.primary))
        last.follow(between)
        for _ in range(10):
            self.write()
        self.in_step()
        last.follow(self.primary)

    def cut(self):
        self.a_replica().client.execute_command("CLIENT", "KILL", "TYPE", "master")

    def limit(self):
        used = self.primary.client.info("memory")["used_memory"]
        self.primary.client.config_set("maxmemory", self.rng.choice([0, int(used * self.rng.choice([0.8, 0.95, 1.2]))]))

    def save(self):
        try:
            self.rng.choice(self.nodes).client.execute_command(self.rng.choice(["BGSAVE", "BGREWRITEAOF"]))
        except redis.exceptions.ResponseError:
            pass  # one is under way

    def run(self):
        for n in self.nodes:
            n.start()
        for n in self.nodes[1:]:
            n.follow(self.primary)
        readers = 3 if "threads" in self.features else 1
        for i in range(readers):
            threading.Thread(target=self.read, args=(i,), daemon=True).start()
        events = [self.restart_replica, self.restart_primary, self.hand_over, self.take_over, self.chain, self.cut]
        until = time.monotonic() + self.options.seconds
        while time.monotonic() < until:
            for _ in range(self.rng.choice([5, 20, 60])):
                self.write()
                if self.rng.random() < 0.02:
                    self.save()
                if self.rng.random() < 0.05:
                    self.keep_dump()
                if "evict" in self.features and self.rng.random() < 0.05:
                    self.limit()
            if "evict" in self.features:
                self.primary.client.config_set("maxmemory", 0)
            self.rng.choice(events)()
            self.same()
            self.events += 1
        self.over = True

    def stop(self):
        self.over = True
        for n in self.nodes:
            if n.process and n.process.poll() is None:
                n.process.kill()
                n.process.wait()


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--server", required=True)
    a.add_argument("--seconds", type=float, default=60)
    a.add_argument("--seed", type=int, default=int(os.environ.get("VECSTORE_SEED") or time.time_ns() % 10**9))
    a.add_argument("--with", dest="features", type=lambda s: [f for f in s.split(",") if f], default=[])
    options = a.parse_args()
    if set(options.features) - set(FEATURES):
        a.error("--with takes " + ", ".join(FEATURES))
    *before, server = shlex.split(options.server)  # "setarch -R build/tsan/vecstore-server"
    options.server = before + [os.path.abspath(server)]
    print("soak: seed %d (VECSTORE_SEED), with %s" % (options.seed, ", ".join(options.features) or "nothing more"), flush=True)
    folder = tempfile.mkdtemp(prefix="vecstore-soak-")
    soak = Soak(options, folder)
    why = None
    try:
        soak.run()
    except (Failure, redis.exceptions.RedisError) as e:
        why = e
    soak.stop()
    if why is None:
        shutil.rmtree(folder)
        print("soak: %d commands, %d events, the nodes agree" % (soak.commands, soak.events))
        return 0
    for n in soak.nodes:
        with open(n.log, errors="replace") as log:
            print("---- %s, port %d\n%s" % (n.name, n.port, "".join(log.readlines()[-25:])))
    print("soak: FAILED after %d commands and %d events: %s (%s)" % (soak.commands, soak.events, why, folder))
    return 1


if __name__ == "__main__":
    sys.exit(main())
