"""Every kubectl of this machine against berthd, word for word: python3 lab/test_kubectl.py [-v]; BERTH_BIN as for the demo. Root, crun or runc.

Debian's kubectl is the one of kubernetes-client, or what `./dev setup` unpacked of that where another one is installed.
What a person sees is in lab/golden/kubectl/NAME.txt, with times, addresses and ids replaced; where a newer kubectl says it otherwise,
NAME@1.32.txt has it for that one and those after it. GOLDEN=write makes them anew.
"""
import base64
import contextlib
import http.client
import json
import os
import pathlib
import queue
import re
import resource
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest

import content
import daemon
import images
import registry
from pods import Pods, pod

USER = "demo"
MAPS = "/api/v1/namespaces/default/configmaps"
GOLDEN = pathlib.Path(__file__).parent / "golden/kubectl"
PLACES = [(r"\b[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UID"), (r"\bsha256:[0-9a-f]{64}\b", "sha256:DIGEST"),
          (r"\b[0-9a-f]{64}\b", "ID"), (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
          (r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "DATE"), (r"resourceVersion: \"\d+\"", 'resourceVersion: "N"'),
          (r"\(x\d+ over [0-9hms]+\)", "(xN over AGE)"), (r"(?<![\w.:/-])(\d+h)?(\d+m)?\d+s\b(?! grace)", "AGE")]


def kubectls():
    """{(1, 20): path}, oldest first."""
    places = [daemon.ROOT / "build/tools/kubectl/usr/bin", *map(pathlib.Path, os.environ["PATH"].split(":"))]
    found = {}
    for path in (place / "kubectl" for place in places if os.access(place / "kubectl", os.X_OK)):
        done = subprocess.run([path, "version", "--client", "-o", "json"], capture_output=True, text=True, check=True)
        version = re.match(r"v(\d+)[.](\d+)", json.loads(done.stdout)["clientVersion"]["gitVersion"])
        found.setdefault(tuple(map(int, version.groups())), str(path))
    return dict(sorted(found.items()))


KUBECTLS = kubectls()
DEBIAN = (1, 20)


def golden_file(name, version):
    """The one of the newest kubectl up to this one."""
    later = [tuple(map(int, path.stem.split("@")[1].split("."))) for path in GOLDEN.glob(f"{name}@*.txt")]
    newest = max((v for v in later if v <= version), default=None)
    return GOLDEN / (f"{name}@{newest[0]}.{newest[1]}.txt" if newest else f"{name}.txt")


def golden(test, name, text, version, *replace):
    """What kubectl printed is what it printed before. Runs of blanks are as long as what they align, so they become two."""
    for old, new in replace:
        text = text.replace(old, new)
    for pattern, new in PLACES:
        text = re.sub(pattern, new, text)
    text = "\n".join(re.sub(r"(?<=\S) {2,}", "  ", line).rstrip() for line in text.splitlines()) + "\n"
    if os.environ.get("GOLDEN") == "write":
        (GOLDEN / f"{name}@{version[0]}.{version[1]}.txt").unlink(missing_ok=True)
        path = golden_file(name, version)
        if version != DEBIAN and path.exists() and path.read_text() != text:
            path = GOLDEN / f"{name}@{version[0]}.{version[1]}.txt"
        path.write_text(text)
    path = golden_file(name, version)
    test.assertEqual(text, path.read_text() if path.exists() else "", f"{path.name}; GOLDEN=write makes it anew")


class Lines:
    """What a program says, line by line, while it runs."""

    def __init__(self, test, command, **more):
        self.lines = queue.Queue()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **more)
        reader = threading.Thread(target=self.read, args=(process.stdout,))
        reader.start()
        for clean in (process.stdout.close, reader.join, process.wait, process.kill):  # the last one first
            test.addCleanup(clean)

    def read(self, stream):
        for line in stream:
            self.lines.put(line)
        self.lines.put(None)

    def until(self, pattern, seconds=60):
        """All lines up to the first that has it."""
        taken = []
        while not taken or not re.search(pattern, taken[-1]):
            line = self.lines.get(timeout=seconds)
            if line is None:
                raise AssertionError(f"it ended before {pattern!r}: {taken}")
            taken.append(line)
        return taken


@unittest.skipUnless(os.geteuid() == 0, "root is needed")
@unittest.skipUnless(shutil.which("crun") or shutil.which("runc"), "crun or runc is needed")
@unittest.skipUnless(shutil.which("docker-registry"), "docker-registry is needed")
@unittest.skipUnless(KUBECTLS, "kubectl (kubernetes-client) is needed")
class Lab(unittest.TestCase):
    maxDiff = None
    version, program = next(iter(KUBECTLS.items()), (None, None))

    @classmethod
    def setUpClass(cls):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a descriptor for each watcher
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-kubectl-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        layout = images.Layout(cls.folder / "layout")
        content.busybox(layout)
        cls.password = secrets.token_hex(8)
        cls.server = cls.enterClassContext(registry.Registry(users={USER: cls.password}))
        images.push(layout, cls.server.url, "shop/web", "v1", auth=(USER, cls.password))
        cls.image = f"{cls.server.host}/shop/web:v1"

    def setUp(self):
        self.home = self.folder / self._testMethodName
        self.berthd = daemon.Berthd(self.home, settings={"node.name": "lab", "credentials.nodeConfig": [str(self.home / "none")],
                                                         "apiserver.listen": "127.0.0.1:0"})
        self.berthd.start()
        self.addCleanup(self.berthd.stop)
        self.pods = Pods(self.berthd)
        self.config = self.berthd.run / "kubeconfig"
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.config)}

    def tearDown(self):
        self.kubectl("delete", "pods", "--all", "-A", "--grace-period=1", "--wait=false")
        self.pods.wait("nothing is left of any Pod", lambda: not self.pods.leftovers(), 60)

    def kubectl(self, *args, feed=None, timeout=90, env=None):
        return subprocess.run([self.program, *map(str, args)], env=self.env | (env or {}), input=feed, stdin=None if feed else subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout)

    def run_ok(self, *args, noise="", **more):
        """What it printed; on stderr it says `noise`, a pattern, and no more."""
        done = self.kubectl(*args, **more)
        self.assertEqual(done.returncode, 0, f"kubectl {args}: {done.stdout}{done.stderr}\n{self.berthd.tail()}")
        self.assertRegex(done.stderr, rf"\A{noise}\Z", args)
        return done.stdout

    def fails(self, *args, **more):
        done = self.kubectl(*args, **more)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stderr

    def golden(self, name, text):
        golden(self, name, text, self.version, (self.server.host, "REGISTRY"), (self.password, "PASSWORD"), (str(self.home), "HOME"))

    def regcred(self, name="regcred"):
        return self.run_ok("create", "secret", "docker-registry", name, f"--docker-server={self.server.host}", f"--docker-username={USER}",
                           f"--docker-password={self.password}", "--docker-email=demo@shop.test")

    def write(self, name, *objects):
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"---\n{json.dumps(o)}\n" for o in objects))
        return path

    def status(self, name):
        return self.kubectl("get", "pod", name, "--no-headers").stdout.split()[2:3]

    def until(self, name, *wanted, seconds=60):
        self.pods.wait(f"{name} is {wanted}", lambda: self.status(name) and self.status(name)[0] in wanted, seconds)


class Session:
    # ---- the concept page

    def test_a_private_image_from_end_to_end(self):
        self.golden("get-pods-none", self.kubectl("get", "pods").stderr)
        file = self.write("my-private-reg-pod.yaml", pod("private-reg", self.image, "echo hello; sleep 1000", secrets=["regcred"]))
        self.assertEqual(self.run_ok("apply", "-f", file), "pod/private-reg created\n")
        self.until("private-reg", "ErrImagePull")
        self.until("private-reg", "ImagePullBackOff", seconds=40)
        self.golden("get-pods-backoff", self.run_ok("get", "pods").replace("ErrImagePull", "ImagePullBackOff"))  # which it tries between
        self.assertIn("is waiting to start: trying and failing to pull image", self.fails("logs", "private-reg"))
        told = self.run_ok("describe", "pod", "private-reg")
        self.golden("describe-pod-head", told[:told.index("Events:")].replace("ErrImagePull", "ImagePullBackOff"))
        events = told[told.index("Events:"):]
        for line in (f'Pulling image "{self.image}"', f'Back-off pulling image "{self.image}"', "Error: ErrImagePull", "Error: ImagePullBackOff",
                     "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed."):
            self.assertIn(line, events)
        self.golden("describe-pod-event-columns", "\n".join(events.splitlines()[:3]))
        listed = self.run_ok("get", "events", "--field-selector", "reason=FailedToRetrieveImagePullSecret")
        self.golden("get-events", listed)

        self.golden("create-secret", self.regcred())
        self.golden("create-secret-again", self.kubectl("create", "secret", "docker-registry", "regcred", "--docker-server=x", "--docker-username=x",
                                                        "--docker-password=x").stderr)
        text = self.run_ok("get", "secret", "regcred", "--output=yaml")
        self.golden("get-secret-yaml", re.sub(r"(?<=dockerconfigjson: )\S+", "DATA", text))
        data = self.run_ok("get", "secret", "regcred", "--output=jsonpath={.data.\\.dockerconfigjson}")
        self.assertEqual(json.loads(base64.b64decode(data)), {"auths": {self.server.host: {
            "username": USER, "password": self.password, "email": "demo@shop.test", "auth": base64.b64encode(f"{USER}:{self.password}".encode()).decode()}}})
        self.golden("get-secrets", self.run_ok("get", "secrets"))

        self.until("private-reg", "Running")
        self.golden("get-pods-running", self.run_ok("get", "pods"))
        self.golden("get-pods-wide", self.run_ok("get", "pods", "-o", "wide"))
        self.assertEqual(self.run_ok("get", "pods", "-o", "name"), "pod/private-reg\n")
        self.golden("get-pods-all-namespaces", self.run_ok("get", "po", "-A", "--show-labels"))
        got = json.loads(self.run_ok("get", "pod", "private-reg", "-o", "json"))
        self.assertEqual(got["status"]["phase"], "Running")
        self.assertIn("kind: Pod\n", self.run_ok("get", "pod/private-reg", "-o", "yaml"))
        self.assertEqual(json.loads(self.run_ok("get", "pods", "-o", "json"))["kind"], "List")
        self.pods.wait("its log", lambda: self.kubectl("logs", "private-reg").stdout == "hello\n", 20)
        self.assertEqual(self.run_ok("logs", "private-reg", "-c", "main", "--tail=1", "--since=1h", "--limit-bytes=3"), "hel")
        self.assertRegex(self.run_ok("logs", "private-reg", "--timestamps"), r"^\d{4}-\d\d-\d\dT\S+Z hello\n$")
        self.run_ok("wait", "--for=condition=Ready", "pod/private-reg", "--timeout=30s")
        self.golden("delete-pod", self.run_ok("delete", "pod", "private-reg"))
        self.golden("get-pod-gone", self.kubectl("get", "pod", "private-reg").stderr)

    def test_the_secret_at_the_account_and_run(self):
        self.regcred("myregistrykey")
        self.golden("get-serviceaccounts", self.run_ok("get", "serviceaccounts"))
        self.golden("patch-serviceaccount", self.run_ok("patch", "serviceaccount", "default", "-p", '{"imagePullSecrets": [{"name": "myregistrykey"}]}'))
        self.golden("run", self.run_ok("run", "nginx", f"--image={self.image}", "--restart=Never", "--command", "--", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done"))
        self.assertEqual(self.run_ok("get", "pod", "nginx", "-o=jsonpath={.spec.imagePullSecrets[0].name}{'\\n'}"), "myregistrykey\n")
        self.until("nginx", "Running", "Completed")
        self.assertEqual(self.run_ok("logs", "-f", "nginx"), "1\n2\n3\n")
        self.until("nginx", "Completed")
        self.golden("get-pods-completed", self.run_ok("get", "pods"))
        account = json.loads(self.run_ok("get", "sa", "default", "-o", "json"))
        account.pop("imagePullSecrets")
        self.golden("replace-serviceaccount", self.run_ok("replace", "-f", "-", feed=json.dumps(account)))
        self.assertIn("the object has been modified; please apply your changes to the latest version and try again",
                      self.fails("replace", "-f", "-", feed=json.dumps(account)))
        self.golden("describe-serviceaccount", self.run_ok("describe", "sa", "default"))
        # As the page has it, by hand.
        editor = self.home / "editor"
        editor.write_text("#!/bin/sh\necho 'imagePullSecrets:\n- name: myregistrykey' >> \"$1\"\n")
        editor.chmod(0o755)
        self.golden("edit-serviceaccount", self.run_ok("edit", "serviceaccount/default", env={"KUBE_EDITOR": str(editor)}))
        self.assertEqual(self.run_ok("get", "sa", "default", "-o", "jsonpath={.imagePullSecrets[*].name}"), "myregistrykey")
        (self.home / "config.json").write_text(json.dumps({"auths": {self.server.host: {"auth": "dTpw"}}}))
        self.golden("create-secret-generic", self.run_ok("create", "secret", "generic", "regcred", f"--from-file=.dockerconfigjson={self.home}/config.json",
                                                         "--type=kubernetes.io/dockerconfigjson"))
        self.golden("get-secret", self.run_ok("get", "secrets", "regcred"))

    def test_apply_with_kustomize(self):
        folder = self.home / "k"
        config = json.dumps({"auths": {self.server.host: {"auth": base64.b64encode(f"{USER}:{self.password}".encode()).decode()}}})
        folder.mkdir(parents=True)
        (folder / ".dockerconfigjson").write_text(config)
        (folder / "pod.yaml").write_text(json.dumps(pod("web", self.image, "echo kustom; sleep 1000", secrets=["myregistrykey"], namespace=None)))
        (folder / "kustomization.yaml").write_text("secretGenerator:\n- name: myregistrykey\n  type: kubernetes.io/dockerconfigjson\n  files:\n  - .dockerconfigjson\n"
                                                   "resources:\n- pod.yaml\n")
        said = self.run_ok("apply", "-k", folder)
        self.assertRegex(said, r"^secret/myregistrykey-[a-z0-9]{10} created\npod/web created\n$")
        self.assertRegex(self.run_ok("apply", "-k", folder), r"^secret/myregistrykey-[a-z0-9]{10} (unchanged|configured)\npod/web (unchanged|configured)\n$")
        self.until("web", "Running")
        self.assertRegex(self.run_ok("delete", "-k", folder, "--grace-period=1"), r'secret "myregistrykey-\S+" deleted.*\n?pod "web" deleted')

    # ---- what else people type

    def test_changes(self):
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"}, "data": {"a": "1", "b": "2"}}
        web = pod("web", self.image, "sleep 1000", secrets=["none"])
        file = self.write("all.yaml", config, web)
        said = [self.run_ok("apply", "-f", file), self.run_ok("apply", "-f", file)]
        web["metadata"]["labels"] = {"app": "web"}
        web["spec"]["containers"][0]["image"] = self.image + "x"
        del config["data"]["b"]
        self.write("all.yaml", config, web)
        diff = self.kubectl("diff", "-f", file)
        self.assertEqual(diff.returncode, 1, diff.stderr)
        self.assertIn(f"+  - image: {self.image}x", diff.stdout.replace("+    image", "+  - image"))
        said += [self.run_ok("apply", "-f", file, "--dry-run=server"), self.run_ok("apply", "-f", file)]
        self.golden("apply", "".join(said))
        self.assertEqual(json.loads(self.run_ok("get", "cm", "cm", "-o", "json"))["data"], {"a": "1"})
        self.golden("changes", "".join(self.run_ok(*args) for args in (
            ("label", "pod", "web", "tier=front"), ("label", "pod", "web", "tier=back", "--overwrite"), ("annotate", "pod", "web", "note=x"), ("label", "pod", "web", "tier-"),
            ("set", "image", "pod/web", f"main={self.image}"), ("patch", "pod", "web", "--type=merge", "-p", '{"metadata":{"labels":{"a":"b"}}}'),
            ("patch", "pod", "web", "--type=json", "-p", '[{"op":"remove","path":"/metadata/labels/a"}]'), ("get", "pods", "-l", "app=web", "-o", "name"),
            ("get", "pods", "--field-selector", "spec.nodeName=lab", "-o", "name"), ("create", "namespace", "shop"), ("get", "ns"), ("delete", "ns", "shop"))))

    def test_refusals(self):
        web = self.write("web.yaml", pod("web", self.image, "sleep 1000", secrets=["none"]))
        self.run_ok("create", "-f", web)
        container = {"name": "a", "image": "i"}

        def bad(kind, name, api="v1", **members):
            return "create", "-f", self.write(f"{kind}-{name}.yaml", {"apiVersion": api, "kind": kind, "metadata": {"name": name}} | members)
        told = ""
        for args in (("patch", "pod", "web", "--type=merge", "-p", '{"spec":{"restartPolicy":"Never"}}'),
                     ("get", "pods", "--field-selector", "spec.image=x"), ("get", "deployments"), ("get", "pod", "nothing"),
                     bad("Pod", "bad", spec={"containers": [container], "contaners": []}), bad("Pod", "Bad", spec={"containers": [container]}),
                     bad("Pod", "typed", spec={"containers": [container | {"tty": "x"}]}),
                     bad("Pod", "typed", spec={"containers": [container | {"tty": "x"}]}) + ("--validate=false",),
                     bad("Secret", "bad", type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": "W10="}),
                     bad("Deployment", "bad", "apps/v1"), ("apply", "--server-side", "-f", web), ("label", "node", "lab", "a=b"),
                     ("exec", "web", "--", "ls"), ("delete", "ns", "default"), ("logs", "web", "-c", "none"),
                     ("create", "-f", web), ("create", "-f", self.write("empty.yaml"))):
            told += f"$ kubectl {' '.join(map(str, args))}\n{self.fails(*args)}"
        self.golden("refusals", told)

    def test_looking_around(self):
        self.golden("api-resources", self.run_ok("api-resources"))
        self.assertEqual(self.run_ok("api-versions"), "v1\n")
        server = json.loads(self.kubectl("version", "-o", "json").stdout)["serverVersion"]
        self.assertRegex(server["gitVersion"], r"^v1\.36\.0\+berth\.")
        self.golden("explain", self.run_ok("explain", "pod.spec.containers.imagePullPolicy") + self.run_ok("explain", "secret"))
        self.assertRegex(self.run_ok("get", "nodes"), r"(?m)^lab +Ready +<none> +\S+ +v1\.36\.0\+berth\.\S+$")
        self.assertIn("Container Runtime Version:  berth://", self.run_ok("describe", "node", "lab"))
        self.golden("describe-namespace", self.run_ok("describe", "ns", "default"))
        self.assertEqual(self.run_ok("get", "--raw", "/readyz"), "ok")
        self.assertEqual(self.run_ok("get", "all", noise="No resources found in default namespace.\n"), "")
        self.assertEqual(json.loads(self.run_ok("get", "--raw", "/openapi/v2"))["swagger"], "2.0")
        self.assertEqual(self.config.stat().st_mode & 0o777, 0o600)

    def test_watching(self):
        self.regcred()
        # A watch is on when it has shown what is there; what comes later it cannot miss.
        self.run_ok("apply", "-f", self.write("old.yaml", pod("old", "none.test/none:1", "true", imagePullPolicy="Never")))
        self.until("old", "ErrImageNeverPull")
        pods = Lines(self, [self.program, "get", "pods", "-w", "--output-watch-events"], env=self.env)
        self.assertEqual(pods.until(r"ADDED +old ")[0].split(), ["EVENT", "NAME", "READY", "STATUS", "RESTARTS", "AGE"])
        events = Lines(self, [self.program, "get", "events", "-w", "--no-headers"], env=self.env)
        events.until(r" pod/old ")
        ends = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
        self.run_ok("apply", "-f", self.write("p.yaml", pod("web", self.image, ends, secrets=["regcred"])))
        rows = pods.until(r" web +1/1 +Running ")
        self.run_ok("delete", "pod", "web")
        rows = [row.split() for row in rows + pods.until(r"DELETED +web ") if " web " in row]
        seen = [(event, status) for event, _, _, status, *_ in rows]
        self.golden("watch-pods", "".join(f"{event} {status}\n" for i, (event, status) in enumerate(seen) if i == 0 or seen[i - 1] != (event, status)))
        told = [line.split() for line in events.until(r" Killing +pod/web ") if " pod/web " in line]
        self.golden("watch-events", "".join(f"{kind} {reason}\n" for _, kind, reason, *_ in told))


class Server(Lab):
    # ---- who may, and how much

    def connection(self):
        text = self.config.read_text()
        ca = base64.b64decode(re.search(r"certificate-authority-data: (\S+)", text)[1]).decode()
        host, port = re.search(r"https://([\d.]+):(\d+)", text).groups()
        return host, int(port), daemon.secret(re.search(r"token: (\S+)", text)[1]), ssl.create_default_context(cadata=ca)

    def test_only_root_with_the_token(self):
        host, port, token, context = self.connection()

        def ask(path, **headers):
            connection = http.client.HTTPSConnection(host, port, context=context, timeout=20)
            with contextlib.closing(connection):
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
        self.assertEqual(ask("/api/v1/secrets")[0], 403)
        self.assertEqual(ask("/api/v1/secrets", Authorization="Bearer x")[0], 401)
        self.assertEqual(ask("/api/v1/secrets", Authorization=f"Bearer {token}")[0], 200)
        self.assertEqual(ask("/version")[0], 200)
        self.assertNotIn(token, self.berthd.log_path.read_text())
        self.berthd.stop()
        self.berthd.start()
        self.assertEqual(self.connection()[2], token, "it stays over a restart")
        self.assertIn("No resources found", self.kubectl("get", "pods").stderr)

    def ask(self, method, path, body=None, **headers):
        """The answer, with its connection still open; a watch is read line by line."""
        host, port, token, context = self.connection()
        connection = http.client.HTTPSConnection(host, port, context=context, timeout=120)
        self.addCleanup(connection.close)
        connection.request(method, path, body, {"Authorization": f"Bearer {token}"} | headers)
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200, path)
        return answer

    def watch(self, name, more="", window=None):
        """A watch of one ConfigMap, as a socket that has taken nothing but the head; `window`: bytes the kernel takes for it."""
        host, port, token, context = self.connection()
        plain = socket.socket()
        self.addCleanup(plain.close)
        plain.settimeout(120)
        if window:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        plain.connect((host, port))
        s = context.wrap_socket(plain, server_hostname="localhost")
        self.addCleanup(s.close)
        s.sendall(f"GET {MAPS}?watch=1&fieldSelector=metadata.name%3D{name}{more} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(s)
        answer.begin()
        self.assertEqual(answer.status, 200)
        return answer

    def test_a_thousand_watchers(self):
        """Half of them take what comes. The others take nothing, and twice what the store keeps for them happens behind their backs."""
        self.run_ok("create", "configmap", "small", "--from-literal=n=0")
        self.run_ok("create", "configmap", "large", "--from-literal=n=0")
        idle = self.berthd.memory()[self.berthd.process.pid][0]
        listeners = [self.watch("small") for _ in range(500)]
        sleepers = [self.watch("large", window=4096) for _ in range(500)]
        for watch in listeners:
            self.assertEqual(json.loads(watch.readline())["type"], "ADDED")
        host, port, token, context = self.connection()
        writer = http.client.HTTPSConnection(host, port, context=context, timeout=120)
        self.addCleanup(writer.close)

        def change(name, **data):
            writer.request("PATCH", f"{MAPS}/{name}", json.dumps({"data": data}), {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"})
            answer = writer.getresponse()
            answer.read()
            self.assertEqual(answer.status, 200)
        for n in range(1, 801):
            change("large", n=str(n), ballast="x" * 5_000)
            if n % 4 == 0:
                change("small", n=str(n))
        for watch in listeners:
            self.assertEqual([json.loads(watch.readline())["object"]["data"]["n"] for _ in range(200)], [str(n) for n in range(4, 801, 4)])
        peak = self.berthd.memory()[self.berthd.process.pid][1]
        print(f"\n1,000 watchers, of which 500 take nothing, 1,000 changes, 800 of them of 5 KB: {idle / 1024:.0f} MiB before, at most {peak / 1024:.0f} MiB")
        self.assertLess(peak, 100 * 1024)
        # Whoever wakes up is told that he has missed something; he lists, and goes on from there.
        for watch in sleepers[:5]:
            lines = [json.loads(line) for line in watch]
            self.assertEqual(lines[0]["type"], "ADDED")
            self.assertLess(len(lines), 100)
            self.assertEqual((lines[-1]["type"], lines[-1]["object"]["code"], lines[-1]["object"]["reason"]), ("ERROR", 410, "Expired"))
            listed = json.load(self.ask("GET", MAPS))
            again = self.watch("large", f"&resourceVersion={listed['metadata']['resourceVersion']}")
            n = str(int({item["metadata"]["name"]: item for item in listed["items"]}["large"]["data"]["n"]) + 1)
            change("large", n=n)
            self.assertEqual(json.loads(again.readline())["object"]["data"]["n"], n)


for VERSION, PROGRAM in KUBECTLS.items():
    NAME = f"Kubectl_{VERSION[0]}_{VERSION[1]}"
    globals()[NAME] = type(NAME, (Session, Lab), {"version": VERSION, "program": PROGRAM})


@unittest.skipUnless(DEBIAN in KUBECTLS, "./dev setup brings Debian's kubectl")
class Debian(unittest.TestCase):
    def test_is_the_first(self):
        self.assertEqual(next(iter(KUBECTLS)), DEBIAN)


if __name__ == "__main__":
    unittest.main()
