"""A kubelet's side of berthd: the image cases of critest against Debian's registry; deadlines and lost clients; the id in every answer.

    BERTH_BIN=build/dev/src/apps python3 lab/test_cri.py
    CRI_SOCKET=/run/containerd/containerd.sock python3 lab/test_cri.py Critest   # the same cases against another server
"""
import contextlib
import json
import os
import pathlib
import queue
import re
import subprocess
import tempfile
import time
import unittest

import daemon
import images
import registry

PROGRAM = pathlib.Path(daemon.BINARIES).parent / "cri/critest"
CLIENT = PROGRAM.parent / "cri_client"
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


class Critest(unittest.TestCase):
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


class Stalled(registry.LayoutRegistry):
    """Gives the first half of the layer, then nothing, until the client goes; `gone` holds when it went. Once `free`, all of it."""
    def __enter__(self):
        super().__enter__()
        self.stalled, self.gone, self.free = queue.Queue(), queue.Queue(), False
        serve, stall = self._server.RequestHandlerClass.do_GET, self._stall

        def do_get(handler):
            if handler.command == "GET" and "/blobs/" in handler.path and int(self._size(handler.path)) > 1 << 20 and not self.free:
                return stall(handler)
            return serve(handler)
        self._server.RequestHandlerClass.do_GET = do_get
        return self

    def _size(self, path):
        blob, _ = self._find(path)
        return blob.stat().st_size if blob else 0

    def _stall(self, handler):
        blob, _ = self._find(handler.path)
        data = blob.read_bytes()
        first = int(re.match(r"bytes=(\d+)-", handler.headers.get("Range", "bytes=0-"))[1])
        handler.send_response(206 if first else 200)
        if first:
            handler.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - first))
        handler.end_headers()
        handler.wfile.write(data[first:first + len(data) // 8])
        self.stalled.put(handler.path)
        with contextlib.suppress(OSError):  # a reset is an end, too
            handler.connection.recv(1)  # returns when the other side has closed
        self.gone.put(time.monotonic())
        handler.close_connection = True


class Leaving(unittest.TestCase):
    """A deadline or a closed connection stops the transfer at once, and the next pull goes on where it stopped."""
    def test_the_transfer_stops_and_is_resumed(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            layout = images.Layout(folder / "layout")
            layout.tag("v1", layout.image([layout.layer(images.entries(("big", os.urandom(8 << 20))), "none")]))
            with Stalled({"app": layout.folder}) as server, daemon.Berthd(folder / "berth", settings={"plainHttp": [server.host]}) as berthd:
                name, late = f"{server.host}/app:v1", {"deadline": [], "killed client": []}
                for _ in range(3):
                    with subprocess.Popen([CLIENT, berthd.socket, "leave", "3000", name], stdout=subprocess.PIPE, text=True) as client:
                        answer = json.loads(client.communicate(timeout=60)[0])
                    self.assertEqual(answer["code"], 4, "DEADLINE_EXCEEDED")
                    server.stalled.get(timeout=30)
                    late["deadline"].append(server.gone.get(timeout=30) - answer["at"])
                    with subprocess.Popen([CLIENT, berthd.socket, "pull", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
                        server.stalled.get(timeout=30)
                        self.assertTrue(server.gone.empty())
                        before = time.monotonic()
                        client.kill()
                    late["killed client"].append(server.gone.get(timeout=30) - before)
                if os.getloadavg()[0] < os.cpu_count():  # else the machine's own delays are measured
                    for way, took in late.items():
                        self.assertLess(min(took), 0.050, way)
                partials = list((berthd.store / "ingest").iterdir())
                self.assertEqual(len(partials), 1)
                self.assertGreater(partials[0].stat().st_size, 2 << 20, "every try went on where the last one had stopped")
                server.free = True
                self.assertEqual(berthd.berth("pull", name).returncode, 0)
                self.assertEqual(len(berthd.json("images")["images"]), 1)
                self.assertEqual(list((berthd.store / "ingest").iterdir()), [])


if __name__ == "__main__":
    unittest.main()
