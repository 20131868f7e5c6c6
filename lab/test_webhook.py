"""The webhook as a program, and its manifests as kubectl builds them: python3 lab/test_webhook.py [-v]; BERTH_BIN as for the demo."""
import base64
import http.client
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

import cases
import daemon
import images
import registry

PROGRAM = daemon.binary("berth-webhook")

REVIEW = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
    "uid": "u1", "operation": "CREATE", "namespace": "shop", "name": "p", "kind": {"group": "", "version": "v1", "kind": "Pod"},
    "resource": {"group": "", "version": "v1", "resource": "pods"},
    "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"},
               "spec": {"containers": [{"name": "c", "image": "a:1", "imagePullPolicy": "IfNotPresent"}]}}}})


class Program(cases.Case):
    def setUp(self):
        self.tls = pathlib.Path(tempfile.mkdtemp(prefix="berth-webhook-"))
        self.addCleanup(shutil.rmtree, self.tls)
        self.make_certificates()

    def start(self, tls, *settings):
        settings = ("listen=127.0.0.1:0", "ops_listen=127.0.0.1:0", f"tls.certificate={tls}/tls.crt", f"tls.key={tls}/tls.key",
                    "log.format=json", "log.level=debug", "drain=10m") + settings
        self.process = daemon.spawn([PROGRAM, *(word for setting in settings for word in ("--set", setting))], stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end)
        ready = self.said("berth-webhook is ready")
        self.port, self.ops = int(ready["port"]), ready["ops"]

    def end(self):
        self.process.kill()
        self.process.wait()
        self.assertIsNone(daemon.shown(self.process.stderr.read().encode()))
        self.process.stderr.close()

    def make_certificates(self):
        subprocess.run([PROGRAM, "--make-certificates", self.tls, "--name", "127.0.0.1"], check=True, capture_output=True)
        for line in (self.tls / "tls.key").read_text().splitlines()[1:-1]:
            daemon.secret(line)

    def said(self, text):
        """The next line of the log that has this text; fails when the log ends before."""
        for line in self.process.stderr:
            self.assertIsNone(daemon.shown(line.encode()))
            if text in line:
                return json.loads(line)
        self.fail(f"the program ended and never said: {text}")

    def until(self, good, text):
        """A file that is replaced is more than one event: line after line that has this text, until it is good."""
        while not good():
            self.said(text)

    def connect(self):
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=ssl.create_default_context(cafile=self.tls / "ca.crt"))
        connection.connect()
        self.addCleanup(connection.close)
        return connection

    def review(self, connection, path="/mutate", image="a:1"):
        connection.request("POST", path + "?timeout=30s", REVIEW.replace("a:1", image), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        return json.load(answer)["response"]

    def shown(self):
        return ssl.DER_cert_to_PEM_cert(self.connect().sock.getpeercert(binary_form=True))

    def saved(self):
        return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert((self.tls / "tls.crt").read_text()))

    def page(self, path):
        try:
            with urllib.request.urlopen(f"http://{self.ops}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def test_reviews_are_answered_counted_and_the_program_stops_when_told(self):
        self.start(self.tls)
        open_one = self.connect()
        changed = self.review(open_one)
        self.assertTrue(changed["allowed"])
        self.assertEqual(json.loads(base64.b64decode(changed["patch"])),
                         [{"op": "replace", "path": "/spec/containers/0/imagePullPolicy", "value": "Always"}])
        self.assertFalse(self.review(open_one, "/validate")["allowed"])
        for path in ("/livez", "/readyz"):
            self.assertEqual(self.page(path)[0], 200, path)
        metrics = self.page("/metrics")[1]
        self.assertIn('berth_webhook_reviews_total{page="mutate",result="changed"} 1\n', metrics)
        self.assertIn('berth_webhook_reviews_total{page="validate",result="denied"} 1\n', metrics)
        self.assertIn("always_pull: ", self.page("/configz")[1])
        self.process.send_signal(signal.SIGTERM)
        self.said("stopping")
        self.assertEqual((self.page("/livez")[0], self.page("/readyz")[0]), (200, 500))
        self.assertTrue(self.review(self.connect())["allowed"], "answered until the cluster knows")
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(60), 0)

    def test_certificates_are_read_again_and_bad_ones_are_not_taken(self):
        self.start(self.tls)
        before, old = self.connect(), self.shown()
        self.make_certificates()
        self.assertNotEqual(self.saved(), old)
        self.until(lambda: self.shown() == self.saved(), "certificates read again")
        self.assertTrue(self.review(before)["allowed"], "a connection that was open stays")

        reloaded, good, new = "berth_webhook_certificate_reload_success ", (self.tls / "tls.crt").read_bytes(), self.saved()
        (self.tls / "tls.crt").write_text("no certificate")
        self.until(lambda: reloaded + "0\n" in self.page("/metrics")[1], "the old ones stay")
        self.assertEqual(self.shown(), new)
        (self.tls / "tls.crt").write_bytes(good)
        self.until(lambda: reloaded + "1\n" in self.page("/metrics")[1], "certificates read again")
        self.assertTrue(self.review(before)["allowed"])

    def test_tags_become_the_digests_of_the_registry_once_and_no_other_registry_is_asked(self):
        layout = images.Layout(self.tls / "layout")
        manifest = layout.image([layout.layer(images.entries(("a", "b")))])
        layout.tag("v1", manifest)
        server, other = self.enterContext(registry.LayoutRegistry({"app": layout.folder})), self.enterContext(registry.LayoutRegistry({}))
        (self.tls / "kubeconfig").write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1"}}], "users": [{"name": "u", "user": {"token": "t"}}]}))
        self.start(self.tls, "always_pull=false", "pin.enabled=true", "pin.label=", f"pin.registries={server.host}",
                   f"registry.plain_http={server.host},{other.host}", f"kubeconfig={self.tls}/kubeconfig")
        for _ in range(3):
            answer = self.review(self.connect(), image=f"{server.host}/app:v1")
            self.assertTrue(answer["allowed"], answer)
            self.assertIn(manifest["digest"], base64.b64decode(answer["patch"]).decode())
        self.assertEqual(sum(n for (_, path, _), n in server.requests.items() if path.endswith("/manifests/v1")), 1, "then it is kept")
        for image in (f"{other.host}/app:v1", f"{server.host}/app:gone"):
            self.assertNotIn("sha256:", json.dumps(self.review(self.connect(), image=image)))
        self.assertFalse(other.requests, "a registry that is not named")

    def test_files_elsewhere_are_read_again_on_sighup(self):
        links = self.tls / "links"
        links.mkdir()
        for name in ("tls.crt", "tls.key"):
            (links / name).symlink_to(self.tls / name)
        self.start(links)
        old = self.shown()
        self.make_certificates()
        self.assertEqual(self.shown(), old)
        self.process.send_signal(signal.SIGHUP)
        self.said("certificates read again")
        self.assertEqual(self.shown(), self.saved())
        self.assertNotEqual(self.shown(), old)


@cases.needs("kubernetes-client", "kubectl")
class Manifests(cases.Case):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-webhook-")) / "webhook"
        self.addCleanup(shutil.rmtree, self.folder.parent)
        shutil.copytree(daemon.ROOT / "packaging/kubernetes/webhook", self.folder, ignore=shutil.ignore_patterns("tls", "ca-bundle.yaml"))

    def certificates(self):
        subprocess.run([self.folder / "make-certificates.sh"], check=True, env={**os.environ, "BERTH_WEBHOOK": str(PROGRAM)}, capture_output=True)

    def build(self):
        return subprocess.run(["kubectl", "kustomize", self.folder], check=True, capture_output=True, text=True).stdout

    def test_every_kind_of_container_and_workload_is_registered(self):
        self.certificates()
        text = self.build()
        bundle = base64.b64encode((self.folder / "tls/ca.crt").read_bytes()).decode()
        self.assertEqual(text.count(f"caBundle: {bundle}"), 2)
        for resource in ("pods", "pods/ephemeralcontainers", "podtemplates", "replicationcontrollers", "deployments", "statefulsets", "daemonsets",
                         "replicasets", "jobs", "cronjobs"):
            self.assertIn(f"- {resource}\n", text)
        self.assertEqual(text.count("failurePolicy: Fail"), 2)
        self.assertEqual(text.count("sideEffects: None"), 2)
        self.assertEqual(text.count(base64.b64encode((self.folder / "tls/tls.crt").read_bytes()).decode()), 1)
        self.assertEqual(text.count("name: berth-webhook-tls\n"), 1)
        self.assertNotIn((self.folder / "tls/ca.key").read_text().splitlines()[1], text)

    def test_the_settings_in_the_manifests_are_settings(self):
        shown = subprocess.run([PROGRAM, "--config", self.folder / "webhook.yaml", "--print-config"], check=True, capture_output=True, text=True).stdout
        self.assertIn('ops_listen: ["0.0.0.0:8081"]', shown)

    def test_a_new_certificate_keeps_the_authority_and_a_new_authority_keeps_the_old_one_trusted(self):
        self.certificates()
        old = {name: (self.folder / "tls" / name).read_bytes() for name in ("ca.crt", "tls.crt")}
        self.certificates()
        self.assertEqual((self.folder / "tls/ca.crt").read_bytes(), old["ca.crt"])
        self.assertNotEqual((self.folder / "tls/tls.crt").read_bytes(), old["tls.crt"])
        (self.folder / "tls/ca.crt").rename(self.folder / "tls/old-ca.crt")
        (self.folder / "tls/ca.key").unlink()
        self.certificates()
        both = base64.b64encode(old["ca.crt"] + (self.folder / "tls/ca.crt").read_bytes()).decode()
        self.assertIn(f"caBundle: {both}", self.build())


if __name__ == "__main__":
    unittest.main()
