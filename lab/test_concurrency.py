"""Rows of reliability-security 3.f against a real daemon: many clients at once, removals and sweeps in between."""
import json
import pathlib
import shutil
import subprocess
import tempfile
import threading
import unittest

import crash
import daemon
import images


class Concurrency(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-concurrency-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.bench = self.enterContext(crash.Bench(self.folder))
        self.berthd = daemon.Berthd(self.folder / "node", settings=crash.settings(self.bench))
        self.berthd.start()
        self.addCleanup(self.berthd.stop)

    def start(self, *args):
        return subprocess.Popen(self.berthd.command(*args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def start_pull(self, name):
        return self.start("pull", "-q", "--progress", "none", self.bench.image(name))

    def finish(self, processes):
        for process in processes:
            out, err = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, out + err)

    def fetched(self):
        return {key[1]: count for key, count in self.bench.server.requests.items() if key[0] == "GET" and "/blobs/" in key[1] and key[2] == 200}

    def whole(self):
        self.bench.check(self.berthd, [])
        self.bench.empty(self.berthd)

    def meanwhile(self, *args):
        """Runs a command again and again in threads of its own until the returned function is called; that says how often."""
        stop, runs, failed = threading.Event(), [0], []

        def loop():
            while not stop.is_set():
                done = self.berthd.berth(*args)
                runs[0] += 1
                if done.returncode:
                    failed.append(done.stderr)
        thread = threading.Thread(target=loop)
        thread.start()

        def end():
            stop.set()
            thread.join()
            self.assertEqual(failed, [])
            return runs[0]
        return end

    def test_f01_many_pullers_of_one_image_fetch_it_once(self):
        self.finish([self.start_pull("all") for _ in range(64)])
        self.assertEqual(set(self.fetched().values()), {1})
        self.whole()

    def test_f02_images_that_share_layers_fetch_each_once(self):
        layout, shared = self.bench.layout, [images.entries((f"shared{i}", f"{i}" * 5000)) for i in range(4)]
        layers = [layout.layer(entries) for entries in shared]
        for i in range(32):
            layout.tag(f"own{i}", layout.image(layers + [layout.layer(images.entries(("own", f"{i}" * 3000)))]))
        self.finish([self.start_pull(f"own{i}") for i in range(32)])
        self.assertEqual(set(self.fetched().values()), {1})
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
        end = self.meanwhile("reclaim", "--age", "0s")
        for _ in range(4):
            self.finish([self.start_pull(name) for name in self.bench.names])
            for name in self.bench.names:
                self.bench.compare(self.berthd, name)
                self.berthd.berth("rm", self.bench.image(name), check=True)
        self.assertGreater(end(), 0)
        self.whole()

    def test_f07_a_pull_that_was_cut_goes_on_after_a_sweep(self):
        held = threading.Event()
        self.addCleanup(held.set)
        self.bench.server.before = lambda path: "/blobs/" in path and held.wait()
        running = self.start_pull("all")
        while not self.fetched():
            self.assertIsNone(running.poll())
        running.terminate()
        running.communicate()
        held.set()
        self.berthd.berth("reclaim", "--age", "0s", check=True)
        self.finish([self.start_pull("all")])
        self.whole()

    def test_f12_small_images_do_not_wait_for_a_large_one(self):
        layout, held = self.bench.layout, threading.Event()
        self.addCleanup(held.set)
        large = layout.layer(images.entries(("large", "l" * 100_000)))
        layout.tag("large", layout.image([large]))
        for i in range(20):
            layout.tag(f"small{i}", layout.image([layout.layer(images.entries(("small", f"{i}" * 100)))]))
        self.bench.server.before = lambda path: path.endswith(large["digest"]) and held.wait()
        slow = self.start_pull("large")
        while not any(path.endswith(large["digest"]) for path in self.fetched()):
            self.assertIsNone(slow.poll())
        self.finish([self.start_pull(f"small{i}") for i in range(20)])
        self.assertIsNone(slow.poll())
        held.set()
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
