"""P7: at the highest log level, through every way a password can come, nothing that berth writes has it in any encoding; nor
a token that it was given. (Every log of every other test has to be as quiet: daemon.Berthd.stop.)"""
import base64
import contextlib
import json
import pathlib
import secrets
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
import unittest.mock

import cases
import daemon
import images
import registry

RIGHT, WRONG = "canary-Right+9/&<\u00e9>", "canary-Wrong%41\"\\x"


class Commands(threading.Thread):
    """What the arguments of any process were while it runs."""
    def __init__(self):
        super().__init__(daemon=True)
        self.seen, self._over = set(), threading.Event()

    def run(self):
        while not self._over.wait(0.02):
            for process in pathlib.Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    self.seen.add((process / "cmdline").read_bytes())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join(30)


@cases.needs_registry
class Secrets(cases.Case):
    def test_nothing_shows_a_password(self):
        with tempfile.TemporaryDirectory() as folder, registry.Registry(tls=True, users={"demo": RIGHT}) as server:
            folder = pathlib.Path(folder)
            layout = images.Layout(folder / "layout")
            layout.tag("v1", layout.image([layout.layer(images.entries(("a", "a" * 100_000)))]))
            images.push(layout, server.url, "shop/web", "v1", auth=("demo", RIGHT), ca=server.ca)
            certs = folder / "certs.d" / server.host
            certs.mkdir(parents=True)
            (certs / "ca.crt").write_bytes(pathlib.Path(server.ca).read_bytes())
            node = folder / "node"
            node.mkdir()

            def write(path, password):
                path.write_text(json.dumps({"auths": {server.host: {"username": "demo", "password": password}}}))
                return path
            right, wrong = write(folder / "right.json", RIGHT), write(folder / "wrong.json", WRONG)
            keyed = folder / "keyed.json"  # a key with user info, another host, and a member that is no string
            keyed.write_text(json.dumps({"auths": {f"demo:{RIGHT}@other.test": {"auth": "!" + RIGHT}, "x.test": {"password": [WRONG]}}}))
            image = f"{server.host}/shop/web:v1"
            said, settings = [], {"hostsDirs": [str(folder / "certs.d")], "credentials": {"nodeConfig": [str(node)]}}
            with daemon.Berthd(folder / "berth", settings=settings) as berthd:
                def run(*args, feed=None, expect=0):
                    done = berthd.berth(*args, **({"input": feed} if feed else {}))
                    said.append(done.stdout + done.stderr)
                    self.assertEqual(done.returncode != 0, expect != 0, done.stderr)
                for form in ("table", "json", "jsonl"):
                    run("pull", "--policy", "Always", "-o", form, "--authfile", str(wrong), image, expect=4)
                    run("pull", "--policy", "Always", "-o", form, "--authfile", str(right), image)
                run("pull", "--authfile", str(keyed), image.replace("v1", "v2"), expect=1)
                run("pull", "--policy", "Always", "--creds", "demo", image, feed=WRONG + "\n", expect=4)
                run("pull", "--policy", "Always", "--creds", "demo", image, feed=RIGHT + "\n")
                write(node / "config.json", RIGHT)
                berthd.reload()
                for args in (("images",), ("inspect", image), ("df",), ("fsck",), ("doctor", "-v")):
                    run(*args)
                said.append(berthd.log_path.read_text(errors="replace"))
                self.assertIn("401", "".join(said))  # it did get that far, and debug lines are there
                self.assertIn("http answer", said[-1])
                said += [path.read_bytes().decode(errors="replace") for path in berthd.store.rglob("*") if path.is_file()]
                said.append(pathlib.Path(f"/proc/{berthd.process.pid}/cmdline").read_text() + pathlib.Path(f"/proc/{berthd.process.pid}/environ").read_text())
            self.assertTrue(any(text in right.read_bytes() for text in daemon.spellings(RIGHT, "demo")))  # it can be found
            everything = "\n".join(said).encode(errors="replace")
            for secret in (RIGHT, WRONG):
                for text in daemon.spellings(secret, "demo"):
                    at = everything.find(text)
                    self.assertEqual(at, -1, everything[max(0, at - 200):at + 50])


class Logs(unittest.TestCase):
    def test_one_with_a_secret_is_no_end_of_a_test(self):
        with tempfile.TemporaryDirectory() as folder, unittest.mock.patch.dict(daemon.SECRETS):
            text = daemon.secret("canary-" + secrets.token_hex(8), "demo")
            with daemon.Berthd(folder) as berthd:
                self.assertEqual(berthd.stop(), 0)
                quiet = berthd.log_path.read_bytes()
                for shown in daemon.spellings(text, "demo"):
                    berthd.log_path.write_bytes(quiet + b"x " + shown + b"\n")
                    self.assertRaises(AssertionError, berthd.stop)
                berthd.log_path.write_bytes(quiet)


def client_certificate(folder):
    """For clients, of the authority that mint() has made: (certificate, key), and the secrets of the key."""
    for args in (("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "client.key", "-out", "client.csr", "-subj", "/CN=node"),
                 ("x509", "-req", "-in", "client.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", "client.pem")):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True, timeout=60)
    lines = (folder / "client.key").read_text().splitlines()[1:3]  # the private key's part
    return folder / "client.pem", folder / "client.key", [daemon.secret(line) for line in lines]


class Tokens(cases.NodeCase):
    """A registry with a token service and client certificates, behind a proxy with a password."""
    @cases.needs("openssl")
    def test_nothing_shows_a_token(self):
        folder, say = self.folder, secrets.token_hex
        node_password, pod_password, wrong, identity, proxy_password = (f"canary-{what}-{say(12)}" for what in ("node", "pod", "wrong", "identity", "proxy"))
        for word in (wrong, identity):
            daemon.secret(word, "demo")
        (folder / "tls").mkdir()
        registry.mint(folder / "tls")
        certificate, key, key_parts = client_certificate(folder / "tls")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "tls/ca.pem")
        tls.verify_mode = ssl.CERT_REQUIRED
        tls.load_cert_chain(folder / "tls/server.pem", folder / "tls/server.key")
        server = self.enterContext(registry.TokenRegistry({"shop/web": self.layout.folder}, {"demo": node_password, "pod": pod_password}, [identity], tls=tls))
        proxy = self.enterContext(registry.Proxy(server.port, "node", proxy_password))
        host = f"lab.test:{server.port}"
        image, certs = f"{host}/shop/web:v1", folder / "certs.d" / host
        certs.mkdir(parents=True)
        for source, name in ((folder / "tls/ca.pem", "ca.crt"), (certificate, "client.cert"), (key, "client.key")):
            (certs / name).write_bytes(source.read_bytes())

        def config(name, **login):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "config.json").write_text(json.dumps({"auths": {host: login}}))
            return folder / name / "config.json"
        said, metrics = [], folder / "http.sock"
        with Commands() as commands:
            node = self.node({"hostsDirs": [str(folder / "certs.d")], "listen.http": [f"unix://{metrics}"],
                              "credentials.nodeConfig": [str(folder / "node")]})
            node.berthd.env |= {"HTTPS_PROXY": f"http://node:{proxy_password}@{proxy.host}"}
            node.restart()

            def run(*args, feed=None, code=0):
                done = node.berthd.berth(*args, **({"input": feed} if feed else {}))
                said.append(done.stdout + done.stderr)
                self.assertEqual(done.returncode, code, (args, done.stdout, done.stderr))
            for form in ("table", "json", "jsonl"):
                pull = ("pull", "--policy", "Always", "-o", form, image, "--authfile")
                run(*pull, config("wrong", username="demo", password=wrong), code=4)
                run(*pull, config("right", username="demo", password=node_password))
                run(*pull, config("identity", identitytoken=identity))
                run(*pull, config("refused", identitytoken=wrong), code=4)
                run(*pull, config("ready", registrytoken=server.issue("repository:shop/web:pull")))
            run("pull", "--policy", "Always", "--creds", "demo", image, feed=wrong + "\n", code=4)
            config("node", username="demo", password=node_password)
            node.berthd.reload()
            run("pull", "--policy", "Always", image)
            run("explain", image, "--policy", "Always", "-o", "json")
            run("explain", image, "--policy", "Always", "-o", "json", "--creds", "demo", "--password-stdin", feed=wrong, code=4)
            run("explain", "--last", image, "-o", "json")
            run("creds", "match", image, "--config", folder / "node/config.json")
            run("creds", "test", image, "--authfile", folder / "node/config.json")
            run("probe", image)
            self.nothing_in(self.files(node), "the store")  # a Secret, which comes now, stays there
            (folder / "node/config.json").write_text("{}")
            node.berthd.reload()
            node.secret("regcred", host, "pod", pod_password)
            node.secret("bad", host, "pod", wrong)
            for pod, secret, status in (("good", "regcred", "Running"), ("bad", "bad", "Refused")):
                node.start(image, "Always", secrets=[secret], name=pod)
                self.assertEqual(node.settled(pod), status)
                run("explain", f"pod/{pod}", "-o", "json", code=0 if pod == "good" else 4)
                run("describe", "pod", pod)
            for args in (("get", "pods", "-A", "-o", "json"), ("events", "-A"), ("inspect", image), ("doctor", "-v"), ("df",), ("fsck",)):
                run(*args)
            with socket.socket(socket.AF_UNIX) as asking:
                asking.connect(str(metrics))
                asking.sendall(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n")
                said.append(asking.makefile("rb").read().decode())
            self.assertIn("berth_credential_attempts_total", said[-1])
            for pod in ("good", "bad"):
                node.delete(pod)
            node.pods.wait("nothing of them is mounted", lambda: not node.pods.leftovers())
            self.nothing_in(self.files(node), "the store", besides={pod_password, wrong})
        self.nothing_in("\n".join(said).encode(errors="replace"), "the output")
        self.nothing_in(b"\n".join(commands.seen), "the arguments of a process")
        log = node.berthd.log_path.read_bytes()
        self.nothing_in(log, "the log")
        # It did go all these ways, in every one of which it would be found.
        self.assertIn(b"http answer", log)
        self.assertIn(host, proxy.tunnels)
        self.assertGreaterEqual(len(server.issued), 3)
        self.assertTrue(any(b"berthd" in command for command in commands.seen))
        every = {node_password, pod_password, wrong, identity, proxy_password, *key_parts, *server.issued, *server.refresh}
        self.assertLessEqual(every, set(daemon.SECRETS.values()))
        for text in every:
            self.assertIsNotNone(daemon.shown(base64.b64encode(text.encode())))

    def files(self, node):
        return b"\n".join(path.read_bytes() for path in node.berthd.store.rglob("*")
                          if path.is_file() and not path.is_symlink() and not path.suffix == ".data")

    def nothing_in(self, data, where, besides=()):
        self.assertIsNone(daemon.shown(data, set(daemon.SECRETS.values()) - set(besides)), where)


if __name__ == "__main__":
    unittest.main()
