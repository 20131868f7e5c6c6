"""berth explain and its verbs end to end, with a real daemon and registry: python3 lab/test_explain.py [-v]; BERTH_BIN as for the demo.

That each cause is found and its next step mends it is test_steps.py's.
"""
import json
import unittest

import cases
import registry
from pods import pod


class Explain(cases.NodeCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.private_registry("shop/web")
        cls.tls = cls.enterClassContext(registry.Registry(tls=True))
        cls.image, cls.password = f"{cls.server.host}/shop/web:v1", cls.server.password

    def setUp(self):
        node = self.node({"hostsDirs": [str(self.folder / "certs.d")]})
        self.berthd, self.pods = node.berthd, node.pods

    def run_verb(self, *args, stdin=""):
        done = self.berthd.berth(*args, input=stdin, timeout=120)
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
        command = text.stdout.splitlines()[-1].strip().replace("USER", self.server.user).split()
        self.assertEqual(command[:2], ["berth", "secret"])
        self.berthd.berth(*command[1:], input=self.password, check=True)
        after = self.cause("pod/web")
        self.assertIn(after["verdict"]["cause"], ("back-off", ""), after)
        tested = self.run_verb("creds", "test", "regcred", self.image)
        self.assertEqual(tested.returncode, 0, tested.stdout)
        self.pods.wait("pulled", lambda: "ErrImagePull" not in self.pods.status("web") and "BackOff" not in self.pods.status("web"), 60)
        last = self.run_verb("explain", "--last", self.image)
        self.assertEqual(last.returncode, 0, last.stdout + last.stderr)
        self.assertIn("PULLED  at ", last.stdout)

    def test_passwords(self):
        good = self.run_verb("creds", "test", "--username", self.server.user, "--password-stdin", self.image, stdin=self.password)
        self.assertEqual(good.returncode, 0, good.stdout + good.stderr)
        bad = self.run_verb("creds", "test", "--username", self.server.user, "--password-stdin", self.image, stdin="canary-wrong")
        self.assertEqual(bad.returncode, 4, bad.stdout + bad.stderr)
        self.assertIn("is not accepted for user demo", bad.stdout)
        tag = self.run_verb("explain", f"{self.server.host}/shop/web:v9", "--creds", self.server.user, "--password-stdin", stdin=self.password)
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
        self.assertEqual(report["verdict"]["cause"], "secret-missing")
        self.assertEqual(report["pod"]["name"], "other")
        admitted = self.cause("-f", "-", "--admission", "AlwaysPullImages,digest", stdin=text)
        self.assertEqual(admitted["policy"]["value"], "Always")
        self.assertIn("admission AlwaysPullImages sets imagePullPolicy: Always", admitted["notes"])
        self.assertEqual(self.run_verb("explain", "-f", "-", "--admission", "Other", stdin=text).returncode, 2)

    def test_no_secret_in_any_output_or_log(self):
        config = self.folder / "config.json"
        config.write_text(json.dumps({"auths": {self.server.host: {"username": self.server.user, "password": self.password},
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
        for text in ("canary", self.password.encode().hex()):
            self.assertNotIn(text, self.berthd.log_path.read_text(errors="replace"))


if __name__ == "__main__":
    unittest.main()
