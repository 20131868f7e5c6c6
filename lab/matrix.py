#!/usr/bin/env python3
"""lab/matrix.py: the hostile corpus (lab/hostile.py) against a running berthd (reliability-security 3.0, 3.a, 3.b; P6, P16).

    matrix.py [PREFIX] [--form erofs|tree]

Each case is served by a registry that checks nothing and pulled by berth. A rejection must carry the class of the table, a
safe image must mount and equal the independent verifier's tree. After every case: the canary outside the store is as it was
(U1); the store is empty again after a rejection and a reclaim (U2, P16); the daemon is the same process (U7); the canary's secret is in
no output and no log (U6); the error is one line of at most 1 KiB without control characters (U8).
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import daemon
import hostile
import registry
import verify

# Cases whose verdict needs a configuration of its own, and what is set for them.
NEEDS = {"limit unpacked 1 GiB": {"limits": {"output_bytes": "1Gi", "unpacked_bytes": "1Gi"}},
         "block devices allowed": {"layers": {"blockDevices": True}}}
# Images that are right, but need another tree on each chain of lower layers: what the tree form has to refuse, not to show in
# another way (layer/store.h, FitToImage).
TREE_CANNOT = ("A-30", "A-32", "A-33", "A-72-whiteout", "A-72-opaque")
SLOW_TREE = ("A-31-5", "B-31-")  # hundreds of layers: the tree is compared for the shorter ones


def classes():
    """{E-code: class word}, from the one table that the product has."""
    table = (daemon.ROOT / "src/result/reason.cc").read_text()
    return {code: word for word, code in re.findall(r'ReasonInfo\{R::\w+, "([^"]+)", "([^"]+)"', table)}


class Matrix:
    def __init__(self, folder, form):
        self.folder, self.form, self.classes, self.failures = pathlib.Path(folder), form, classes(), []
        shutil.rmtree(hostile.CANARY, ignore_errors=True)
        hostile.make_canary()
        self.canary = verify.digest(verify.scan(hostile.CANARY))

    def fail(self, case, what):
        self.failures.append(case["id"])
        print(f"FAIL {case['id']}: {what}\n     ({case['note']})", flush=True)

    def left(self, berthd):
        return [str(p.relative_to(berthd.store)) for sub in ("layers", "tmp", "ingest", "blobs/sha256", "blobs/sha512", "writable")
                for p in (berthd.store / sub).glob("*")]

    def run(self, berthd, server, case):
        reference = f"{server.host}/{case['repo']}" + ("@" + case["digest"] if "by digest" in case["needs"] else ":x")
        done = berthd.berth("pull", "-q", "--progress", "none", reference, timeout=120)
        code = re.search(r"^error: (E-[A-Z0-9-]+)", done.stderr, re.M)
        word = self.classes.get(code[1], code[1]) if code else ""
        if self.form == "tree" and case["id"] in TREE_CANNOT:
            case = case | {"verdict": "reject", "class": "unsupported"}
        if done.returncode and not code:
            return self.fail(case, f"exit {done.returncode} without a code: {done.stderr[-300:]}")
        if case["verdict"] == "safe" and done.returncode:
            return self.fail(case, f"refused as {word}: {done.stderr.strip()[:400]}")
        if case["verdict"] == "reject" and not done.returncode:
            self.fail(case, "accepted")
        if done.returncode and word not in case["class"].split("|"):
            self.fail(case, f"refused as {word}, expected {case['class']}: {done.stderr.strip()[:300]}")
        if done.returncode:
            line = next(l for l in done.stderr.splitlines() if l.startswith("error: "))
            if len(line) > 1024 + 8 or not line.isprintable():
                self.fail(case, f"the error is no short printable line: {line[:200]!r}")
        elif not case["id"].startswith(SLOW_TREE):
            self.compare(berthd, case, reference)
        if hostile.SECRET in done.stdout + done.stderr:
            self.fail(case, "the canary's secret is in the output")
        for image in berthd.json("images")["images"]:
            berthd.berth("rm", "--all-names", image["id"], check=True)
        berthd.berth("reclaim", "--age", "0s", check=True)
        if left := self.left(berthd):
            self.fail(case, f"left behind: {left[:5]}")
        if verify.digest(verify.scan(hostile.CANARY)) != self.canary:
            self.fail(case, "THE CANARY CHANGED")
        if berthd.process.poll() is not None:
            self.fail(case, "the daemon ended")
            berthd.start()

    def compare(self, berthd, case, reference):
        try:
            want = verify.expect(str(self.folder / "cases" / case["folder"]), "x")
        except verify.Rejected as error:
            if case["verdict"] == "safe":
                self.fail(case, f"the verifier refuses it: {error}")
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as target:
            mounted = berthd.berth("mount", reference, target)
            if mounted.returncode:
                return self.fail(case, f"does not mount: {mounted.stderr.strip()[:300]}")
            try:
                lines = verify.compare(want, verify.scan(target))
                if self.form == "tree":  # times of directories that the layer does not list stay 0
                    lines = [line for line in lines if not re.search(r": mtime is 0, expected \d+$", line)]
                if lines:
                    self.fail(case, f"another tree: {lines[:4]}")
            finally:
                berthd.berth("unmount", target, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", nargs="?", default="")
    parser.add_argument("--form", default="erofs", choices=["erofs", "tree"])
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="berth-matrix-", ignore_cleanup_errors=True) as folder:
        matrix = Matrix(folder, options.form)
        cases = [c for c in hostile.write(pathlib.Path(folder) / "cases", options.prefix) if c["entrance"] == "registry"]
        served = {c["repo"]: str(pathlib.Path(folder) / "cases" / c["folder"]) for c in cases}
        with registry.LayoutRegistry(served) as server:
            for needs in sorted({c["needs"] for c in cases}):
                settings = {"plainHttp": [server.host], "form": options.form, "log": {"level": "debug"}} | NEEDS.get(needs, {})
                with daemon.Berthd(pathlib.Path(folder) / "berth", settings=settings) as berthd:
                    for case in cases:
                        if case["needs"] == needs:
                            try:
                                matrix.run(berthd, server, case)
                            except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                                matrix.fail(case, str(error)[:500])
                if hostile.SECRET in berthd.log_path.read_text(errors="replace"):
                    matrix.fail({"id": "log", "note": ""}, "the canary's secret is in the log")
    failed = len(set(matrix.failures))
    print(f"{len(cases) - failed} passed, {failed} failed")
    print(f"matrix ({options.form}): {len(cases)} cases in {time.monotonic() - began:.0f} s")
    shutil.rmtree(hostile.CANARY, ignore_errors=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
