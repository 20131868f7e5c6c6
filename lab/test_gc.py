"""Image garbage collection end to end, on a small disk of its own: python3 lab/test_gc.py [-v]; BERTH_BIN as for the demo. Root."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import unittest

import cases
import content
import crash
import daemon
import images
import registry
from pods import Pods, pod

IMAGES, LAYER = 10, 6 << 20


def du(path):
    return int(subprocess.run(["du", "-sx", "--block-size=1", path], capture_output=True, text=True, check=True).stdout.split()[0])


@cases.needs_root
@cases.needs("e2fsprogs", "mkfs.ext4")
class OnASmallDisk(cases.Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-gc-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        layout = images.Layout(cls.folder / "layout")
        content.busybox(layout)
        rnd = random.Random(1)
        shared = layout.layer(images.entries(("shared", rnd.randbytes(LAYER // 3))))
        for i in range(IMAGES):
            layout.tag(f"app{i}", layout.image([shared, layout.layer(images.entries((f"own{i}", rnd.randbytes(LAYER))))]))
        layout.tag("volume", layout.image([layout.layer(images.entries(("data", "kept")))]))
        cls.server = cls.enterClassContext(registry.LayoutRegistry({"lab": layout.folder}))

    def setUp(self):
        home = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        self.disk = self.enterContext(crash.volume(home, "96M"))[0]
        kubelet = home / "kubelet.yaml"
        kubelet.write_text(json.dumps({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
                                       "imageGCHighThresholdPercent": 70, "imageGCLowThresholdPercent": 40, "imageMinimumGCAge": "1ms"}))
        self.berthd = self.enterContext(daemon.Berthd(self.disk, log=home / "berthd.log", settings={
            "node.name": "lab", "node.kubeletConfig": str(kubelet), "credentials.nodeConfig": [str(home)]}))

    def image(self, tag):
        return f"{self.server.host}/lab:{tag}"

    def pull(self, *tags, policy="IfNotPresent"):
        for tag in tags:
            self.berthd.berth("pull", "-q", "--policy", policy, self.image(tag), check=True)

    def names(self):
        return {name.rsplit(":", 1)[1] for image in self.berthd.json("images")["images"] for name in image["names"] if "@" not in name}

    def gc(self, *args):
        done = self.berthd.berth("gc", "-o", "json", *args)
        return done, json.loads(done.stdout)

    def fill(self):
        """Pulls until the disk is used above the high threshold; the tags that are here then."""
        for i in range(IMAGES):
            self.pull(f"app{i}")
            if self.gc("--dry-run")[1]["used_percent"] >= 70:
                return [f"app{j}" for j in range(i + 1)]
        self.fail("the disk is too large for this test")

    def events(self):
        return self.berthd.berth("events", "-A").stdout

    def test_df_is_what_du_says(self):
        self.pull("app0", "app1", "volume")
        usage = self.berthd.json("df")
        parts = ("layer", "compressed", "document", "partial", "pod", "log", "database", "other")
        self.assertEqual(sum(usage[f"{part}_bytes"] for part in parts), usage["store_bytes"])
        self.assertEqual(usage["store_bytes"], du(self.berthd.store))
        self.assertEqual(usage["layer_bytes"] + usage["compressed_bytes"],
                         sum(p.stat().st_blocks * 512 for p in (self.berthd.store / "layers").iterdir()) +
                         sum(p.stat().st_blocks * 512 for p in (self.berthd.store / "blobs/sha256").iterdir() if p.stat().st_size > 1 << 20 or
                             p.read_bytes()[:2] == b"\x1f\x8b"))

    def test_collects_to_the_low_threshold_and_says_so_before(self):
        here = self.fill()
        self.berthd.berth("pin", self.image("app0"), "--reason", "needed", check=True)
        before, (_, plan) = du(self.berthd.store), self.gc("--dry-run")
        self.assertEqual(set(here), self.names(), "a dry run removes nothing")
        done, report = self.gc()
        self.assertEqual(done.returncode, 0, done.stderr + self.berthd.tail())
        self.assertEqual([image["id"] for image in plan["images"] if image["action"] == "remove"],
                         [image["id"] for image in report["images"] if image["action"] == "remove"])
        self.assertEqual(plan["freed_bytes"], report["freed_bytes"])
        # The catalog may have grown by what it wrote down.
        self.assertAlmostEqual(before - du(self.berthd.store), report["freed_bytes"], delta=1 << 20)
        self.assertGreaterEqual(report["unneeded_bytes"], min(report["wanted_bytes"], LAYER), "compressed blobs first")
        self.assertLess(self.gc("--dry-run")[1]["used_percent"], 46)
        self.assertIn("app0", self.names())
        self.assertEqual(self.gc()[1]["freed_bytes"], 0, "and no further")
        _, why = self.gc("--why", self.image("app0"))
        self.assertRegex(why["images"][0]["why"], '^pinned by .*"needed"$|^pinned: "needed"$')
        self.assertEqual(self.berthd.berth("fsck").returncode, 0)
        refused = self.berthd.berth("rm", self.image("app0"))
        self.assertIn("needed", refused.stderr)
        self.berthd.berth("rm", "--force", self.image("app0"), check=True)

    @cases.needs_runtime
    def test_pods_keep_what_they_use(self):
        pods = Pods(self.berthd)
        web = pod("web", self.image("v1"), "sleep 1000", volumeMounts=[{"name": "data", "mountPath": "/data"}],
                  volumes=[{"name": "data", "image": {"reference": self.image("volume")}}])
        waits = pod("waits", self.image("app0"), "sleep 1", imagePullPolicy="Never")  # no shell in it: never more than about to start
        self.pull("app0")
        pods.apply(web, waits)
        try:
            pods.until("web", "Running")
            self.pull("app1")
            self.gc("--dry-run")  # sees it: its age counts from here
            done, report = self.gc("--unused")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.names(), {"v1", "volume", "app0"})
            why = {image["names"][0].rsplit(":", 1)[1]: image["why"] for image in report["images"]}
            self.assertRegex(why["v1"], "^in use by (pod default/web$|the mount at .*/rootfs)")
            self.assertEqual((why["app0"], why["app1"]), ("in use by pod default/waits", "unused"))
            # I-04: all in use and the disk full: an event, nothing removed, pulls fail.
            free = self.gc("--dry-run")[1]["disk_available"]
            with open(self.disk / "ballast", "wb") as ballast:
                os.posix_fallocate(ballast.fileno(), 0, free - (2 << 20))
            done, report = self.gc()
            self.assertEqual(done.returncode, 9, done.stderr)
            self.assertIn("Insufficient free disk space on the node's image filesystem", done.stderr)
            self.assertRegex(self.events(), r"Warning +FreeDiskSpaceFailed +node/lab +Insufficient free disk space")
            self.assertEqual(self.names(), {"v1", "volume", "app0"})
            refused = self.berthd.berth("pull", self.image("app2"))
            self.assertEqual(refused.returncode, 9, refused.stderr)
            self.assertEqual(pods.status("web"), "Running")
            (self.disk / "ballast").unlink()
        finally:
            for name in ("web", "waits"):
                self.berthd.berth("delete", "pod", name, "--grace-period=1")
            pods.wait("nothing of them is left", lambda: not pods.leftovers(), 60)
        # Nobody needs them any more.
        self.assertEqual(self.gc("--unused")[0].returncode, 0)
        self.assertEqual(self.names(), set())
        self.berthd.berth("reclaim", "--age", "0s", check=True)
        self.assertEqual([p for sub in ("layers", "blobs/sha256") for p in (self.berthd.store / sub).iterdir()], [])

    def test_settings_are_judged_in_the_kubelets_words(self):
        self.berthd.stop()
        kubelet = pathlib.Path(self.berthd.settings["node.kubeletConfig"])
        kubelet.write_text(json.dumps({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
                                       "imageGCHighThresholdPercent": 85, "imageGCLowThresholdPercent": 85}))
        self.assertFalse(self.berthd.start())
        self.assertIn("imageGCLowThresholdPercent (--image-gc-low-threshold) 85 must be less than imageGCHighThresholdPercent "
                      "(--image-gc-high-threshold) 85", self.berthd.tail())


if __name__ == "__main__":
    unittest.main()
