"""A kubelet's side of berthd: the image cases of critest against Debian's registry; deadlines and lost clients; the id in every answer.

    BERTH_BIN=build/dev/src/apps python3 lab/test_cri.py
    CRI_SOCKET=/run/containerd/containerd.sock python3 lab/test_cri.py Critest   # the same cases against another server
"""
import contextlib
import json
import os
import pathlib
import queue
import subprocess
import tempfile
import unittest

import cases
import daemon
import images
import registry

PROGRAM, CLIENT = (daemon.binary(name, of="cri") for name in ("critest", "cri_client"))
USERS = {"uid": "1002", "username": "www-data", "uid-group": "1003:group", "username-group": "www-data:group"}


def prepare(folder):
    """A layout with all that critest.cc wants, and {repository: [tags]}."""
    layout = images.Layout(folder)
    base = layout.layer(images.tree({"/bin/busybox": "bin/busybox"}))

    def image(text, user=None):
        own = layout.layer(images.entries(("etc", None), ("etc/image", text)))
        return layout.image([base, own], config={"User": user} if user else {"Cmd": ["/bin/busybox", "true"]})
    wanted = {"test-image-tag": ["test"], "test-image-digest": ["latest"], "pause": ["3.9"], "test-image-tags": ["1", "2", "3"]}
    wanted |= {f"test-image-{n}": ["latest"] for n in ("1", "2", "3")} | {f"test-image-user-{kind}": ["latest"] for kind in USERS}
    for repository in wanted:
        user = USERS.get(repository.removeprefix("test-image-user-"))
        layout.tag(repository, image(repository, user))
    # One of them for several platforms.
    foreign = layout.image([base], arch="arm64")
    layout.tag("test-image-latest", layout.index([foreign, image("latest")]))
    return layout, wanted | {"test-image-latest": ["latest"]}


@cases.needs_registry
@cases.needs("busybox-static", "busybox")
class Critest(cases.Case):
    def test_cases(self):
        with tempfile.TemporaryDirectory() as folder, registry.Registry() as one, registry.Registry() as two:
            layout, wanted = prepare(pathlib.Path(folder) / "layout")
            digests = {repository: images.push(layout, one.url, repository, tag, ref=repository) for repository, tags in wanted.items() for tag in tags}
            images.push(layout, two.url, "pause", "3.9", ref="pause")
            env = {"CRI_REGISTRY": one.host, "CRI_REGISTRY2": two.host, "CRI_DIGEST": digests["test-image-digest"]}
            other = os.environ.get("CRI_SOCKET")
            if other:
                return self.cases(env | {"CRI_SOCKET": other})
            with daemon.Berthd(pathlib.Path(folder) / "berth", settings={"plainHttp": [one.host, two.host]}) as berthd:
                self.cases(env | {"CRI_SOCKET": str(berthd.socket)})
                self.assertEqual(berthd.json("images")["images"], [], "every case takes its images away")
                # What was removed by name is gone from the disk, too; what a restart finds has the same ids.
                self.assertEqual(list((berthd.store / "layers").glob("*.data")), [])
                berthd.berth("pull", f"{one.host}/test-image-user-uid", check=True)
                name = f"{one.host}/test-image-user-uid:latest"
                before = self.ids(berthd, "pull", name)
                berthd.kill()
                berthd.start()
                self.assertEqual([i["id"] for i in berthd.json("images")["images"]], before)
                self.assertEqual(self.ids(berthd, "pull", name), before, "the same id from a second pull")

    def cases(self, env):
        ran = subprocess.run([PROGRAM, "--gtest_brief=1"], env=os.environ | env, capture_output=True, text=True, timeout=300)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)

    def ids(self, berthd, *args):
        return subprocess.run([CLIENT, berthd.socket, *args], capture_output=True, text=True, timeout=60, check=True).stdout.split()


class Leaving(cases.Case):
    """A deadline or a closed connection stops the transfer, and the next pull goes on where it stopped."""
    def test_the_transfer_stops_and_is_resumed(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        layout = images.Layout(folder / "layout")
        layer = layout.layer(images.entries(("big", os.urandom(8 << 20))), "none")
        layout.tag("v1", layout.image([layer]))
        eighth = layer["size"] // 8
        server = self.enterContext(registry.LayoutRegistry({"app": layout.folder}))
        # Nobody here gives up a transfer because of the time that it takes: what ends it is that its client leaves.
        patient = {f"limits.{name}": "1h" for name in ("headers", "stall_window")}
        berthd = self.enterContext(daemon.Berthd(folder / "berth", settings={"plainHttp": [server.host]} | patient))
        stalled, gone = queue.Queue(), queue.Queue()

        def stall(handler):
            """An eighth of the layer, then nothing until the other side has closed."""
            if handler.command != "GET" or not handler.path.endswith(layer["digest"]):
                return False
            server.serve(handler, eighth)
            stalled.put(handler.path)
            with contextlib.suppress(OSError):  # a reset is an end, too
                handler.connection.recv(1)
            gone.put(handler.path)
            return registry.cut(handler)
        server.fault = stall
        name = f"{server.host}/app:v1"
        for tries in range(0, 6, 2):
            client = self.client(berthd, "leave", "5000", name)
            self.stands_at(berthd, stalled, (tries + 1) * eighth)
            self.assertEqual(json.loads(client.communicate(timeout=60)[0])["code"], 4, "DEADLINE_EXCEEDED")
            gone.get(timeout=60)
            client = self.client(berthd, "pull", name)
            self.stands_at(berthd, stalled, (tries + 2) * eighth)
            self.assertTrue(gone.empty())
            client.kill()
            gone.get(timeout=60)
        self.assertEqual([at for _, at in server.ranges], [n * eighth for n in range(1, 6)], "every try went on where the last one had stopped")
        server.fault = None
        self.assertEqual(berthd.berth("pull", name).returncode, 0)
        self.assertEqual(len(berthd.json("images")["images"]), 1)
        self.assertEqual(list((berthd.store / "ingest").iterdir()), [])

    def stands_at(self, berthd, stalled, wanted):
        stalled.get(timeout=60)
        daemon.wait("what was sent is in its file", lambda: [file.stat().st_size for file in (berthd.store / "ingest").iterdir()] == [wanted])

    def client(self, berthd, *args):
        made = self.enterContext(daemon.spawn([CLIENT, berthd.socket, *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        self.addCleanup(made.kill)
        return made


if __name__ == "__main__":
    unittest.main()
