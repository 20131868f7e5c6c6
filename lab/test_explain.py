"""berth explain and its verbs end to end, with a real daemon and registry: python3 lab/test_explain.py [-v]; BERTH_BIN as for the demo."""
import http.server
import json
import os
import pathlib
import re
import secrets
import shutil
import socket
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


@unittest.skipUnless(os.geteuid() == 0, "root is needed")
@unittest.skipUnless(shutil.which("docker-registry"), "docker-registry is needed")
class Explain(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-explain-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        layout = images.Layout(cls.folder / "layout")
        content.busybox(layout)
        cls.password = "canary" + secrets.token_hex(8)
        cls.server = cls.enterClassContext(registry.Registry(users={USER: cls.password}))
        cls.tls = cls.enterClassContext(registry.Registry(tls=True))
        cls.open = cls.enterClassContext(registry.Registry())
        images.push(layout, cls.open.url, "shop/web", "v1")
        images.push(layout, cls.server.url, "shop/web", "v1", auth=(USER, cls.password))
        images.push(layout, cls.tls.url, "shop/web", "v1", ca=cls.tls.ca)
        cls.image = f"{cls.server.host}/shop/web:v1"
        cls.berthd = daemon.Berthd(cls.folder / "home", settings={"node.name": "lab", "credentials.nodeConfig": [str(cls.folder / "none")],
                                                                  "hostsDirs": [str(cls.folder / "certs.d")],
                                                                  "log.level": "debug"})
        if not cls.berthd.start():
            raise RuntimeError(cls.berthd.tail())
        cls.addClassCleanup(cls.berthd.stop)
        cls.pods = Pods(cls.berthd)

    def run_verb(self, *args, stdin=""):
        done = subprocess.run(self.berthd.command(*args), input=stdin, capture_output=True, text=True, timeout=120)
        for text in (done.stdout, done.stderr):
            self.assertNotIn("canary", text, args)
        return done

    def cause(self, *args, **more):
        done = self.run_verb("explain", *args, "-o", "json", **more)
        report = json.loads(done.stdout)
        report = report[0] if isinstance(report, list) else report
        self.assertEqual(done.returncode, report["verdict"]["exit_status"])
        return report

    def test_the_story_without_a_secret_then_with_one(self):
        self.pods.apply(pod("web", self.image, "sleep 1000", secrets=["regcred"]))
        self.addCleanup(self.berthd.berth, "delete", "pod", "web", "--grace-period=1")
        self.pods.until("web", "ErrImagePull", "ImagePullBackOff")
        report = self.cause("pod/web")
        self.assertEqual((report["verdict"]["cause"], report["verdict"]["code"]), ("secret-missing", "E-AUTH-401"))
        self.assertGreaterEqual(report["retry"]["failures"], 1)
        self.assertEqual(report["waiting"]["reason"] in ("ErrImagePull", "ImagePullBackOff"), True)
        text = self.run_verb("explain", "pod/web")
        self.assertEqual(text.returncode, 4)
        for words in ("default/web · container main", "CANNOT PULL  the Pod lists secret default/regcred, which does not exist", " 4 creds", "gone", " 8 retry", "NEXT  create it; the Pod finds it at its next try (USER: yours there; the password is read from stdin)"):
            self.assertIn(words, text.stdout)
        self.assertLessEqual(max(len(line) for line in text.stdout.splitlines() if not line.startswith("      berth")), 140)
        # The next step as it was printed, with the user that only we know.
        command = text.stdout.splitlines()[-1].strip().replace("USER", USER).split()
        self.assertEqual(command[:2], ["berth", "secret"])
        made = subprocess.run(self.berthd.command(*command[1:]), input=self.password, capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        after = self.cause("pod/web")
        self.assertIn(after["verdict"]["cause"], ("back-off", ""), after)
        tested = self.run_verb("creds", "test", "regcred", self.image)
        self.assertEqual(tested.returncode, 0, tested.stdout)
        self.pods.wait("pulled", lambda: "ErrImagePull" not in self.pods.status("web") and "BackOff" not in self.pods.status("web"), 60)
        last = self.run_verb("explain", "--last", self.image)
        self.assertEqual(last.returncode, 0, last.stdout + last.stderr)
        self.assertIn("PULLED  at ", last.stdout)

    def shell(self, command, stdin=""):
        """Runs a NEXT as a person would paste it."""
        binary = pathlib.Path(self.berthd.command()[0])
        env = os.environ | {"PATH": f"{binary.parent}:{os.environ['PATH']}", "BERTH_SOCKET": str(self.berthd.socket)}
        return subprocess.run(["sh", "-c", command], input=stdin, env=env, capture_output=True, text=True, timeout=120)

    def test_a_secret_in_another_namespace_is_copied_by_the_next_step(self):
        self.pods.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "billing"}},
                        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        made = subprocess.run(self.berthd.command("secret", "create", "docker-registry", "theirs", "-n", "billing", f"--docker-server={self.server.host}",
                                                  f"--docker-username={USER}", "--docker-password-stdin"), input=self.password, capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        text = json.dumps(pod("copy", self.image, "true", namespace="shop", secrets=["theirs"]))
        report = self.cause("-f", "-", stdin=text)
        self.assertEqual(report["verdict"]["cause"], "secret-elsewhere", report)
        done = self.shell(report["next"]["command"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.cause("-f", "-", stdin=text)["verdict"]["code"], "")

    def test_trusting_a_ca_by_the_next_step(self):
        report = self.cause(f"{self.tls.host}/shop/web:v1")
        self.assertEqual(report["verdict"]["cause"], "tls-ca")
        command = report["next"]["command"]
        self.assertIn(str(self.folder / "certs.d"), command)
        done = self.shell(command.replace("CA.pem", str(self.tls.ca)))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.cause(f"{self.tls.host}/shop/web:v1")["verdict"]["code"], "")

    def step(self, report, cause, password=None, **fill):
        """Runs the next step of `report` as it is printed, with what only a reader knows in the place of the words in capitals."""
        self.assertEqual(report["verdict"]["cause"], cause, report["verdict"])
        command = report["next"]["command"].replace("USER", USER)
        for word, value in fill.items():
            command = command.replace(word, str(value))
        self.assertNotRegex(command, r"\b[A-Z]{3,}\b")
        done = self.shell(command, stdin=password or self.password)
        self.assertEqual(done.returncode, 0, (command, done.stdout, done.stderr))
        return done

    def test_next_steps_of_images_as_printed(self):
        private, public = f"{self.server.host}/shop/web:v1", f"{self.open.host}/shop/web:v1"
        self.step(self.cause(public.replace("shop/web", "Shop/Web")), "name-upper-case")
        self.step(self.cause(f"https://{public}"), "name-scheme")
        self.step(self.cause(public, "--policy", "Never"), "policy-never")
        self.assertEqual(self.cause(public, "--policy", "Never")["verdict"]["headline"], "PRESENT")
        self.step(self.cause(private), "no-credential")
        self.assertEqual(self.cause(private)["verdict"]["headline"], "PRESENT")
        self.berthd.berth("rm", private, check=True)
        config = self.folder / "rejected.json"
        config.write_text(json.dumps({"auths": {self.server.host: {"username": USER, "password": "canary-old"}}}))
        self.step(self.cause(private, "--authfile", config), "password-rejected")
        config.write_text(json.dumps({"auths": {self.server.host: {"username": USER, "password": self.password}}}))
        self.assertEqual(self.cause(private, "--authfile", config)["verdict"]["code"], "")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        report = self.cause(f"127.0.0.1:{port}/shop/web:v1")
        with http.server.ThreadingHTTPServer(("127.0.0.1", port), http.server.BaseHTTPRequestHandler) as late:  # "start the registry"
            late.RequestHandlerClass = type("Late", (http.server.BaseHTTPRequestHandler,), {
                "do_GET": lambda h: (h.send_response(200), h.send_header("Content-Length", "2"), h.end_headers(), h.wfile.write(b"{}")), "log_message": lambda *_: None})
            threading.Thread(target=late.serve_forever, daemon=True).start()
            self.step(report, "refused")
            late.shutdown()

    def test_next_steps_of_pods_as_printed(self):
        """For each: a Pod that fails, explained, the step run, and what is explained then is fine."""
        def secret(name, text, kind="kubernetes.io/dockerconfigjson"):
            return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "steps"}, "type": kind, "stringData": {".dockerconfigjson": text}}
        good = json.dumps({"auths": {self.server.host: {"username": USER, "password": self.password}}})
        self.pods.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "steps"}})
        self.addCleanup(self.berthd.berth, "delete", "ns", "steps", check=True)  # its secrets have names of other tests
        rows = [("secret-malformed", secret("bad", '{"auths":{"x":{"auth":"canary"}}}')), ("secret-type", secret("kind", good, "Opaque")), ("secret-missing", None)]
        for cause, made in rows:
            with self.subTest(cause):
                name = made["metadata"]["name"] if made else "absent"
                if made:
                    self.pods.apply(made)
                text = json.dumps(pod(cause, self.image, "true", namespace="steps", secrets=[name]))
                self.step(self.cause("-f", "-", stdin=text), cause)
                self.assertEqual(self.cause("-f", "-", stdin=text)["verdict"]["code"], "")
        # Edits: done as they are worded.
        self.pods.apply(secret("regcred", good))
        for cause, before, words in (("secret-misnamed", ["regcrde"], "imagePullSecrets: [{name: regcred}]"), ("no-credential", [], "imagePullSecrets: [{name: regcred}]")):
            with self.subTest(cause):
                text = json.dumps(pod(cause, self.image, "true", namespace="steps", secrets=before))
                report = self.cause("-f", "-", stdin=text)
                self.assertEqual(report["verdict"]["cause"], cause)
                self.assertIn(words, report["next"]["text"])
                if report["next"]["command"]:  # it makes a secret of that name, which is here already
                    self.berthd.berth("delete", "secret", "regcred", "-n", "steps", check=True)
                    self.step(report, cause)
                edited = json.dumps(pod(cause, self.image, "true", namespace="steps", secrets=["regcred"]))
                self.assertEqual(self.cause("-f", "-", stdin=edited)["verdict"]["code"], "")

    def test_causes(self):
        for row in [("secret-free name", (f"{self.server.host}/shop/web:v1",), "no-credential"),
                    ("case", (f"{self.server.host}/Shop/web:v1",), "name-upper-case"),
                    ("a dead port", ("127.0.0.1:1/shop/web:v1",), "refused"),
                    ("Never", (self.image, "--policy", "Never"), "policy-never")]:
            with self.subTest(row[0]):
                self.assertEqual(self.cause(*row[1])["verdict"]["cause"], row[2])

    def test_passwords(self):
        good = self.run_verb("creds", "test", "--username", USER, "--password-stdin", self.image, stdin=self.password)
        self.assertEqual(good.returncode, 0, good.stdout + good.stderr)
        bad = self.run_verb("creds", "test", "--username", USER, "--password-stdin", self.image, stdin="canary-wrong")
        self.assertEqual(bad.returncode, 4, bad.stdout + bad.stderr)
        self.assertIn("is not accepted for user demo", bad.stdout)
        tag = self.run_verb("explain", f"{self.server.host}/shop/web:v9", "--creds", USER, "--password-stdin", stdin=self.password)
        self.assertEqual(tag.returncode, 3, tag.stdout)
        self.assertIn('has no tag "v9"', tag.stdout)

    def test_probe(self):
        plain = self.run_verb("probe", self.server.host)
        self.assertEqual(plain.returncode, 0, plain.stdout + plain.stderr)
        self.assertIn("asks for Basic", plain.stdout)
        tls = self.run_verb("probe", self.tls.host)
        self.assertEqual(tls.returncode, 6, tls.stdout)
        self.assertIn("CN = berth lab registry", tls.stdout)

    def test_files(self):
        text = json.dumps(pod("other", self.image, "true", secrets=["regcerd"]))
        self.assertEqual(self.run_verb("lint", "-f", "-", stdin=text).returncode, 0)  # a note only
        report = self.cause("-f", "-", stdin=text)
        self.assertIn(report["verdict"]["cause"], ("secret-missing", "secret-misnamed"))
        self.assertEqual(report["pod"]["name"], "other")
        admitted = self.cause("-f", "-", "--admission", "AlwaysPullImages,digest", stdin=text)
        self.assertEqual(admitted["policy"]["value"], "Always")
        self.assertIn("admission AlwaysPullImages sets imagePullPolicy: Always", admitted["notes"])
        self.assertEqual(self.run_verb("explain", "-f", "-", "--admission", "Other", stdin=text).returncode, 2)

    def test_no_secret_in_any_output_or_log(self):
        config = self.folder / "config.json"
        config.write_text(json.dumps({"auths": {self.server.host: {"username": USER, "password": self.password},
                                                f"*{self.server.host}": {"username": "u", "password": "canary-2"}}}))
        broken = self.folder / "broken.json"
        broken.write_text('{"auths":{"x":{"auth":"canary-not-base64"}}}')
        secret = json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "kubernetes.io/dockerconfigjson",
                             "stringData": {".dockerconfigjson": '{"auths":{"x":{"auth":"canary-not-base64"}}}'}})
        for output in ("table", "json", "jsonl"):
            for args, stdin in [(("explain", self.image, "--authfile", config), ""), (("explain", self.image, "--authfile", broken), ""),
                                (("explain", "-f", "-"), secret + "\n---\n" + json.dumps(pod("p", self.image, "x", secrets=["s"]))),
                                (("creds", "match", self.image, "--config", config), ""), (("creds", "match", self.image, "--config", broken), ""),
                                (("creds", "lint", config), ""), (("creds", "lint", broken), ""), (("creds", "test", self.image, "--authfile", config), ""),
                                (("probe", self.image, "--authfile", config), ""), (("lint", "-f", "-"), secret)]:
                self.run_verb(*args, "-o", output, stdin=stdin)
        self.assertNotIn("canary", self.berthd.log_path.read_text(errors="replace"))
        self.assertIsNone(re.search(self.password.encode().hex(), self.berthd.log_path.read_text(errors="replace")))


if __name__ == "__main__":
    unittest.main()
