"""P17: an image has one verdict on every entrance: hostile images by berth's own API and by CRI, unpacked in either form."""
import concurrent.futures
import pathlib
import re
import subprocess
import tempfile
import unittest

import cases
import daemon
import hostile
import images
import matrix
import registry

CLIENT = daemon.binary("cri_client", of="cri")
# Of every class, and of what the layer's bytes, its compression, the documents and the registry's answers may have.
CHOSEN = ("A-01-1", "A-06-empty", "A-18-2000", "A-26-self", "A-41-pax", "A-47-self", "A-52", "A-65-0", "A-89-wrong", "A-104-crc", "A-104-zstd-sum",
          "A-108-2G", "A-110-encrypted", "A-111-xz", "B-01", "B-05-2.0", "B-13-arrays", "B-19-layer-less", "B-21-layer", "B-26", "B-27-layer", "B-39",
          "B-44-swapped", "B-46-array")


@cases.needs_root
@cases.needs("zstd")
class Verdicts(cases.Case):
    def test_every_entrance_and_form_gives_the_same(self):
        folder, chosen = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())), [c for c in hostile.cases() if c.id in CHOSEN]
        self.assertEqual({case.id for case in chosen}, set(CHOSEN))
        for case in chosen:
            layout = images.Layout(folder / case.id)
            layout.tag("x", case.build(layout))
        server = self.enterContext(registry.LayoutRegistry({hostile.repo(case): folder / case.id for case in chosen}))
        nodes = {form: self.enterContext(daemon.Berthd(folder / form, settings={"plainHttp": [server.host], "form": form})) for form in ("erofs", "tree")}
        classes = matrix.classes()

        def verdict(command):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)
            code = re.match(r"(?:error|cri_client): (?:\w+: )?(E-[A-Z0-9-]+)", done.stderr)  # CRI has a word before some
            return classes[code[1]] if done.returncode and code else f"exit {done.returncode}: {done.stderr}"

        def verdicts(case):
            name, found = f"{server.host}/{hostile.repo(case)}:x", {}
            for form, node in nodes.items():
                found["berth.v1", form] = verdict(node.command("pull", "-q", "--progress", "none", name))
                found["CRI", form] = verdict([CLIENT, node.socket, "pull", name])
            return found
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for case, found in zip(chosen, pool.map(verdicts, chosen)):
                with self.subTest(case.id, note=case.note):
                    self.assertEqual(len(set(found.values())), 1, found)
                    self.assertIn(found["CRI", "erofs"], case.word.split("|"))
        for node in nodes.values():
            self.assertEqual(node.json("images")["images"], [])


if __name__ == "__main__":
    unittest.main()
