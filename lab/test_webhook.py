"""The webhook's manifests, as Debian's kubectl builds them: python3 lab/test_webhook.py [-v]; BERTH_BIN as for the demo."""
import base64
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = pathlib.Path(os.environ.get("BERTH_BIN", ROOT / "build/dev/src/apps")).resolve() / "berth-webhook/berth-webhook"


class Manifests(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-webhook-")) / "webhook"
        self.addCleanup(shutil.rmtree, self.folder.parent)
        shutil.copytree(ROOT / "packaging/kubernetes/webhook", self.folder, ignore=shutil.ignore_patterns("tls", "ca-bundle.yaml"))

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
        self.assertNotIn((self.folder / "tls/ca.key").read_text().splitlines()[1], text)

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
