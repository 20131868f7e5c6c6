"""lab/cases.py: what end-to-end tests of the node share: an image with a shell, nodes with their settings, a Pod's verdict.

    class Mine(cases.NodeCase):
        def test_x(self):
            node = self.node({"credentials.helpers": True}, {"imagePullCredentialsVerificationPolicy": "AlwaysVerify"})
            node.secret("regcred", host, "alice", password)
            self.assertEqual(node.verdict("web", image, secrets=["regcred"]), "Running")

Everything that a node started is deleted, and has to leave nothing, when the test ends; what a failed test leaves is taken away. A test
that waits for ever (a Case's `seconds`) fails where it waits.
"""
import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import tempfile
import unittest

import content
import daemon
import images
import registry
from pods import Pods, pod

REFUSED = ("ErrImagePull", "ImagePullBackOff")
SETTLED = ("Running", "Completed", "ErrImageNeverPull", "InvalidImageName", "CreateContainerError", *REFUSED)
SLEEP = "trap 'exit 0' TERM; sleep 1000 & wait"


def needs(package, *programs):
    """Skips a test where none of the programs (default: of the package's name) is there."""
    return unittest.skipUnless(any(map(shutil.which, programs or (package,))), f"Debian's package {package} is not installed")


needs_root = unittest.skipUnless(os.geteuid() == 0, "root is needed")
needs_runtime = needs("crun", "crun", "runc")
needs_registry = needs("docker-registry")


class Case(unittest.TestCase):
    """With a time limit: SIGALRM raises in whatever the test waits for, and again, should its cleanups wait as well."""
    seconds = 600

    def run(self, result=None):
        def alarm(*_):
            raise AssertionError(f"{self.id()}: not done within {self.seconds} s")  # no OSError: those are expected here and there
        old = signal.signal(signal.SIGALRM, alarm)
        signal.setitimer(signal.ITIMER_REAL, self.seconds, 120)
        try:
            return super().run(result)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)


class Node:
    """`kubelet`: what is set in a KubeletConfiguration that hurries; None: without one."""
    def __init__(self, case, home, settings, kubelet):
        self.case = case
        home.mkdir()
        given = {"node.name": "lab", "log.level": "debug", "credentials.nodeConfig": [str(home / "none")]}
        if kubelet is not None:
            (home / "kubelet.json").write_text(json.dumps({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
                                                           "registryPullQPS": 0, "serializeImagePulls": False} | kubelet))
            given["node.kubeletConfig"] = str(home / "kubelet.json")
        self.berthd = daemon.Berthd(home, settings=given | settings)
        self.pods, self._count = Pods(self.berthd), 0
        if not self.berthd.start():
            raise RuntimeError(self.berthd.tail())

    def restart(self, how="stop"):
        getattr(self.berthd, how)()
        self.case.assertTrue(self.berthd.start(), self.berthd.tail())

    def secret(self, name, server, user, password, namespace="default"):
        """Makes it, or makes it anew."""
        daemon.secret(password, user)
        self.berthd.berth("delete", "secret", name, "-n", namespace)
        done = self.berthd.berth("secret", "create", "docker-registry", name, "-n", namespace, f"--docker-server={server}",
                                 f"--docker-username={user}", "--docker-password-stdin", input=password, timeout=60)
        self.case.assertEqual((done.returncode, done.stdout), (0, f"secret/{name} created\n"), done.stderr)

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
        status = self.pods.until(name, *wanted, seconds=seconds, namespace=namespace)
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
        report = json.loads(self.berthd.berth("explain", *args, "-o", "json", timeout=150, **({"input": stdin} if stdin else {})).stdout)
        return report[0] if isinstance(report, list) else report

    def records(self):
        """The re-verification records, as {repository: access}, of all images."""
        found = {}
        for path in sorted((self.berthd.store / "image_manager/pulled").glob("sha256-*")):
            found |= json.loads(path.read_text()).get("credentialMapping", {})
        return found

    def close(self):
        with contextlib.closing(self.berthd):
            if self.berthd.process.poll() is not None:
                self.berthd.start()
            for item in self.berthd.json("get", "pods", "-A")["items"]:
                self.delete(item["metadata"]["name"], item["metadata"]["namespace"])
            try:
                self.pods.wait("nothing is left", lambda: not self.pods.leftovers(), 60)
            except RuntimeError as error:
                raise RuntimeError(f"left: {self.pods.leftovers()}") from error


@needs_root
@needs_runtime
@needs_registry
class NodeCase(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-lab-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.layout = images.Layout(cls.folder / "layout")
        content.busybox(cls.layout)

    @classmethod
    def private_registry(cls, *repos, user="demo", ref="v1"):
        """A Registry with one user and a password made now (`password`), that has an image as v1 of each of `repos`."""
        password = "canary" + secrets.token_hex(8)
        server = cls.enterClassContext(registry.Registry(users={user: password}))
        server.user, server.password = user, password
        for repo in repos:
            images.push(cls.layout, server.url, repo, "v1", auth=(user, password), ref=ref)
        return server

    @classmethod
    def variant(cls, tag, text):
        """An image of its own: busybox and one file more."""
        base = cls.layout.manifest("v1", "amd64")
        config = json.loads(cls.layout.read(base["config"]))
        layer = cls.layout.layer(images.entries(("page", text * 3000)))
        cls.layout.tag(tag, cls.layout.image([base["layers"][0] | {"diff_id": config["rootfs"]["diff_ids"][0]}, layer],
                                               config={"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], "WorkingDir": "/"}))
        return layer["digest"]

    def node(self, settings=None, kubelet=None, hurry=True):
        """`hurry`: pulls at once and as many as there are; else the kubelet's defaults."""
        self._nodes = getattr(self, "_nodes", 0) + 1
        home = self.folder / f"{re.sub('[^a-z0-9]', '', self._testMethodName)[:20]}{self._nodes}"
        node = Node(self, home, settings or {}, kubelet or {} if hurry else kubelet)
        self.addCleanup(node.close)
        return node
