#!/usr/bin/env python3
"""lab/model.py [-n 500] [--clients 16] [--seeds 10] [--first S]: many clients, one store, kills in between; the store equals a model.

Each client does random operations on names of its own (pull, remove, list, inspect, mount and read) and on what all share
(reclaim; gc of all that is unused); the images behind the names are the same six for all, so every layer is wanted, given up
and wanted again by several clients at once. One more image is pinned: it has to be there at all times. Every 60 operations or
so the daemon is killed with kill -9 and started again.

A client is sequential, so it knows of each of its names whether it is there, or not, or may be (an operation that the kill
cut off, a collection since). Whatever the daemon answers has to agree with that at once; at the end the list of images has to, `berth fsck` finds
nothing, every image equals what its layers make, and removing all gives the disk back.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import threading

import crash
import daemon
import images

THERE, GONE, EITHER = "there", "gone", "either"
UNREACHABLE, NOT_FOUND = 12, 3


class Stopped(Exception):
    """Somebody else's error has ended all."""


class Client(threading.Thread):
    def __init__(self, world, number, seed, count):
        super().__init__(name=f"client {number}", daemon=True)
        self.world, self.repo, self.rnd, self.count = world, f"c{number}", random.Random(f"{seed}/{number}"), count
        self.state, self.error = dict.fromkeys(world.bench.names, GONE), None
        self.known = {}  # name -> world.collections when it was learned to be there; None: one was at work
        self.before = None

    def image(self, name):
        return f"{self.world.bench.server.host}/{self.repo}:{name}"

    def run(self):
        try:
            for _ in range(self.count):
                self.world.count()
                self.before = self.world.quiet()
                operation = self.rnd.choices([self.pull, self.remove, self.list, self.inspect, self.look, self.reclaim, self.collect],
                                             [16, 10, 6, 4, 2, 2, 1])[0]
                operation(self.rnd.choice(self.world.bench.names))
        except Stopped:
            pass
        except Exception as error:  # noqa: BLE001: the main thread reports it
            self.error = error
            self.world.stop()

    def say(self, *args):
        """(exit status, output, whether the daemon lived all the while)."""
        life = self.world.wait_alive()
        done = self.world.berthd.berth(*args)
        lived = life == self.world.life and done.returncode != UNREACHABLE
        if lived and done.returncode not in (0, NOT_FOUND):
            raise crash.Bad(f"{self.name}: berth {' '.join(args)}: exit {done.returncode}: {done.stderr}")
        return done.returncode, done.stdout, lived

    def learn(self, name, answer, what):
        """`answer`: THERE or GONE, as the daemon has just said."""
        if self.certain(name) not in (answer, EITHER):
            raise crash.Bad(f"{self.name}: {what} says that {name} is {answer}, and it must be {self.state[name]}")
        self.set(name, answer)

    def certain(self, name):
        gone_since = self.state[name] == THERE and (self.known[name] is None or self.known[name] != self.world.collections)
        return EITHER if gone_since else self.state[name]

    def set(self, name, state):
        self.state[name], self.known[name] = state, self.before

    def pull(self, name):
        status, _, lived = self.say("pull", "-q", "--progress", "none", self.image(name))
        if status == NOT_FOUND and lived:
            raise crash.Bad(f"{self.name}: a pull of {name} found nothing")
        if status == 0:
            self.set(name, THERE)
        elif self.state[name] == GONE:
            self.state[name] = EITHER

    def remove(self, name):
        status, _, lived = self.say("rm", self.image(name))
        if status == 0 or lived:
            self.learn(name, THERE if status == 0 else GONE, "rm")
            self.state[name] = GONE
        elif self.state[name] == THERE:
            self.state[name] = EITHER

    def list(self, _):
        status, out, _ = self.say("images", "-o", "json")
        if status == 0:
            shown = self.world.names(out)
            for name in self.state:
                self.learn(name, THERE if self.image(name) in shown else GONE, "images")
            if self.world.pinned not in shown:
                raise crash.Bad(f"{self.name}: the pinned image is not there")

    def inspect(self, name):
        status, _, lived = self.say("inspect", self.image(name))
        if status == 0 or lived:
            self.learn(name, THERE if status == 0 else GONE, "inspect")

    def look(self, name):
        with tempfile.TemporaryDirectory(dir=self.world.folder, ignore_cleanup_errors=True) as target:
            status, _, lived = self.say("mount", self.image(name), target)
            if status != 0:
                if lived:
                    self.learn(name, GONE, "mount")
            else:
                self.learn(name, THERE, "mount")
                if lines := self.world.bench.differences(name, target):
                    raise crash.Bad(f"{self.name}: {name} is not what its layers make: {lines[:5]}")
            while os.path.ismount(target):
                status, _, lived = self.say("unmount", target)
                if status and lived:
                    raise crash.Bad(f"{self.name}: {target} is a mount, and no image is mounted there")

    def reclaim(self, _):
        self.say("reclaim", "--age", "0s")

    def collect(self, _):
        with self.world.collecting():
            self.say("gc", "--unused")


class World:
    def __init__(self, bench, berthd, folder):
        self.bench, self.berthd, self.folder = bench, berthd, folder
        self.life, self.operations, self.stopped = 0, 0, False
        self.collections, self.at_work = 0, 0  # begun; of them not yet ended
        self.pinned = f"{bench.server.host}/lab:keep"
        self.alive, self.changed = threading.Event(), threading.Condition()
        self.alive.set()

    def wait_alive(self):
        """The number of the daemon's life; raises when there will be none any more."""
        if not self.alive.wait(120):
            raise crash.Bad("the daemon does not come back")
        if self.stopped:
            raise Stopped
        return self.life

    def stop(self):
        self.stopped = True
        self.alive.set()

    def count(self):
        with self.changed:
            self.operations += 1
            self.changed.notify_all()

    def quiet(self):
        with self.changed:
            return None if self.at_work else self.collections

    @contextlib.contextmanager
    def collecting(self):
        with self.changed:
            self.collections, self.at_work = self.collections + 1, self.at_work + 1
        try:
            yield
        finally:
            with self.changed:
                self.at_work -= 1

    def names(self, listing):
        return {name for image in json.loads(listing)["images"] for name in image["names"]}

    def kill_every(self, rnd, clients):
        """Kills and starts the daemon until the clients are done; the number of kills."""
        kills, at = 0, rnd.randint(20, 100)
        while any(client.is_alive() for client in clients):
            with self.changed:
                if not self.changed.wait_for(lambda: self.operations >= at, 0.2):
                    continue
            self.alive.clear()
            self.life += 1
            self.berthd.kill()
            if not self.berthd.start():
                raise crash.Bad(f"the daemon does not start again (store kept: {self.folder}): {self.berthd.tail()}")
            self.life += 1
            self.alive.set()
            kills, at = kills + 1, self.operations + rnd.randint(20, 100)
        return kills


def one(bench, folder, seed, clients, count):
    store = pathlib.Path(folder) / f"model-{seed}"
    store.mkdir()
    kubelet = store / "kubelet.json"  # with which collections take what was seen a moment ago
    kubelet.write_text(json.dumps({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "imageMinimumGCAge": "1ns"}))
    berthd = daemon.Berthd(store, faults=True, settings=crash.settings(bench) | {"node.name": "lab", "node.kubeletConfig": str(kubelet)})
    with contextlib.ExitStack() as stack:
        stack.enter_context(berthd)
        world = World(bench, berthd, store)
        berthd.berth("pull", "-q", world.pinned, check=True)
        berthd.berth("pin", world.pinned, "--reason", "stays", check=True)
        all_clients = [Client(world, i, seed, count // clients + (i < count % clients)) for i in range(clients)]
        for client in all_clients:
            client.start()
        try:
            kills = world.kill_every(random.Random(seed), all_clients)
        except BaseException:
            world.stop()
            raise
        finally:
            for client in all_clients:
                client.join(330)  # a command has 300 s
        if errors := [client.error for client in all_clients if client.error]:
            raise crash.Bad(f"seed {seed}: {errors[0]} (store kept: {store})") from errors[0]
        for client in all_clients:
            client.list(None)
        found = berthd.berth("fsck", "-o", "jsonl")
        if found.returncode or found.stdout:
            raise crash.Bad(f"seed {seed}: fsck at the end: exit {found.returncode}: {found.stdout}{found.stderr} (store kept: {store})")
        berthd.berth("unpin", world.pinned, check=True)
        first = {name: client for client in all_clients for name in client.state if client.state[name] == THERE}
        for name, client in first.items():
            bench.compare(berthd, name, client.image(name))
        bench.empty(berthd)
    shutil.rmtree(store)
    return kills, world.operations, sum(state == THERE for client in all_clients for state in client.state.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=500, help="operations for each seed")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=random.randrange(100_000), help="the first seed")
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="berth-model-")  # kept when something is bad
    with crash.Bench(folder) as bench:
        bench.layout.tag("keep", bench.layout.image([bench.layout.layer(images.entries(("keep", "kept\n")))]))
        bench.server.layouts.update({f"c{i}": bench.layout.folder for i in range(args.clients)})
        for seed in range(args.first, args.first + args.seeds):
            kills, operations, there = one(bench, folder, seed, args.clients, args.n)
            print(f"model: seed {seed}: {operations} operations of {args.clients} clients, {kills} kills, {there} names left, 0 bad", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    try:
        main()
    except crash.Bad as error:
        sys.exit(f"BAD: {error}")
