"""lab/cases.py: what end-to-end tests of the node share: an image with a shell, nodes with their settings, a Pod's verdict.

    class Mine(cases.NodeCase):
        def test_x(self):
            node = self.node({"credentials.helpers": True}, {"imagePullCredentialsVerificationPolicy": "AlwaysVerify"})
            node.secret("regcred", host, "alice", password)
            self.assertEqual(node.verdict("web", image, secrets=["regcred"]), "Running")

Everything that a node started is deleted, and has to leave nothing, when the test ends.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import content
import daemon
import images
from pods import Pods, pod

REFUSED = ("ErrImagePull", "ImagePullBackOff")
SETTLED = ("Running", "Completed", "ErrImageNeverPull", "InvalidImageName", "CreateContainerError", *REFUSED)
SLEEP = "trap 'exit 0' TERM; sleep 1000 & wait"


class Node:
    def __init__(self, case, home, settings, kubelet):
        self.case = case
        home.mkdir()
        (home / "kubelet.json").write_text(json.dumps({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
                                                       "registryPullQPS": 0, "serializeImagePulls": False} | kubelet))
        self.berthd = daemon.Berthd(home, settings={"node.name": "lab", "node.kubeletConfig": str(home / "kubelet.json"), "log.level": "debug",
                                                    "credentials.nodeConfig": [str(home / "none")]} | settings)
        self.pods, self._count = Pods(self.berthd), 0
        if not self.berthd.start():
            raise RuntimeError(self.berthd.tail())

    def restart(self, how="stop"):
        getattr(self.berthd, how)()
        self.case.assertTrue(self.berthd.start(), self.berthd.tail())

    def secret(self, name, server, user, password, namespace="default"):
        """Makes it, or makes it anew."""
        self.berthd.berth("delete", "secret", name, "-n", namespace)
        done = subprocess.run(self.berthd.command("secret", "create", "docker-registry", name, "-n", namespace, f"--docker-server={server}",
                                                  f"--docker-username={user}", "--docker-password-stdin"),
                              input=password, capture_output=True, text=True, timeout=60)
        self.case.assertEqual(done.returncode, 0, done.stderr)

    def namespace(self, *names):
        self.pods.apply(*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names))

    def pod(self, image, policy="IfNotPresent", namespace="default", secrets=(), script=SLEEP, name=None, **spec):
        self._count += 1
        return pod(name or f"p{self._count}", image, script, namespace=namespace, secrets=secrets, imagePullPolicy=policy, **spec)

    def start(self, *args, **more):
        """Applies a Pod with this image; its name."""
        made = self.pod(*args, **more)
        self.pods.apply(made)
        return made["metadata"]["name"]

    def verdict(self, image, policy="IfNotPresent", namespace="default", wanted=SETTLED, seconds=60, **more):
        """Running, Completed, ErrImageNeverPull, …, or Refused for a pull that failed. The Pod is deleted again."""
        name = self.start(image, policy, namespace, **more)
        status = self.settled(name, wanted, seconds, namespace)
        self.delete(name, namespace)
        return status

    def expect(self, *rows):
        """Pods all at once; each row: what it is to come to, and the arguments of pod()."""
        wanted = {}
        made = [self.pod(*args, **more) for _, args, more in rows]
        for object, row in zip(made, rows):
            wanted[object["metadata"]["namespace"], object["metadata"]["name"]] = row
        self.pods.apply(*made)
        found = {}

        def all_settled():
            for line in self.berthd.berth("get", "pods", "-A", "--no-headers").stdout.splitlines():
                namespace, name, _, status = line.split()[:4]
                if (namespace, name) in wanted and status in SETTLED:
                    found[namespace, name] = "Refused" if status in REFUSED else status
            return len(found) == len(wanted)
        self.pods.wait("all have settled", all_settled, 120)
        self.case.assertEqual([(row, found[key]) for key, row in wanted.items() if found[key] not in row[0].split("|")], [])
        for namespace in {namespace for namespace, _ in wanted}:
            names = [f"pod/{name}" for ns, name in wanted if ns == namespace]
            self.berthd.berth("delete", *names, "-n", namespace, "--grace-period=1", check=True)

    def settled(self, name, wanted=SETTLED, seconds=60, namespace="default"):
        self.pods.until(name, *wanted, seconds=seconds, namespace=namespace)
        status = self.pods.status(name, namespace)
        return "Refused" if status in REFUSED else status

    def delete(self, name, namespace="default"):
        self.pods.get(name, namespace)
        self.berthd.berth("delete", "pod", name, "-n", namespace, "--grace-period=1", check=True)

    def why(self, name, namespace="default"):
        """The message for which its container waits."""
        return self.pods.get(name, namespace)["status"]["containerStatuses"][0]["state"].get("waiting", {}).get("message", "")

    def events(self, name, namespace="default"):
        return self.berthd.berth("events", "-n", namespace, "--for", f"pod/{name}").stdout

    def explain(self, *args, stdin=None):
        done = subprocess.run(self.berthd.command("explain", *args, "-o", "json"), input=stdin, capture_output=True, text=True, timeout=120)
        report = json.loads(done.stdout)
        return report[0] if isinstance(report, list) else report

    def records(self):
        """The re-verification records, as {repository: access}, of all images."""
        found = {}
        for path in sorted((self.berthd.store / "image_manager/pulled").glob("sha256-*")):
            found |= json.loads(path.read_text()).get("credentialMapping", {})
        return found

    def close(self):
        if self.berthd.process.poll() is not None:
            self.berthd.start()
        for item in self.berthd.json("get", "pods", "-A")["items"]:
            self.delete(item["metadata"]["name"], item["metadata"]["namespace"])
        try:
            self.pods.wait("nothing is left", lambda: not self.pods.leftovers(), 60)
        finally:
            self.berthd.stop()


@unittest.skipUnless(os.geteuid() == 0, "root is needed")
@unittest.skipUnless(shutil.which("crun") or shutil.which("runc"), "crun or runc is needed")
@unittest.skipUnless(shutil.which("docker-registry"), "docker-registry is needed")
class NodeCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-lab-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.layout = images.Layout(cls.folder / "layout")
        content.busybox(cls.layout)

    @classmethod
    def variant(cls, tag, text):
        """An image of its own: busybox and one file more."""
        base = cls.layout.manifest("v1", "amd64")
        config = json.loads(cls.layout.read(base["config"]))
        layer = cls.layout.layer(images.entries(("page", text * 3000)))
        cls.layout.tag(tag, cls.layout.image([base["layers"][0] | {"diff_id": config["rootfs"]["diff_ids"][0]}, layer],
                                               config={"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], "WorkingDir": "/"}))
        return layer["digest"]

    def node(self, settings=None, kubelet=None):
        self._nodes = getattr(self, "_nodes", 0) + 1
        node = Node(self, self.folder / f"{re.sub('[^a-z0-9]', '', self._testMethodName)[:20]}{self._nodes}", settings or {}, kubelet or {})
        self.addCleanup(node.close)
        return node
