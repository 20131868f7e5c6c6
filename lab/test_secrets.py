"""P7: at the highest log level, through every way a password can come, nothing that berth writes has it in any encoding."""
import base64
import json
import pathlib
import tempfile
import unittest
import urllib.parse

import cases
import daemon
import images
import registry

RIGHT, WRONG = "canary-Right+9/&<\u00e9>", "canary-Wrong%41\"\\x"


def spellings(secret, user):
    raw = secret.encode()
    pair = f"{user}:{secret}".encode()
    texts = [raw, json.dumps(secret)[1:-1].encode(), json.dumps(secret, ensure_ascii=False)[1:-1].encode(), urllib.parse.quote(secret).encode(),
             urllib.parse.quote_plus(secret).encode(), raw.hex().encode(), raw.hex().upper().encode()]
    for data in (raw, pair):
        texts += [base64.b64encode(data).rstrip(b"="), base64.urlsafe_b64encode(data).rstrip(b"=")]
    return set(texts)


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
            said, settings = [], {"hostsDirs": [str(folder / "certs.d")], "credentials": {"nodeConfig": [str(node)]}, "log": {"level": "debug"}}
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
            self.assertTrue(any(text in right.read_bytes() for text in spellings(RIGHT, "demo")))  # it can be found
            everything = "\n".join(said).encode(errors="replace")
            for secret in (RIGHT, WRONG):
                for text in spellings(secret, "demo"):
                    at = everything.find(text)
                    self.assertEqual(at, -1, everything[max(0, at - 200):at + 50])


if __name__ == "__main__":
    unittest.main()
