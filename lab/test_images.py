"""Layouts are deterministic; pushes reach docker-registry with TLS and a password; LayoutRegistry serves what is there."""
import http.client
import json
import tempfile
import unittest
import urllib.error
import urllib.request

import baseline
import cases
import images
import registry

SOURCE = images.entries(("etc", None), ("etc/motd", "hello\n" * 1000))


def small(folder):
    layout = images.Layout(folder)
    layers = [layout.layer(SOURCE, compression) for compression in images.COMPRESSIONS]
    layout.tag("v1", layout.index([layout.image(layers), layout.image(layers[:1], "arm64", docker=True)]))
    return layout, layers


class Layouts(cases.Case):
    def test_deterministic(self):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            (first, layers), (second, _) = small(one), small(two)
            self.assertEqual(first.find("v1"), second.find("v1"))
            self.assertEqual(len({layer["diff_id"] for layer in layers}), 1)
            self.assertEqual(first.manifest("v1", "arm64")["config"]["mediaType"], images.DOCKER["config"])

    def test_served(self):
        with tempfile.TemporaryDirectory() as folder:
            layout, layers = small(folder)
            with registry.LayoutRegistry({"a/b": folder}) as server:
                with urllib.request.urlopen(f"{server.url}/v2/a/b/manifests/v1") as answer:
                    self.assertEqual((answer.headers["Content-Type"], answer.read()), (images.OCI["index"], layout.read(layout.find("v1"))))
                with urllib.request.urlopen(f"{server.url}/v2/a/b/blobs/{layers[0]['digest']}") as answer:
                    self.assertEqual(len(answer.read()), layers[0]["size"])
                for path in ("a/b/manifests/none", "a/c/manifests/v1", "a/b/blobs/sha256:../../index.json"):
                    with self.assertRaises(urllib.error.HTTPError) as caught:
                        urllib.request.urlopen(f"{server.url}/v2/{path}")
                    caught.exception.close()
                self.assertEqual(server.requests["GET", "/v2/a/b/manifests/v1", 200], 1)
                blob = f"/v2/a/b/blobs/{layers[0]['digest']}"
                with urllib.request.urlopen(urllib.request.Request(server.url + blob, headers={"Range": "bytes=7-"})) as answer:
                    self.assertEqual((answer.status, answer.headers["Content-Range"]), (206, f"bytes 7-{layers[0]['size'] - 1}/{layers[0]['size']}"))
                    self.assertEqual(answer.read(), layout.read(layers[0])[7:])
                self.assertEqual(server.ranges, [(blob, 7)])
                server.fault = lambda handler: server.serve(handler, 9) and registry.cut(handler)
                with self.assertRaises(http.client.IncompleteRead) as caught, urllib.request.urlopen(server.url + blob) as answer:
                    answer.read()
                self.assertEqual(caught.exception.partial, layout.read(layers[0])[:9])


@cases.needs_registry
class Pushes(cases.Case):
    def test_tls_and_password(self):
        with tempfile.TemporaryDirectory() as folder, registry.Registry(tls=True, users={"demo": "pass word"}) as server:
            layout, layers = small(folder)
            for _ in range(2):
                self.assertEqual(images.push(layout, server.url, "shop/web", "v1", ("demo", "pass word"), server.ca),
                        layout.find("v1")["digest"])
            puts = sum(n for (method, path, _), n in server.requests().items() if method == "PUT" and "/uploads/" in path)
            self.assertEqual(puts, len({layer["digest"] for layer in layers}) + 2)  # nothing twice, and two configs
            with self.assertRaisesRegex(RuntimeError, "401"):
                images.push(layout, server.url, "shop/web", "v1", ("demo", "wrong"), server.ca)
            with images.Client(server.url, ("demo", "pass word"), server.ca) as client:
                body = client.call("GET", "/v2/shop/web/manifests/v1", headers={"Accept": images.OCI["index"]})[2]
                self.assertEqual(len(json.loads(body)["manifests"]), 2)


class Tables(unittest.TestCase):
    def test_ratios(self):
        def run(wall):
            return {"wall": wall, "cpu": wall / 2, "peak": 9, "sync": 0, "others": 0, "load": 1}
        text = baseline.table({"base": {"containerd": [run(4), run(2), run(3)], "fast": [run(0.5)]}})
        self.assertIn("| base | containerd | 3 | 3.00 (2.00 - 4.00) | 1.00 | 1.50 | 1.00 |", text)
        self.assertIn("| base | fast | 1 | 0.50 (0.50 - 0.50) | 6.00 | 0.25 | 6.00 |", text)


if __name__ == "__main__":
    unittest.main()
