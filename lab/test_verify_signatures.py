"""Signed and unsigned images against Debian's registry: rules, keys, programs, what is here already, and what people are told.

cosign is not there: its documents are made here as its SIGNATURE_SPEC and BUNDLE_SPEC say, signed by the openssl program.
"""
import base64
import hashlib
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import cases
import daemon
import images
import pods
import registry

SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


class Key:
    """A key pair in files, by openssl."""
    def __init__(self, folder, name, algorithm="EC", *options):
        self.private, self.public = folder / f"{name}.key", folder / f"{name}.pub"
        options = options or (("-pkeyopt", "ec_paramgen_curve:P-256") if algorithm == "EC" else ())
        subprocess.run(["openssl", "genpkey", "-algorithm", algorithm, *options, "-out", self.private], check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", self.private, "-pubout", "-out", self.public], check=True, capture_output=True)
        self.raw = algorithm == "ED25519"

    def sign(self, message):
        with tempfile.NamedTemporaryFile() as file:
            file.write(message)
            file.flush()
            how = ["pkeyutl", "-sign", "-rawin", "-inkey", self.private, "-in", file.name] if self.raw else ["dgst", "-sha256", "-sign", self.private, file.name]
            made = subprocess.run(["openssl", *how], check=True, capture_output=True).stdout
        return base64.b64encode(made).decode()


class Signer:
    """Puts cosign's documents beside an image."""
    def __init__(self, server, repo, folder):
        self.server, self.repo, self.folder = server, repo, folder

    def blob(self, data, media_type, **more):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        path = self.folder / digest[7:]
        path.write_bytes(data)
        with images.Client(self.server.url) as client:
            client.put_blob(self.repo, digest, path)
        return {"mediaType": media_type, "digest": digest, "size": len(data)} | more

    def manifest(self, ref, layers, **more):
        body = json.dumps({"schemaVersion": 2, "mediaType": images.OCI["manifest"], "config": self.blob(b"{}", images.OCI["config"]), "layers": layers} | more).encode()
        with images.Client(self.server.url) as client:
            digest = client.put_manifest(self.repo, ref or "sha256:" + hashlib.sha256(body).hexdigest(), body, images.OCI["manifest"])
        return {"mediaType": images.OCI["manifest"], "digest": digest, "size": len(body)}

    def simple(self, key, digest, reference=None, signed=None):
        payload = json.dumps({"critical": {"identity": {"docker-reference": reference or f"{self.server.host}/{self.repo}"},
                                           "image": {"docker-manifest-digest": signed or digest},
                                           "type": "cosign container image signature"}, "optional": None}).encode()
        layer = self.blob(payload, SIMPLE, annotations={"dev.cosignproject.cosign/signature": key.sign(payload)})
        self.manifest(digest.replace(":", "-") + ".sig", [layer])

    def bundle(self, key, digest):
        """Attached by the referrers tag: this registry has no referrers API."""
        statement = json.dumps({"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": digest[7:]}}],
                                "predicateType": "https://sigstore.dev/cosign/sign/v1", "predicate": {}}).encode()
        kind = b"application/vnd.in-toto+json"
        message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(statement), statement)
        bundle = json.dumps({"mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": ""}}, "dsseEnvelope": {
            "payload": base64.b64encode(statement).decode(), "payloadType": kind.decode(), "signatures": [{"sig": key.sign(message)}]}}).encode()
        entry = self.manifest(None, [self.blob(bundle, BUNDLE)], artifactType=BUNDLE)
        index = json.dumps({"schemaVersion": 2, "mediaType": images.OCI["index"], "manifests": [entry | {"artifactType": BUNDLE}]}).encode()
        with images.Client(self.server.url) as client:
            client.put_manifest(self.repo, digest.replace(":", "-"), index, images.OCI["index"])


def rule(name, match, action="RequireSignature", **more):
    return {"name": name, "match": [match], "action": action} | more


@cases.needs_registry
class Signatures(cases.Case):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="berth-signatures-")))
        self.server = self.enterContext(registry.Registry())
        self.key, self.other = Key(self.folder, "release"), Key(self.folder, "other", "ED25519")

    def image(self, repo):
        layout = images.Layout(self.folder / "layout" / repo.replace("/", "-"))
        layout.tag("v1", layout.image([layout.layer(images.entries(("a", repo * 100)))]))
        return images.push(layout, self.server.url, repo, "v1"), Signer(self.server, repo, self.folder)

    def keys(self, *keys):
        return [{"name": key.public.stem, "file": str(key.public)} for key in keys]

    def berthd(self, *rules, node=False, **section):
        settings = {"plainHttp": [self.server.host], "node": {"enabled": node, "name": "lab"}, "credentials": {"nodeConfig": [str(self.folder)]}}
        if rules or section:
            settings["verification"] = {"rules": list(rules)} | section
        return self.enterContext(daemon.Berthd(self.folder / "berth", settings=settings))

    def reload(self, berthd, *rules, **section):
        """Other rules are in force then."""
        berthd.reload(verification={"rules": list(rules)} | section if rules or section else None)

    def name(self, repo):
        return f"{self.server.host}/{repo}:v1"

    def blobs(self, repo):
        return sum(n for (method, path, _), n in self.server.requests().items() if method == "GET" and f"/{repo}/blobs/" in path)

    def refused(self, berthd, image, cause, text):
        done = berthd.berth("pull", image)
        self.assertEqual(done.returncode, 8, done.stderr)
        self.assertIn("E-VERIFY", done.stderr)
        self.assertIn(text, done.stderr)
        report = berthd.berth("explain", "-o", "json", image)
        told = json.loads(report.stdout)
        verdict = told["verdict"]
        self.assertEqual((verdict["cause"], verdict["code"]), (cause, "E-VERIFY"), report.stdout)
        self.assertTrue(told["next"]["text"])
        self.assertNotEqual(berthd.berth("inspect", image).returncode, 0)

    def test_signed_or_not(self):
        host = self.server.host
        berthd = self.berthd(rule("ours", f"{host}/ours", keys=self.keys(self.key)),
                             rule("bundles", f"{host}/bundles", keys=self.keys(self.other), identity="Any"),
                             rule("trial", f"{host}/trial", "Warn", keys=self.keys(self.key)),
                             rule("free", f"{host}/free", "Allow"), rule("bad", f"{host}/bad", "Deny"))
        signed, signer = self.image("ours/signed")
        signer.simple(self.key, signed)
        berthd.berth("pull", self.name("ours/signed"), check=True)
        found = berthd.json("inspect", self.name("ours/signed"))
        self.assertEqual(tuple(found["last_pull"]["verification"][key] for key in ("verdict", "keys", "rule")),
                         ("allowed", ["release"], "ours"))
        self.assertIn("verification  allowed by rule ours", berthd.berth("inspect", self.name("ours/signed"), check=True).stdout)

        self.image("ours/unsigned")
        self.refused(berthd, self.name("ours/unsigned"), "unsigned", "the image has no signature")
        self.assertEqual(self.blobs("ours/unsigned"), 0)  # nothing of it was fetched

        digest, signer = self.image("ours/stranger")
        signer.simple(self.other, digest)
        self.refused(berthd, self.name("ours/stranger"), "wrong-key", "not by a key of the rule")
        digest, signer = self.image("ours/replayed")
        signer.simple(self.key, digest, signed=signed)
        self.refused(berthd, self.name("ours/replayed"), "wrong-digest", "is for another image")
        digest, signer = self.image("ours/moved")
        signer.simple(self.key, digest, reference=f"{host}/ours/signed")
        self.refused(berthd, self.name("ours/moved"), "wrong-identity", "ours/signed")
        # Signed after the refusal: nothing stands in the way any more.
        digest, signer = self.image("ours/unsigned")
        signer.simple(self.key, digest)
        berthd.berth("pull", self.name("ours/unsigned"), check=True)

        digest, signer = self.image("bundles/app")
        signer.bundle(self.other, digest)
        berthd.berth("pull", self.name("bundles/app"), check=True)

        self.image("trial/app")
        berthd.berth("pull", self.name("trial/app"), check=True)
        self.assertEqual(berthd.json("inspect", self.name("trial/app"))["last_pull"]["verification"]["verdict"], "warned")
        self.image("free/app")
        berthd.berth("pull", self.name("free/app"), check=True)
        self.image("bad/app")
        self.refused(berthd, self.name("bad/app"), "denied-by-rule", "are not allowed on this node")
        self.image("elsewhere/app")
        self.refused(berthd, self.name("elsewhere/app"), "no-rule", "no rule is for this image")
        self.assertFalse([key for key in self.server.requests() if key[0] in ("GET", "HEAD") and "/bad/app/manifests/" in key[1]])

    def test_what_is_here_passes_when_the_rules_change(self):
        digest, signer = self.image("ours/app")
        name, host = self.name("ours/app"), self.server.host
        berthd = self.berthd()
        berthd.berth("pull", name, check=True)  # before there were rules
        target = self.folder / "mnt"
        target.mkdir()
        strict = rule("ours", f"{host}/ours", keys=self.keys(self.key))
        self.reload(berthd, strict)
        done = berthd.berth("mount", name, str(target))
        self.assertEqual(done.returncode, 8, done.stdout + done.stderr)
        self.assertEqual(berthd.berth("pull", name).returncode, 8)
        self.assertEqual(berthd.berth("pull", "--policy", "Never", name).returncode, 8)
        signer.simple(self.key, digest)
        berthd.berth("pull", name, check=True)
        berthd.berth("mount", name, str(target), check=True)
        berthd.berth("unmount", str(target), check=True)
        # The verdict is on record: it survives a crash, and nobody is asked again.
        berthd.kill()
        berthd.start()
        asked = sum(self.server.requests().values())
        berthd.berth("pull", name, check=True)
        self.assertEqual(sum(self.server.requests().values()), asked)
        # A rule elsewhere changes nothing; another key does.
        self.reload(berthd, rule("new", "other.example", "Deny"), strict)
        berthd.berth("pull", name, check=True)
        self.assertEqual(sum(self.server.requests().values()), asked)
        self.reload(berthd, strict | {"keys": self.keys(self.other)})
        self.assertEqual(berthd.berth("pull", name).returncode, 8)
        # A file with a mistake changes nothing.
        self.reload(berthd, {"name": "x"})
        self.assertIn("a rule needs", berthd.log_path.read_text())
        self.assertEqual(berthd.berth("pull", name).returncode, 8)

    def test_programs(self):
        folder = self.folder / "verifiers"
        folder.mkdir(mode=0o755)
        os.chmod(self.folder, 0o755)
        self.image("ours/app")
        name = self.name("ours/app")
        berthd = self.berthd(rule("judged", self.server.host, programs=True), programs={"dir": str(folder), "timeout": "2s"})
        self.refused(berthd, name, "program-failed", "is empty")
        judge = folder / "judge"

        def write(script):
            judge.write_text("#!/bin/sh\n" + script)
            judge.chmod(0o755)
        write("echo not on a friday\nexit 1\n")
        self.refused(berthd, name, "program-refused", "not on a friday")
        write("sleep 60\n")
        self.refused(berthd, name, "program-failed", "no answer within 2s")
        write(f'echo "$@" > {self.folder}/args; cat > {self.folder}/stdin\n')
        berthd.berth("pull", name, check=True)
        self.assertIn(f"-name {name} -digest sha256:", (self.folder / "args").read_text())
        self.assertEqual(json.loads((self.folder / "stdin").read_text())["mediaType"], images.OCI["manifest"])

    def test_an_unreachable_registry_lets_nothing_through(self):
        digest, signer = self.image("ours/app")
        signer.simple(self.key, digest)
        berthd = self.berthd()
        berthd.berth("pull", self.name("ours/app"), check=True)
        self.server.__exit__()  # and once more when the test ends
        self.reload(berthd, rule("ours", self.server.host, keys=self.keys(self.key)))
        done = berthd.berth("pull", self.name("ours/app"))
        self.assertEqual(done.returncode, 8, done.stderr)
        self.assertIn("cannot be looked at", done.stderr)
        self.reload(berthd, rule("ours", self.server.host, keys=self.keys(self.key), whenUnreachable="Warn"))
        berthd.berth("pull", self.name("ours/app"), check=True)


@cases.needs_root
@cases.needs_runtime
class PodsWait(Signatures):
    """Of a Pod: SignatureValidationFailed, until the image is signed; also for an image that was here before the rules."""
    test_signed_or_not = test_what_is_here_passes_when_the_rules_change = test_programs = None
    test_an_unreachable_registry_lets_nothing_through = None

    def test_signature_validation_failed(self):
        digest, signer = self.image("ours/app")
        strict = rule("ours", f"{self.server.host}/ours", keys=self.keys(self.key))
        berthd = self.berthd(strict, node=True)
        here = pods.Pods(berthd)
        waiting = pods.pod("web", self.name("ours/app"), "true", imagePullPolicy="IfNotPresent", restartPolicy="Never")
        here.apply(waiting)
        here.until("web", "SignatureValidationFailed", "ImagePullBackOff")
        state = here.get("web")["status"]["containerStatuses"][0]["state"]["waiting"]
        self.assertIn("signature validation failed", state["message"])
        self.assertIn("the image has no signature", state["message"])
        here.berthd.berth("delete", "pod", "web", "--grace-period=1")
        # Here without rules, then with: the Pod does not start it.
        self.reload(berthd)
        berthd.berth("pull", self.name("ours/app"), check=True)
        self.reload(berthd, strict)
        here.apply(waiting | {"metadata": {"name": "again", "namespace": "default"}})
        here.until("again", "SignatureValidationFailed", "ImagePullBackOff")
        here.berthd.berth("delete", "pod", "again", "--grace-period=1")
        here.wait("nothing is left", lambda: not here.leftovers(), 60)


class Files(cases.Case):
    def test_a_bad_file_is_refused_with_its_line(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "config.yaml"
            path.write_text("apiVersion: berth.dev/v1alpha1\nkind: ImageDaemonConfiguration\nverification:\n  rules:\n  - {match: [busybox], action: Allow}\n")
            done = subprocess.run([daemon.binary("berthd"), "--config", path, "--print-config"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("config.yaml:5: the pattern \"busybox\" never matches", done.stderr)
            path.write_text("apiVersion: berth.dev/v1alpha1\nkind: ImageDaemonConfiguration\nverification:\n  rules:\n  - {match: [a.example], action: Allow}\n")
            done = subprocess.run([daemon.binary("berthd"), "--config", path, "--print-config"], capture_output=True, text=True, check=True)
            path.write_text(done.stdout)  # what is printed is read back as the same
            again = subprocess.run([daemon.binary("berthd"), "--config", path, "--print-config"], capture_output=True, text=True, check=True)
            self.assertIn('verification: {"rules":[{"action":"Allow","match":["a.example"]}]}', again.stdout)


if __name__ == "__main__":
    unittest.main()
