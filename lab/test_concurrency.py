"""Rows of reliability-security 3.f against a real daemon: many clients at once, removals and sweeps in between."""
import collections
import concurrent.futures
import contextlib
import json
import pathlib
import shutil
import subprocess
import tempfile
import threading
import unittest

import cases
import crash
import daemon
import images
import registry


@cases.needs("zstd")
class Concurrency(cases.Case):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-concurrency-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.bench = self.enterContext(crash.Bench(self.folder))
        self.berthd = self.enterContext(daemon.Berthd(self.folder / "node", settings=crash.settings(self.bench)))

    def start(self, *args):
        process = daemon.spawn(self.berthd.command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)  # until the pipes are closed
        self.addCleanup(process.kill)
        return process

    def start_pull(self, name):
        return self.start("pull", "-q", "--progress", "none", self.bench.image(name))

    def finish(self, processes):
        for process in processes:
            out, err = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, f"{out}{err}berthd ended: {self.berthd.process.poll()}\n{self.berthd.tail()}")

    def fetched_once(self, *names):
        """P11: each blob of these images was asked for once, whatever the answers were, and at most 1 % more was sent than they have."""
        manifests = [self.bench.layout.manifest(name) for name in names]
        blobs = {f"/v2/lab/blobs/{blob['digest']}": blob["size"] for manifest in manifests for blob in [manifest["config"], *manifest["layers"]]}
        asked = collections.Counter()
        for (_, path, _), count in self.bench.server.requests.items():
            asked[path] += count * ("/blobs/" in path)
        self.assertEqual(+asked, collections.Counter(blobs.keys()))
        sent = sum(size for path, size in self.bench.server.sent.items() if "/blobs/" in path)
        self.assertLessEqual(sum(blobs.values()), sent)
        self.assertLessEqual(sent, sum(blobs.values()) * 1.01)

    def whole(self):
        self.bench.check(self.berthd, [])
        self.bench.empty(self.berthd)

    @contextlib.contextmanager
    def meanwhile(self, *args):
        """Runs a command again and again beside what is done in this context, at least once."""
        stop = threading.Event()

        def loop():
            outcomes = [self.berthd.berth(*args, timeout=60)]
            while not stop.is_set():
                outcomes.append(self.berthd.berth(*args, timeout=60))
            return outcomes
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(loop)
            try:
                yield
            finally:
                stop.set()
            self.assertEqual([done.stderr for done in running.result() if done.returncode], [])

    def hold(self, wanted):
        """Keeps back what is asked for below a path that is `wanted`, after half of it, if it is a blob. (reached, go): events."""
        reached, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)
        server = self.bench.server

        def half(handler):
            if go.is_set() or handler.command != "GET" or not wanted(handler.path):
                return False
            server.serve(handler, server.size(handler.path) // 2)
            handler.wfile.flush()
            reached.set()
            go.wait()
            return registry.cut(handler)
        server.fault = half
        return reached, go

    def test_f01_many_pullers_of_one_image_fetch_it_once(self):
        self.finish([self.start_pull("all") for _ in range(64)])
        self.fetched_once("all")
        self.whole()

    def test_f02_images_that_share_layers_fetch_each_once(self):
        layout, shared = self.bench.layout, [images.entries((f"shared{i}", f"{i}" * 5000)) for i in range(4)]
        layers = [layout.layer(entries) for entries in shared]
        for i in range(32):
            layout.tag(f"own{i}", layout.image(layers + [layout.layer(images.entries(("own", f"{i}" * 3000)))]))
        self.finish([self.start_pull(f"own{i}") for i in range(32)])
        self.fetched_once(*(f"own{i}" for i in range(32)))
        self.bench.empty(self.berthd)

    def test_f04_pulls_and_removals_of_one_name_are_each_whole(self):
        image, outcomes = self.bench.image("gzip"), set()
        for _ in range(60):
            running = {"pull": self.start_pull("gzip"), "rm": self.start("rm", image)}
            status = {}
            for verb, process in running.items():
                process.communicate(timeout=60)
                status[verb] = process.returncode
            self.assertEqual(status["pull"], 0)
            self.assertIn(status["rm"], (0, 3))
            outcomes.add(self.berthd.berth("inspect", image).returncode)
        self.assertLessEqual(outcomes, {0, 3})
        self.whole()

    def test_f05_a_removal_takes_no_layer_of_a_pull(self):
        for _ in range(10):
            self.finish([self.start_pull("gzip")])
            running = self.start_pull("all")  # shares gzip's only layer
            self.berthd.berth("rm", self.bench.image("gzip"), check=True)
            self.finish([running])
            self.bench.compare(self.berthd, "all")
            self.bench.empty(self.berthd)

    def test_f06_f08_sweeps_in_a_loop_break_no_pull(self):
        with self.meanwhile("reclaim", "--age", "0s"):
            for _ in range(4):
                self.finish([self.start_pull(name) for name in self.bench.names])
                for name in self.bench.names:
                    self.bench.compare(self.berthd, name)
                    self.berthd.berth("rm", self.bench.image(name), check=True)
        self.whole()

    def test_f07_a_pull_that_was_cut_goes_on_after_a_sweep(self):
        layer, = self.bench.layout.manifest("gzip")["layers"]
        path, server = f"/v2/lab/blobs/{layer['digest']}", self.bench.server
        for age in ("1h", "0s"):  # the sweep leaves the half that is there; it takes it away
            with self.subTest(age=age):
                reached, go = self.hold(lambda asked: asked == path)
                running = self.start_pull("gzip")
                self.assertTrue(reached.wait(60))
                partials = lambda: {file: file.stat().st_size for file in (self.berthd.store / "ingest").iterdir()}
                daemon.wait("half of the layer is there", lambda: layer["size"] // 2 in partials().values())
                running.terminate()
                running.communicate(timeout=60)
                go.set()
                self.berthd.berth("reclaim", "--age", age, check=True)
                self.assertEqual(list(partials().values()), [layer["size"] // 2] * (age == "1h"))
                before, asked = server.requests, server.ranges
                self.finish([self.start_pull("gzip")])
                whole, rest = ((server.requests - before)["GET", path, status] for status in (200, 206))
                self.assertEqual((whole, rest), (0, 1) if age == "1h" else (1, 0))
                self.assertEqual(server.ranges[len(asked):], [(path, layer["size"] // 2)] * rest)
                self.whole()

    def test_f12_small_images_do_not_wait_for_a_large_one(self):
        layout = self.bench.layout
        large = layout.layer(images.entries(("large", "l" * 100_000)))
        layout.tag("large", layout.image([large]))
        for i in range(20):
            layout.tag(f"small{i}", layout.image([layout.layer(images.entries(("small", f"{i}" * 100)))]))
        reached, go = self.hold(lambda asked: asked.endswith(large["digest"]))
        slow = self.start_pull("large")
        self.assertTrue(reached.wait(60))
        self.finish([self.start_pull(f"small{i}") for i in range(20)])
        self.assertIsNone(slow.poll())
        go.set()
        self.finish([slow])
        self.bench.empty(self.berthd)

    def test_f15_a_tag_that_moves_means_what_was_stored_last(self):
        layout = self.bench.layout
        versions = [layout.image([layout.layer(images.entries(("version", f"{i}" * 2000)))]) for i in range(8)]
        digests = {version["digest"] for version in versions}
        layout.tag("moving", versions[0])
        for version in versions[1:]:
            running = [self.start("pull", "-q", "--policy", "Always", "-o", "json", self.bench.image("moving")) for _ in range(4)]
            layout.tag("moving", version)
            for process in running:
                out, err = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 0, err)
                self.assertIn(json.loads(out)["digest"], digests)
        self.finish([self.start("pull", "-q", "--policy", "Always", self.bench.image("moving"))])
        shown = [image for image in self.berthd.json("images")["images"] if self.bench.image("moving") in image["names"]]
        self.assertEqual([image["manifest"] for image in shown], [versions[-1]["digest"]])
        self.bench.empty(self.berthd)


if __name__ == "__main__":
    unittest.main()
