"""Credential plug-ins, service account tokens, pull secrets and image volumes through the daemon, and the rows 3.d of the reliability
specification with promise P25: python3 lab/test_plugins.py [-v]; BERTH_BIN as for the demo. Root, crun or runc."""
import base64
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import cases
import daemon
import images
import registry

V1 = "credentialprovider.kubelet.k8s.io/v1"


def answer(auth, kind="Registry", duration="1h", version=V1):
    for user, password in auth.values():
        daemon.secret(password, user)
    return json.dumps({"kind": "CredentialProviderResponse", "apiVersion": version, "cacheKeyType": kind, "cacheDuration": duration,
                       "auth": {key: {"username": user, "password": password} for key, (user, password) in auth.items()}})


def from_base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Plugins:
    """A folder of plug-ins (shell scripts) and their configuration. Each notes its requests and knows where its folder is: $1."""
    def __init__(self, folder):
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        self.providers = []

    def add(self, name, match, script, **more):
        """`script` runs when the request was noted; `say(text)` makes one that answers."""
        self.script(name, script)
        self.providers.append({"name": name, "matchImages": match, "defaultCacheDuration": "0s", "apiVersion": V1, "args": [str(self.folder)]} | more)
        self.write()

    def script(self, name, script):
        path = self.folder / "bin" / name
        path.with_suffix(".new").write_text(f"#!/bin/sh\numask 022\ncat > \"$1/{name}.last\"; cat \"$1/{name}.last\" >> \"$1/{name}.runs\"\n{script}\n")
        path.with_suffix(".new").chmod(0o755)
        path.with_suffix(".new").rename(path)

    def write(self, text=None):
        new = self.folder / "config.new"
        new.write_text(text or json.dumps({"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": self.providers}))
        new.rename(self.folder / "config.yaml")

    def requests(self, name):
        path = self.folder / f"{name}.runs"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        for request in found:
            daemon.secret(request.get("serviceAccountToken", ""))
        return found

    def settings(self):
        return {"credentials.pluginConfig": str(self.folder / "config.yaml"), "credentials.pluginBinDir": str(self.folder / "bin")}


def say(text):
    return f"cat <<'END'\n{text}\nEND"


def processes(word):
    """Command lines of the processes that have `word` among their arguments or in their environment."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + b"\0" + (process / "environ").read_bytes()
        except OSError:
            continue
        if word.encode() in words and int(process.name) != os.getpid():
            found.append(words.replace(b"\0", b" ").decode(errors="replace")[:200])
    return found


class ThroughTheDaemon(cases.NodeCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.servers = [cls.private_registry("a/x", "a/y", user="plug") for _ in range(2)]
        cls.server, cls.password = cls.servers[0], cls.servers[0].password

    def plugins(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-plugins-"))  # its parents are root's and nobody else may write there
        self.addCleanup(shutil.rmtree, folder, True)
        return Plugins(folder)

    def good(self, kind="Registry", duration="1h", password=None):
        return answer({server.host: ("plug", password or server.password) for server in self.servers}, kind, duration)

    def quiet(self, node):
        """Nothing that was said has a password."""
        said = node.berthd.log_path.read_text(errors="replace") + node.berthd.berth("events", "-A").stdout
        said += node.berthd.berth("get", "pods", "-A", "-o", "json").stdout
        self.assertNotIn("canary", said)

    def pull_all(self, node):
        for server, repo in ((0, "a/x"), (0, "a/x"), (0, "a/y"), (1, "a/x")):
            self.assertEqual(node.verdict(f"{self.servers[server].host}/{repo}:v1", "Always"), "Running", (server, repo))

    def test_cache_types_and_durations(self):
        """7.5, 7.6; D-16, D-22, D-25."""
        rows = [("Image", "1h", 3), ("Registry", "1h", 2), ("Global", "1h", 1), ("Image", "0s", 4), ("Global", "-5m", 4), ("Registry", "1000000h", 2)]
        for kind, duration, runs in rows:
            with self.subTest(kind, duration=duration):
                plugins = self.plugins()
                plugins.add("plug", [server.host for server in self.servers], 'env | cut -d= -f1 | sort > "$1/env"; ls -l /proc/self/fd > "$1/fds"\n' + say(self.good(kind, duration)),
                            env=[{"name": "KEY", "value": "canary-env"}])
                node = self.node(plugins.settings())
                self.pull_all(node)
                asked = plugins.requests("plug")
                self.assertEqual(len(asked), runs, asked)
                self.assertEqual(asked[0], {"kind": "CredentialProviderRequest", "apiVersion": V1, "image": f"{self.server.host}/a/x"})
                self.assertEqual(set((plugins.folder / "env").read_text().split()) - {"PWD", "OLDPWD", "_", "SHLVL"}, {"PATH", "HOME", "KEY"})
                self.assertEqual(node.records()[f"{self.server.host}/a/x"], {"nodePodsAccessible": True})
                self.quiet(node)

    def test_one_run_for_many_pods(self):
        """D-27."""
        plugins = self.plugins()
        plugins.add("plug", [self.server.host], 'while [ ! -e "$1/go" ]; do sleep 0.05; done\n' + say(self.good()))
        node = self.node(plugins.settings())
        names = [node.start(f"{self.server.host}/a/x:v1", "Always") for _ in range(12)]
        node.pods.wait("it runs", lambda: plugins.requests("plug"), 20)
        (plugins.folder / "go").touch()
        for name in names:
            self.assertEqual(node.settled(name), "Running")
        self.assertEqual(len(plugins.requests("plug")), 1)

    def test_the_configuration_changes_without_a_restart(self):
        image = f"{self.server.host}/a/x:v1"
        plugins = self.plugins()
        plugins.add("first", ["other.test"], say(self.good()))
        node = self.node(plugins.settings())
        self.assertEqual(node.verdict(image, "Always"), "Refused")
        plugins.add("second", [self.server.host], say(self.good(duration="0s")))
        node.berthd.reload()
        self.assertEqual(node.verdict(image, "Always"), "Running")
        plugins.write("no: [configuration")
        node.berthd.reload()
        self.assertIn("the old configuration stays", node.berthd.log_path.read_text())
        self.assertEqual(node.verdict(image, "Always"), "Running", "the old one stays")
        plugins.script("second", say(self.good(duration="0s", password="canary-old")))
        self.assertEqual(node.verdict(image, "Always"), "Refused", "the program is looked up at each run")
        plugins.script("second", say(self.good(duration="0s")))
        plugins.providers.pop()
        plugins.write()  # no signal: it is looked at every ten seconds
        node.pods.wait("seen without a signal", lambda: node.explain(image, "--policy", "Always")["verdict"]["cause"] == "no-credential", 30)
        self.assertEqual(node.verdict(image, "Always"), "Refused")
        self.quiet(node)
        # What is broken at the start keeps the daemon from starting, in the kubelet's words (7.1).
        node.berthd.stop()
        for text, words in (("{}", "config.yaml"), (json.dumps({"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": []}),
                                                    "providers: Required value: at least 1 item in plugins is required")):
            plugins.write(text)
            self.assertFalse(node.berthd.start())
            self.assertIn(words, node.berthd.tail(5))
        plugins.write()

    # name, script, what the event says, explain's cause
    FAILING = [("gone", None, "No such file", "plugin-missing"),
               ("modeless", "chmod", "is not executable", "plugin-missing"),
               ("writable", "chmod 777", "may be written by everybody", "plugin-crashes"),
               ("crashes", "echo its words >&2; kill -SEGV $$", "killed by signal 11", "plugin-crashes"),
               ("exits", "GOOD\nexit 3", "exit status 3", "plugin-crashes"),
               ("talks", "echo hello canary-x", "error reading GVK from response", "plugin-lies"),
               ("silent", "exit 0", "no output", "plugin-lies"),
               ("older", "OLDER", "did not match expected apiVersion", "plugin-lies"),
               ("keyless", "KEYLESS", "valid cacheKeyType", "plugin-lies"),
               ("twice", "GOOD\nGOOD", "error reading GVK from response", "plugin-lies"),
               ("floods", "cat /dev/zero", "more than 1048576 bytes", "plugin-lies"),
               ("stderrs", "head -c 200000000 /dev/zero | tr '\\0' x >&2; exit 1", "exit status 1", "plugin-crashes"),
               ("tells", "env >&2; exit 1", "exit status 1", "plugin-crashes"),
               ("hangs", "trap '' TERM; while :; do sleep 1000; done", "no answer within 1m0s", "plugin-hangs")]  # the last one looked at

    def test_plugins_that_fail(self):
        """D-17, D-19, D-20, D-21, D-24, D-26 and P25: the pull goes on when the limit has passed, the Pod's owner is told, explain knows."""
        plugins = self.plugins()
        fill = {"GOOD": say(self.good()), "OLDER": say(answer({self.server.host: ("plug", self.password)}, version=V1 + "beta1")),
                "KEYLESS": say(answer({self.server.host: ("plug", self.password)}, kind="canary"))}
        for name, script, _, _ in self.FAILING:
            images.push(self.layout, self.server.url, f"fail/{name}", "v1", auth=("plug", self.password))
            script = script or "exit 0"
            for key, text in fill.items():
                script = script.replace(key, text)
            plugins.add(name, [f"{self.server.host}/fail/{name}"], script, env=[{"name": "KEY", "value": "canary-env"}])
        node = self.node(plugins.settings())
        (plugins.folder / "bin/gone").unlink()
        (plugins.folder / "bin/modeless").chmod(0o644)
        (plugins.folder / "bin/writable").chmod(0o777)
        node.secret("regcred", self.server.host, "plug", self.password)
        pods = {}
        for name, *_ in self.FAILING:
            image = f"{self.server.host}/fail/{name}:v1"
            pods[name] = (node.start(image), node.start(image, secrets=["regcred"]))
        for name, _, words, cause in self.FAILING:
            with self.subTest(name):
                without, with_secret = pods[name]
                self.assertEqual(node.settled(with_secret, seconds=100), "Running", "its secret is enough")
                self.assertEqual(node.settled(without, seconds=100), "Refused")
                told = node.events(without)
                self.assertIn("FailedCredentialProvider", told)
                self.assertIn(f"plug-in {name}: ", told)
                self.assertIn(words, told)
                self.assertNotIn("its words", told)
        # explain asks again, so not the one that hangs; its cause is read from the journal's words in the catalogue's test.
        for name, _, _, cause in self.FAILING:
            if name != "hangs":
                with self.subTest(explain=name):
                    report = node.explain(f"pod/{pods[name][0]}")
                    self.assertEqual(report["verdict"]["cause"], cause, report)
                    self.assertNotIn("canary", json.dumps(report))
                    for row, shown in (("crashes", "its words"), ("tells", "KEY=[redacted]")):
                        self.assertEqual(shown in json.dumps(report), name == row, "for the operator, without what is secret")
        self.quiet(node)
        for name in (name for pair in pods.values() for name in pair):
            node.delete(name)
        node.pods.wait(f"P25: nothing of a plug-in is left, but {processes(str(plugins.folder))}", lambda: not processes(str(plugins.folder)), 10)
        # U7: mended, it works at the next try.
        plugins.script("talks", say(self.good()))
        self.assertEqual(node.verdict(f"{self.server.host}/fail/talks:v1", "Always"), "Running")

    def test_one_that_waits_holds_up_nobody_else(self):
        """P25: others come and go while its only run goes on, which then is good for its Pod."""
        plugins = self.plugins()
        for repo in ("waits", "exits"):
            images.push(self.layout, self.server.url, f"fail/{repo}", "v1", auth=("plug", self.password))
        plugins.add("waits", [f"{self.server.host}/fail/waits"], 'while [ ! -e "$1/go" ]; do sleep 0.05; done\n' + say(self.good()))
        plugins.add("exits", [f"{self.server.host}/fail/exits"], "exit 3")
        plugins.add("plug", [f"{self.server.host}/a"], say(self.good()))
        node = self.node(plugins.settings())
        waits = node.start(f"{self.server.host}/fail/waits:v1")
        node.pods.wait("it runs", lambda: plugins.requests("waits"))
        self.assertEqual(node.verdict(f"{self.server.host}/fail/exits:v1"), "Refused")
        self.assertEqual(node.verdict(f"{self.server.host}/a/x:v1"), "Running")
        (plugins.folder / "go").touch()
        self.assertEqual(node.settled(waits, ("Running",)), "Running")
        self.assertEqual(len(plugins.requests("waits")), 1)
        self.assertNotIn("FailedCredentialProvider", node.events(waits))

    def test_children_of_plugins(self):
        """D-18: whatever a plug-in leaves behind ends with the call, also what left its group and session."""
        rows = [("child", "sleep 1000 & "), ("many", "for i in $(seq 200); do sleep 1000 & done; "), ("session", "setsid -f sleep 1000; "),
                ("both", "setsid -f sh -c 'sleep 1000 & sleep 1000'; setsid sleep 1000 & ")]
        for name, script in rows:
            with self.subTest(name):
                plugins = self.plugins()
                plugins.add("plug", [self.server.host], f"export MARK={plugins.folder}\n{script}\n" + say(self.good()))
                node = self.node(plugins.settings())
                started = node.start(f"{self.server.host}/a/x:v1", "Always")
                self.assertEqual(node.settled(started), "Running", "its answer counts")
                # Had the call waited for who holds its pipe, it would have ended as one without an answer.
                self.assertEqual(len(plugins.requests("plug")), 1)
                self.assertNotIn("FailedCredentialProvider", node.events(started))
                self.assertEqual(processes(str(plugins.folder)), [])

    def test_fifty_secrets_of_which_one_is_right(self):
        """D-13: attempts are bounded by what is listed; the registry is not asked twice with the same."""
        with registry.Gate(self.open(), {"right": [self.password, ["a/"]]}) as gate:
            node = self.node()
            names = [f"s{i:02}" for i in range(50)]
            config = lambda user, password: json.dumps({"auths": {gate.host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}}})
            node.pods.apply(*({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson",
                               "stringData": {".dockerconfigjson": config("right", self.password) if name == "s49" else config(name, "canary-wrong")}} for name in names))
            self.assertEqual(node.verdict(f"{gate.host}/a/x:v1", secrets=names), "Running")
            refused = [user for user, _, _, status in gate.asked if status == 401 and user]
            self.assertLessEqual(max(refused.count(name) for name in names), 2, "no lock-out")
            self.quiet(node)

    def open(self):
        """A registry without passwords, with the image as a/x, a/y and public/x."""
        if not hasattr(self.__class__, "_open"):
            self.__class__._open = self.__class__.enterClassContext(registry.Registry())
            for repo in ("a/x", "a/y", "public/x"):
                images.push(self.layout, self._open.url, repo, "v1")
        return self._open

    def test_a_secret_that_changes_while_it_is_used(self):
        """D-14: replaced in the middle of a pull, which goes on with the old one; the next has the new one; revoked, Always is refused."""
        with registry.Gate(self.open(), {"a": ["canary-one", ["a/"]]}) as gate:
            node = self.node()
            image = f"{gate.host}/a/x:v1"
            node.secret("regcred", gate.host, "a", "canary-one")
            reached, go = threading.Event(), threading.Event()
            gate.before_blob = lambda user, digest: (reached.set(), go.wait(60))
            first = node.start(image, secrets=["regcred"])
            self.assertTrue(reached.wait(30))
            node.secret("regcred", gate.host, "a", "canary-two")
            go.set()
            self.assertEqual(node.settled(first), "Running")
            gate.before_blob = None
            self.assertEqual(node.verdict(image, "Always", secrets=["regcred"]), "Refused", "the new one is not the registry's yet")
            gate.users["a"][0] = "canary-two"
            self.assertEqual(node.verdict(image, "Always", secrets=["regcred"]), "Running")
            del gate.users["a"]
            self.assertEqual(node.verdict(image, "Always", secrets=["regcred"]), "Refused", "revoked")
            self.quiet(node)

    # ---- service accounts

    def account(self, name, namespace="default", annotations=None, secrets=()):
        return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}},
                "imagePullSecrets": [{"name": s} for s in secrets]}

    def token_plugin(self, kind="ServiceAccount", require=True, script=None, **more):
        plugins = self.plugins()
        plugins.add("plug", [self.server.host], script or say(self.good(duration="1h")), tokenAttributes={
            "serviceAccountTokenAudience": "registry.test", "cacheType": kind, "requireServiceAccount": require} | more)
        return plugins

    def check_token(self, node, token, pod):
        """The signature, by openssl and the published key; the claims."""
        head, claims, signature = token.split(".")
        key = json.loads((node.berthd.store / "service-account.jwks.json").read_text())["keys"][0]
        header = json.loads(from_base64url(head))
        self.assertEqual(header, {"alg": "ES256", "kid": key["kid"], "typ": "JWT"})
        point = b"\4" + from_base64url(key["x"]) + from_base64url(key["y"])
        der = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + point
        self.assertEqual(base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("="), key["kid"])
        raw = from_base64url(signature)
        self.assertEqual(len(raw), 64)
        integer = lambda b: (lambda v: bytes([2, len(v)]) + v)((b"\0" if b.lstrip(b"\0")[:1] >= b"\x80" else b"") + (b.lstrip(b"\0") or b"\0"))
        body = integer(raw[:32]) + integer(raw[32:])
        folder = node.berthd.folder
        (folder / "pub.der").write_bytes(der)
        (folder / "sig").write_bytes(bytes([0x30, len(body)]) + body)
        done = subprocess.run(["openssl", "dgst", "-sha256", "-keyform", "DER", "-verify", folder / "pub.der", "-signature", folder / "sig"],
                              input=f"{head}.{claims}".encode(), capture_output=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (0, b"Verified OK\n"), done.stderr)
        return json.loads(from_base64url(claims))

    def test_tokens_of_service_accounts(self):
        """7.5 step 2; D-28: the token is in the request, and nowhere else."""
        plugins = self.token_plugin(requiredServiceAccountAnnotationKeys=["reg.test/id"], optionalServiceAccountAnnotationKeys=["reg.test/role"])
        node = self.node(plugins.settings(), {"imagePullCredentialsVerificationPolicy": "AlwaysVerify"})
        node.namespace("other")
        image, began = f"{self.server.host}/a/x:v1", int(time.time())
        node.pods.apply(self.account("builder", annotations={"reg.test/id": "7", "reg.test/role": "r", "unasked": "u"}), self.account("plain"),
                        self.account("builder", "other", annotations={"reg.test/id": "8"}))
        name = node.start(image, serviceAccountName="builder")
        self.assertEqual(node.settled(name), "Running")
        pod = node.pods.get(name)
        account = node.berthd.json("get", "sa", "builder")
        request = plugins.requests("plug")[0]
        self.assertEqual(request["serviceAccountAnnotations"], {"reg.test/id": "7", "reg.test/role": "r"})
        claims = self.check_token(node, request["serviceAccountToken"], pod)
        self.assertEqual((claims["aud"], claims["sub"], claims["iss"], claims["exp"] - claims["iat"]),
                         (["registry.test"], "system:serviceaccount:default:builder", "https://lab", 3600))
        self.assertEqual(claims["kubernetes.io"], {"namespace": "default", "node": {"name": "lab"}, "pod": {"name": name, "uid": pod["metadata"]["uid"]},
                                                   "serviceaccount": {"name": "builder", "uid": account["metadata"]["uid"]}})
        self.assertTrue(began <= claims["iat"] <= time.time(), claims)
        self.assertEqual(node.records()[f"{self.server.host}/a/x"],
                         {"kubernetesServiceAccounts": [{"uid": account["metadata"]["uid"], "namespace": "default", "name": "builder"}]})
        # The same account has proven itself; others have not, whatever they are called.
        runs = len(plugins.requests("plug"))
        self.assertEqual(node.verdict(image, "Never", serviceAccountName="builder"), "Running")
        self.assertEqual(len(plugins.requests("plug")), runs, "cached for the account")
        self.assertEqual(node.verdict(image, "Never", namespace="other", serviceAccountName="builder"), "ErrImageNeverPull")
        self.assertEqual(node.verdict(image, "Never", serviceAccountName="plain"), "ErrImageNeverPull")
        self.assertEqual(node.verdict(image, "IfNotPresent", serviceAccountName="plain"), "Refused", "no annotation, so it is not asked")
        last = node.start(image, "IfNotPresent", serviceAccountName="plain")
        self.assertEqual(node.settled(last), "Refused")
        self.assertIn("required annotation reg.test/id not found", json.dumps(node.explain(f"pod/{last}")["credentials"]))
        self.assertEqual(node.verdict(image, "IfNotPresent", namespace="other", serviceAccountName="builder"), "Running")
        self.assertEqual(plugins.requests("plug")[-1]["serviceAccountAnnotations"], {"reg.test/id": "8"})
        node.restart("kill")
        self.assertEqual(node.verdict(image, "Never", serviceAccountName="builder"), "Running", "the record is on disk")
        # D-28: no token in the log, the objects, the events, the store.
        tokens = {r["serviceAccountToken"] for r in plugins.requests("plug")}
        self.assertGreaterEqual(len(tokens), 2)
        said = node.berthd.log_path.read_bytes() + node.berthd.berth("events", "-A").stdout.encode()
        said += b"".join(p.read_bytes() for p in node.berthd.store.rglob("*") if p.is_file() and "pods" not in p.parts)
        for token in tokens:
            self.assertNotIn(token.split(".")[2].encode(), said)
        self.assertEqual((node.berthd.store / "service-account.key").stat().st_mode & 0o7777, 0o600)
        self.quiet(node)

    def test_cache_types_of_tokens(self):
        image = f"{self.server.host}/a/x:v1"
        for kind, runs in (("ServiceAccount", 1), ("Token", 3)):
            with self.subTest(kind):
                plugins = self.token_plugin(kind)
                node = self.node(plugins.settings() | {"credentials.tokenIssuer": "https://issuer.test/x"})
                node.pods.apply(self.account("builder"))
                for _ in range(3):  # a token is bound to its Pod, so each has its own
                    self.assertEqual(node.verdict(image, "Always", serviceAccountName="builder"), "Running")
                requests = plugins.requests("plug")
                self.assertEqual(len(requests), runs)
                self.assertEqual(self.check_token(node, requests[-1]["serviceAccountToken"], None)["iss"], "https://issuer.test/x")

    def test_accounts_that_are_not_required_or_not_there(self):
        image = f"{self.server.host}/a/x:v1"
        plugins = self.token_plugin(require=False)
        node = self.node(plugins.settings())
        # Every Pod has an account, "default", unless it is static.
        self.assertEqual(node.verdict(image, "Always"), "Running")
        self.assertIn("system:serviceaccount:default:default", from_base64url(plugins.requests("plug")[0]["serviceAccountToken"].split(".")[1]).decode())
        node.pods.apply(self.account("gone"))
        name = node.start(image, "Always", serviceAccountName="gone")
        self.assertEqual(node.settled(name), "Running")
        node.berthd.berth("delete", "sa", "gone", check=True)
        name = node.start(f"{self.server.host}/a/y:v1", "Always", serviceAccountName="default")
        self.assertEqual(node.settled(name), "Running")
        # An echo of the token is no password (7.5 step 5), and is shown nowhere.
        plugins.script("plug", 'token=$(sed \'s/.*"serviceAccountToken":"\\([^"]*\\)".*/\\1/\' "$1/plug.last")\n'
                       f'printf \'{answer({self.server.host: ("plug", "%s")}, duration="0s")}\' "$token"')
        node.restart()
        name = node.start(f"{self.servers[0].host}/a/x:v1", "Always")
        self.assertEqual(node.settled(name), "Refused")
        self.assertIn("returned the service account token as the password which is not allowed", node.events(name))
        token = plugins.requests("plug")[-1]["serviceAccountToken"]
        self.assertNotIn(token[-40:], node.events(name) + node.berthd.log_path.read_text() + json.dumps(node.explain(f"pod/{name}")))

    def test_pull_secrets_of_a_service_account(self):
        """8.4, 3.3: copied into Pods that list none, when they are created."""
        node = self.node()
        image = f"{self.server.host}/a/x:v1"
        node.secret("regcred", self.server.host, "plug", self.password)
        before = node.start(image)
        self.assertEqual(node.settled(before), "Refused")
        node.pods.apply(self.account("builder", secrets=["regcred"]), self.account("default", secrets=["regcred", "gone"]))
        for account in ("builder", "default"):
            name = node.start(image, "Always", serviceAccountName=account)
            self.assertEqual(node.settled(name), "Running", account)
            self.assertEqual(node.pods.get(name)["spec"]["imagePullSecrets"], [{"name": "regcred"}] + [{"name": "gone"}] * (account == "default"))
        self.assertIn("Unable to retrieve some image pull secrets (gone)", node.events(name))
        own = node.start(image, "Always", secrets=["other"])
        self.assertEqual(node.settled(own), "Refused", "it lists its own, so the account's are not copied")
        self.assertEqual(node.pods.get(own)["spec"]["imagePullSecrets"], [{"name": "other"}])
        self.assertNotIn("imagePullSecrets", node.pods.get(before)["spec"], "what was created before stays as it is")

    # ---- image volumes

    def test_image_volumes(self):
        """4.9: own policy, read-only, subPath; a failure concerns those that mount it."""
        node = self.node(kubelet={"imagePullCredentialsVerificationPolicy": "AlwaysVerify"})
        host = self.server.host
        self.variant("data", "of the volume\n")
        images.push(self.layout, self.server.url, "a/data", "v1", auth=("plug", self.password), ref="data")
        node.secret("regcred", host, "plug", self.password)
        volume = lambda name, reference, policy="IfNotPresent": {"name": name, "image": {"reference": reference, "pullPolicy": policy}}
        script = 'head -n 1 /v/page; ls /w/busybox; touch /v/x 2>/dev/null && echo written; echo end; exec sleep 1000'
        name = node.start(f"{host}/a/x:v1", secrets=["regcred"], script=script, volumes=[volume("v", f"{host}/a/data:v1")],
                          volumeMounts=[{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/w", "subPath": "bin"}])
        self.assertEqual(node.settled(name), "Running")
        node.pods.wait("it has looked", lambda: "end" in node.berthd.berth("logs", name).stdout, 10)
        self.assertEqual(node.berthd.berth("logs", name).stdout, "of the volume\n/w/busybox\nend\n")
        self.assertNotEqual(node.berthd.berth("rm", f"{host}/a/data:v1").returncode, 0, "in use")
        self.assertEqual(set(node.records()), {f"{host}/a/x", f"{host}/a/data"})
        # What is missing: the reason of those that mount it.
        rows = [("tag", volume("v", f"{host}/a/y:v9"), "Refused"), ("never", volume("v", f"{host}/a/z:v1", "Never"), "ErrImageNeverPull"),
                ("name", volume("v", f"{host}/A/y:v1"), "InvalidImageName")]
        for what, source, wanted in rows:
            with self.subTest(what):
                name = node.start(f"{host}/a/x:v1", secrets=["regcred"], volumes=[source], volumeMounts=[{"name": "v", "mountPath": "/v"}])
                self.assertEqual(node.settled(name, ("Running", "InvalidImageName", "ErrImageNeverPull", *cases.REFUSED)), wanted)
                self.assertIn(source["image"]["reference"], node.why(name))
        unused = node.start(f"{host}/a/x:v1", secrets=["regcred"], volumes=[volume("v", f"{host}/a/y:v9")])
        self.assertEqual(node.settled(unused), "Running", "nobody mounts it")
        missing = node.start(f"{host}/a/x:v1", secrets=["regcred"], volumes=[volume("v", f"{host}/a/y:v1")],
                             volumeMounts=[{"name": "v", "mountPath": "/v", "subPath": "usr/none"}])
        self.assertEqual(node.settled(missing, ("Running", "CreateContainerError", "CreateContainerConfigError")) == "Running", False)
        self.assertIn('failed to prepare subPath for volumeMount "v" of container "main"', node.why(missing))

    # ---- 3.d as a whole

    # Row -> where it is tested: "Suite.Test" of a *_test.cc, or a test of this file or of test_usecases.
    ROWS_3D = {
        "D-01": ["DecodeAuth.Vectors", "DockerConfig.ReadsBothFormats", "DockerConfig.TokensAreUnknownToTheKubelet"],
        "D-02": ["DecodeAuth.Vectors", "DockerConfig.OneBadEntryFailsAllAndNoValueIsQuoted", "PullSecrets.AMalformedOneFailsAllAndIsNamedWithoutItsValue"],
        "D-03": ["Rows.D03PasswordsAreBytes", "ClientTest.C56_CredentialsThatDoNotFitIntoAHeader"],
        "D-04": ["Refused.AsAWholeAndWithoutContent"],
        "D-05": ["Refused.AsAWholeAndWithoutContent"],
        "D-06": ["Files.D06WhatIsNoFileBlocksNothingAndCountsAsNone", "Refused.AsAWholeAndWithoutContent"],
        "D-07": ["Refused.AsAWholeAndWithoutContent", "Rows.D07SpellingsOfOneRegistryAreTriedInOneOrder"],
        "D-08": ["Matches.VectorsInBothProfiles"],
        "D-09": ["Matches.VectorsInBothProfiles"],
        "D-10": ["IndexKey.KubeletVectors", "IndexKey.TheDocumentedOneKeepsGlobs", "Keyring.UserInfoOfAKeyMatchesNothingAndIsShownNowhere"],
        "D-11": ["Refused.AsAWholeAndWithoutContent", "DockerConfig.OneBadEntryFailsAllAndNoValueIsQuoted"],
        "D-12": ["SourcesTest.HelpersWhenAskedFor", "SourcesTest.AHelperThatHangsIsGivenUp"],
        "D-13": ["test_fifty_secrets_of_which_one_is_right"],
        "D-14": ["test_a_secret_that_changes_while_it_is_used"],
        "D-15": ["test_two_tenants_of_one_host_at_once", "TokenCacheTest.EveryPartOfTheKeyCounts"],
        "D-16": ["test_cache_types_and_durations", "ProviderTest.WhatThePluginSees"],
        "D-17": ["test_plugins_that_fail", "test_one_that_waits_holds_up_nobody_else", "ProviderTest.OneThatHangsIsKilledAfterAMinute"],
        "D-18": ["test_children_of_plugins", "ProviderTest.AChildThatKeepsThePipeEndsWithTheCall"],
        "D-19": ["test_plugins_that_fail", "Misbehaves.AndContributesNothing"],
        "D-20": ["test_plugins_that_fail", "Misbehaves.AndContributesNothing", "Lies.AreRefusedAndNotQuoted"],
        "D-21": ["test_plugins_that_fail", "Lies.AreRefusedAndNotQuoted"],
        "D-22": ["test_cache_types_and_durations", "Keeps.ForAsLongAsItSaid", "Lies.AreRefusedAndNotQuoted"],
        "D-23": ["ProviderTest.AGlobalAnswerForAllHostsStaysWithinMatchImages"],
        "D-24": ["test_plugins_that_fail", "ProviderTest.GoneReplacedOrMadeUnfit", "Misbehaves.AndContributesNothing"],
        "D-25": ["test_cache_types_and_durations", "ProviderTest.WhatThePluginSees"],
        "D-26": ["test_plugins_that_fail", "ProviderTest.GoneReplacedOrMadeUnfit"],
        "D-27": ["test_one_run_for_many_pods", "ProviderTest.ManyAskOneRuns"],
        "D-28": ["test_tokens_of_service_accounts", "ProviderTest.AccountModeCarriesTokenAnnotationsAndCoordinates"],
    }

    def test_every_row_of_3d_has_its_tests(self):
        self.assertEqual(sorted(self.ROWS_3D), [f"D-{n:02}" for n in range(1, 29)])
        sources = "".join(path.read_text() for path in (daemon.ROOT / "src").rglob("*_test.cc"))
        known = {".".join(found) for found in re.findall(r"^TEST(?:_[FP])?\((\w+), (\w+)\)", sources, re.M)}
        labs = "".join((daemon.ROOT / "lab" / name).read_text() for name in ("test_plugins.py", "test_usecases.py"))
        known |= set(re.findall(r"def (test_\w+)\(self\)", labs))
        for row, tests in self.ROWS_3D.items():
            self.assertTrue(tests, row)
            self.assertEqual([test for test in tests if test not in known], [], row)


if __name__ == "__main__":
    unittest.main()
