#!/usr/bin/env python3
"""lab/matrix.py: the hostile corpus (lab/hostile.py) against a running berthd (reliability-security 3.0, 3.a, 3.b; P6, P16).

    matrix.py [PREFIX] [--form erofs|tree] [--races SECONDS] [--part hostile|registry]

Each case is served by a registry that checks nothing and pulled by berth. A rejection must carry the class of the table, a
safe image must mount and equal the independent verifier's tree. After every case:
U1  the canary outside the store is as it was;
U2  a rejected image is in no list; after a reclaim the store is empty again and takes, apparent and allocated, the bytes of before
    within 64 KiB (P16), and mounts, loop devices, processes and open files are those of before;
U4  a rejection takes at most 10 s;
U5  the daemon stays below 256 MiB, its workers below what their limits give them, and it rests within 8 MiB of where it was
    (not of programs built for a sanitizer);
U6  the canary's secret, plain, base64, URL-encoded or hex, is in no output and no log;
U7  the daemon is the same process, and pulls a good image, and one of the same name as the bad one;
U8  the error is one line of at most 1 KiB without control characters.
A-39 is traced: what its worker does once it is jailed opens nothing by a host's path.
The part `registry` is 3.c: a good image from registries that misbehave (lab/faults.py), by the same oracles.
Then A-40: the tree form, while somebody who may write there exchanges its directories for links to the canary.
"""
import argparse
import base64
import contextlib
import ctypes
import functools
import os
import pathlib
import re
import select
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import daemon
import faults
import hostile
import images
import registry
import verify

# Cases whose verdict needs a configuration of its own, and what is set for them.
NEEDS = {"limit unpacked 1 GiB": {"limits": {"output_bytes": "1Gi", "unpacked_bytes": "1Gi"}},
         "block devices allowed": {"layers": {"blockDevices": True}}}
# Images that are right, but need another tree on each chain of lower layers: what the tree form has to refuse, not to show in
# another way (layer/store.h, FitToImage).
TREE_CANNOT = ("A-30", "A-32", "A-33", "A-72-whiteout", "A-72-opaque")
SLOW_TREE = ("A-31-5", "B-31-")  # hundreds of layers: the tree is compared for the shorter ones
LONG = {"A-49": 30, "A-88": 30, "A-100": 30, "A-106": 60}  # seconds: rows of tens of thousands of entries or of a GiB before the limit
MIB = 1 << 10  # in KiB, as /proc has them
# 96 MiB is what reliability-security 5.12 gives a worker, besides its zstd window. Row A-100 says 64 MiB, which this one does not
# reach: the names, paths and inodes of its 200,000 entries take 87 MiB until the tree is written.
DAEMON, WORKER, REST = 256 * MIB, 96 * MIB, 8 * MIB
WINDOWS = {"A-108-128M": 128 * MIB}
SLACK = 64 << 10  # bytes: P16
BOMBS = {"A-106": (1 << 30) + (64 << 20)}  # bytes that the store may take meanwhile: its limit and 64 MiB
EXCHANGES = 100_000
# What must be refused before anything of the image, or but its config, is asked for.
UNASKED = {"B-20-": ("layer", "config"), "B-21-diff": ("layer",), "B-21-": ("layer", "config"), "B-25-": ("layer", "config")}
# Cases of the verdict "either": which of them berth refuses, in both forms of layers. The others have to come.
REFUSED = {"A-15", "A-49", "A-69-0", "A-69-2", "A-75-link", "A-75-dir", "A-75-device", "A-95", "B-08-Layers", "B-08-MediaType", "B-49-0", "B-49-1",
           "B-49-2", "B-50-0", "B-50-1", "B-50-3", "B-50-4", "B-51-0", "B-51-1", "B-51-2", "B-51-3", "B-52-0", "B-53-climbs", "B-53-empty",
           "B-54-2", "B-56-nul", "B-56-entry"}
RENAME_EXCHANGE = 2


def encodings(secret):
    data = secret.encode()
    short = base64.b64encode(data).decode().rstrip("=")
    return {secret, short, short.translate(str.maketrans("+/", "-_")), urllib.parse.quote(secret, safe=""), data.hex(), data.hex().upper(),
            "".join(f"%{byte:02X}" for byte in data)}


def taken(folder):
    """(apparent, allocated) bytes of the files below `folder`, a store's reserve not counted. (Folders of most file systems never shrink.)"""
    apparent = allocated = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            if name == "reserve":
                continue
            with contextlib.suppress(OSError):
                found = os.lstat(os.path.join(parent, name))
                apparent, allocated = apparent + found.st_size, allocated + found.st_blocks * 512
    return apparent, allocated


def at_rest(store):
    """taken(), without what SQLite has put off or keeps for later: its log is folded in and emptied; free pages are used before others."""
    with contextlib.closing(sqlite3.connect(store / "catalog.db", timeout=10)) as catalog:
        if catalog.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise RuntimeError("the catalog's log cannot be folded in")
        free, size = (catalog.execute("PRAGMA " + what).fetchone()[0] for what in ("freelist_count", "page_size"))
    return tuple(total - free * size for total in taken(store))


class Workers(threading.Thread):
    """The peaks of a process's children while it runs (a peak grows only, so that a late look sees it), and of the bytes of `store`."""
    def __init__(self, pid, store=None):
        super().__init__(daemon=True)
        self.pid, self.store, self.peak, self.bytes, self.over = pid, store, 0, 0, threading.Event()

    def run(self):
        tasks = pathlib.Path(f"/proc/{self.pid}/task")
        while not self.over.wait(0.01):
            self.bytes = max(self.bytes, *taken(self.store)) if self.store else 0
            with contextlib.suppress(OSError):
                for children in tasks.glob("*/children"):
                    for child in children.read_text().split():
                        with contextlib.suppress(OSError, KeyError):
                            self.peak = max(self.peak, *daemon.status(child, "VmHWM"))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(30)


def held(berthd):
    """What a daemon has, apart from its connections: mounts, loop devices, children, open files."""
    folder, pid = str(berthd.folder), berthd.process.pid
    found = {"mounts": sorted(line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if folder in line)}
    loops = []
    for file in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            loops += [file.parts[3]] if folder in file.read_text() else []
    found["loop devices"] = sorted(loops)
    found["children"] = sorted(child for file in pathlib.Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split())
    files = []
    for file in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(file)
            files += [target] if target.startswith("/") and "catalog.db" not in target else []  # SQLite opens its files when it likes
    found["open files"] = sorted(files)
    return found


def classes():
    """{E-code: class word}, from the one table that the product has."""
    table = (daemon.ROOT / "src/result/reason.cc").read_text()
    return {code: word for word, code in re.findall(r'ReasonInfo\{R::\w+, "([^"]+)", "([^"]+)"', table)}


class Trace:
    """The system calls of what a daemon starts, where strace is there."""
    def __init__(self, berthd, file):
        self.file, self.tracer = file, None
        if shutil.which("strace"):
            pid = berthd.process.pid
            self.tracer = daemon.spawn(["strace", "-f", "-qq", "-s", "200", "-o", file, "-p", pid])
            daemon.wait("the daemon is traced", lambda: all(daemon.status(f"{pid}/task/{task}", "TracerPid")[0] for task in os.listdir(f"/proc/{pid}/task")), 20)

    def strangers(self):
        """Calls of jailed workers, from their filter on, that name a file in another way than by one component below a descriptor, made
        anew or opened as a directory; or that map code. Raises when there was no jailed worker."""
        if not self.tracer:
            return []
        daemon.end(self.tracer)
        jailed, found, calls = set(), [], 0
        for line in self.file.read_text(errors="replace").splitlines():
            task, call = line.split(None, 1)
            if re.match(r"seccomp\(SECCOMP_SET_MODE_FILTER, .*\) += 0$", call):
                jailed.add(task)
            elif task in jailed:
                calls += 1
                jailed |= set(re.findall(r"parent_tid=\[(\d+)\]", call))  # a thread of it
                if re.match(r"\w*(open|stat|access|exec|link|chmod|chown|chdir|mount|mknod|mkdir|rename|xattr)\w*\(", call) and not re.match(
                        r'(f\w+\(|\w+\(\d+, ""|(openat2?|mkdirat|mknodat)\(\d+, "[^/"]+")', call) or re.match(r"openat", call) and not re.search(
                        r"O_CREAT\|O_EXCL|O_DIRECTORY", call) or "PROT_EXEC" in call:
                    found.append(call)
        if not calls:
            raise RuntimeError("no jailed worker was traced")
        return found


class Matrix:
    def __init__(self, folder, form):
        self.folder, self.form, self.classes, self.failures = pathlib.Path(folder), form, classes(), []
        self.sanitized = daemon.sanitized()
        shutil.rmtree(hostile.CANARY, ignore_errors=True)
        hostile.make_canary()
        self.canary = verify.digest(verify.scan(hostile.CANARY))
        self.secrets, self.expected = encodings(hostile.SECRET), functools.lru_cache(1)(verify.expect)
        self.good = self.folder / "good"
        layout = images.Layout(self.good)
        layout.tag("x", layout.image([layout.layer(images.entries(("etc/", None), ("etc/motd", "good\n")))]))

    def fail(self, case, what):
        self.failures.append(case["id"])
        print(f"FAIL {case['id']}: {what}\n     ({case['note']})", flush=True)

    def others(self, berthd):
        """CPU seconds that the machine has spent on neither the daemon with its workers nor on us."""
        return daemon.machine_cpu() - daemon.cpu_of(berthd.process.pid) - sum(os.times()[:4])

    def left(self, berthd):
        return [str(p.relative_to(berthd.store)) for sub in ("layers", "tmp", "ingest", "blobs/sha256", "blobs/sha512", "writable")
                for p in (berthd.store / sub).glob("*")]

    def run(self, berthd, server, case):
        reference = case.get("reference") or f"{case.get('host', server.host)}/{case['repo']}" + ("@" + case["digest"] if "by digest" in case["needs"] else ":x")
        if self.form == "tree" and case["id"] in TREE_CANNOT:
            case = case | {"verdict": "reject", "class": "unsupported"}
        wanted = case["verdict"] if case["verdict"] != "either" else "reject" if case["id"] in REFUSED else "safe"
        before, (rest,), bytes_before = held(berthd), daemon.status(berthd.process.pid, "VmRSS"), at_rest(berthd.store)
        asked, malformed = server.requests, server.malformed
        pathlib.Path(f"/proc/{berthd.process.pid}/clear_refs").write_text("5")
        bomb = next((most for row, most in BOMBS.items() if case["id"].startswith(row)), None)
        trace = Trace(berthd, self.folder / "trace") if case["id"] == "A-39" and not self.sanitized else None
        others, began = self.others(berthd), time.monotonic()
        with Workers(berthd.process.pid, berthd.store if bomb else None) as workers:
            done = berthd.berth("pull", "-q", "--progress", "none", *case.get("arguments", ()), reference, timeout=120,
                                **({"input": case["input"]} if "input" in case else {}))
        took = time.monotonic() - began - (self.others(berthd) - others) / os.cpu_count()  # a busy machine delays by that
        if found := trace.strangers() if trace else None:
            self.fail(case, f"a jailed worker did {found[:3]}")
        code = re.search(r"^error: (E-[A-Z0-9-]+)", done.stderr, re.M)
        word = self.classes.get(code[1], code[1]) if code else ""
        if done.returncode and not code:
            return self.fail(case, f"exit {done.returncode} without a code: {done.stderr[-300:]}")
        if wanted == "safe" and done.returncode:
            self.fail(case, f"refused as {word}: {done.stderr.strip()[:400]}")
        if wanted == "reject" and not done.returncode:
            self.fail(case, "accepted")
        if done.returncode and wanted == "reject" and word != case["class"]:
            self.fail(case, f"refused as {word}, expected {case['class']}: {done.stderr.strip()[:300]}")
        if done.returncode and took > LONG.get(re.match(r"\w-\d+", case["id"])[0], 10):
            self.fail(case, f"refused after {took:.1f} s")
        if workers.peak > WORKER + WINDOWS.get(case["id"], 0) and not self.sanitized:
            self.fail(case, f"a worker took {workers.peak // MIB} MiB")
        if bomb and workers.bytes > bomb:
            self.fail(case, f"the store took {workers.bytes >> 20} MiB meanwhile")
        if done.returncode:
            line = next(l for l in done.stderr.splitlines() if l.startswith("error: "))
            if len(line) > 1024 + 8 or not line.isprintable():
                self.fail(case, f"the error is no short printable line: {line[:200]!r}")
            if listed := berthd.json("images")["images"]:
                self.fail(case, f"refused, but listed: {listed}")
        elif case["folder"] and not case["id"].startswith(SLOW_TREE):
            self.compare(berthd, case, reference)
        if any(secret in done.stdout + done.stderr for secret in self.secrets):
            self.fail(case, "the canary's secret is in the output")
        self.unasked(case, server.requests - asked, server.malformed - malformed)
        if problem := case["check"](done) if "check" in case else None:
            self.fail(case, problem)
        self.empty(berthd, case)
        self.pulls_good(berthd, server, case)
        if berthd.process.poll() is None:
            peak, rests = daemon.status(berthd.process.pid, "VmHWM", "VmRSS")
            if peak > DAEMON and not self.sanitized:
                self.fail(case, f"the daemon took {peak // MIB} MiB")
            if rests - rest > REST and not self.sanitized:
                self.fail(case, f"the daemon rests {(rests - rest) // MIB} MiB above where it was")
            for what, now, then in zip(("apparent", "allocated"), at_rest(berthd.store), bytes_before):
                if abs(now - then) > SLACK:
                    self.fail(case, f"the store has {now - then} {what} bytes more than before")
            now = held(berthd)
            for what in before:
                if now[what] != before[what]:
                    self.fail(case, f"{what}: {sorted(set(now[what]) ^ set(before[what]))[:5] or 'as often as before no more'}")
        if verify.digest(verify.scan(hostile.CANARY)) != self.canary:
            self.fail(case, "THE CANARY CHANGED")
        if berthd.process.poll() is not None:
            self.fail(case, "the daemon ended")
            berthd.start()

    def attempt(self, berthd, server, case):
        try:
            self.run(berthd, server, case)
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            self.fail(case, str(error)[:500])

    def unasked(self, case, requests, malformed):
        """By the server's record: no request for what must not be asked for, and none that is no HTTP."""
        if malformed:
            self.fail(case, f"{malformed} requests that are no HTTP")
        if not (what := next((what for row, what in UNASKED.items() if case["id"].startswith(row)), ())):
            return
        blobs = [path for _, path, _ in requests if f"/{case['repo']}/" in path and "/manifests/" not in path]
        if blobs and ("config" in what or len(blobs) > 1):
            self.fail(case, f"asked for: {blobs}")

    def empty(self, berthd, case):
        if there := berthd.json("images")["images"]:
            berthd.berth("rm", "--all-names", *(image["id"] for image in there), check=True)
        berthd.berth("reclaim", "--age", "0s", check=True)
        if left := self.left(berthd):
            self.fail(case, f"left behind: {left[:5]}")

    def pulls_good(self, berthd, server, case):
        """A good image, and one by the bad one's name."""
        bad, server.layouts[case["repo"]] = server.layouts[case["repo"]], self.good
        fault, server.fault = server.fault, case.get("after")
        done = berthd.berth("pull", "-q", "--progress", "none", f"{server.host}/good:x", f"{case.get('host', server.host)}/{case['repo']}:x", timeout=120)
        if done.returncode:
            self.fail(case, f"after it, a good image is refused: {done.stderr.strip()[:300]}")
        server.layouts[case["repo"]], server.fault = bad, fault
        self.empty(berthd, case)

    def races(self, berthd, server, seconds):
        """A-40. What is pulled meanwhile may come or be refused; nothing of it may be elsewhere."""
        case = {"id": "A-40", "note": "directories become links while the layer is unpacked"}
        layout = images.Layout(self.folder / "races")
        made = [entry for n in range(40) for entry in [(f"d{n}/", None), *((f"d{n}/{name}", "raced") for name in ("victim", "dir/f", *map(str, range(50))))]]
        layout.tag("x", layout.image([layout.layer(images.entries(*made))]))
        server.layouts["races"] = layout.folder
        exchange, over, count = ctypes.CDLL(None, use_errno=True).renameat2, threading.Event(), 0

        def race():
            nonlocal count
            while not over.is_set():
                for tree in (berthd.store / "tmp").glob("*.tree"):
                    with contextlib.suppress(OSError):
                        os.symlink(hostile.CANARY, tree / "link")
                    for _ in range(20):
                        for n in range(40):
                            count += exchange(-100, os.fsencode(tree / "link"), -100, os.fsencode(tree / f"d{n}"), RENAME_EXCHANGE) == 0
        racer = threading.Thread(target=race)
        racer.start()
        pulls, until, enough = 0, time.monotonic() + seconds, EXCHANGES * min(1, seconds / 60)
        while (left := until - time.monotonic()) > 0 or (count < enough and left > -3 * seconds):  # longer on a machine with other work
            berthd.berth("pull", "-q", "--progress", "none", f"{server.host}/races:x", timeout=120)
            pulls += 1
            berthd.berth("rm", f"{server.host}/races:x")
            berthd.berth("reclaim", "--age", "0s")
        over.set()
        racer.join()
        if verify.digest(verify.scan(hostile.CANARY)) != self.canary:
            self.fail(case, "THE CANARY CHANGED")
        if count < enough or berthd.process.poll() is not None:
            self.fail(case, f"{count} exchanges, the daemon {'ended' if berthd.process.poll() is not None else 'runs'}")
        print(f"A-40: {count} exchanges during {pulls} pulls")

    def compare(self, berthd, case, reference):
        try:
            want = self.expected(str(self.folder / "cases" / case["folder"]), "x")
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


def secrets_kept(matrix, berthd):
    log = berthd.log_path.read_text(errors="replace")
    if any(secret in log for secret in matrix.secrets):
        matrix.fail({"id": "log", "note": ""}, "a secret is in the log")


def hostile_part(matrix, cases, options):
    served = {c["repo"]: str(matrix.folder / "cases" / c["folder"]) for c in cases}
    with registry.LayoutRegistry(served | {"good": str(matrix.good)}) as server:
        for needs in sorted({c["needs"] for c in cases}):
            settings = {"plainHttp": [server.host], "form": options.form, "log": {"level": "debug"}} | NEEDS.get(needs, {})
            with daemon.Berthd(matrix.folder / "berth", settings=settings) as berthd:
                for case in cases:
                    if case["needs"] == needs:
                        matrix.attempt(berthd, server, case)
            secrets_kept(matrix, berthd)
        if options.races and "A-40".startswith(options.prefix):
            settings = {"plainHttp": [server.host], "form": "tree"}
            with daemon.Berthd(matrix.folder / "berth-races", settings=settings) as berthd:
                matrix.races(berthd, server, options.races)


RETRY = {"base": "10ms", "cap": "20ms", "retryAfterCap": "100ms", "deadFor": "10ms"}


def registry_part(matrix, prefix):
    """3.c. For each row the same image by a name of its own, of a host of its own, about which berth knows nothing yet."""
    rows = [row for row in faults.rows() if row.id.startswith(prefix)]
    matrix.secrets |= encodings(faults.TOKEN) | encodings(f"{faults.USER}:{hostile.SECRET}")
    scene = faults.Scene(matrix.folder / "cases" / "plain")
    hurry = {"retry": RETRY | {"rounds": 2}, "limits": {key: f"{2000 if matrix.sanitized else 500}ms" for key in ("connect", "tls", "headers", "stall_window")}}
    with registry.LayoutRegistry({"good": matrix.good}) as server, faults.Other(scene) as other:
        scene.server, scene.other = server, other
        for needs in sorted({row.needs for row in rows}):
            group = [row for row in rows if row.needs == needs]
            with contextlib.ExitStack() as stack:
                home = matrix.folder / f"berth-{needs}"
                own = {row.id: stack.enter_context(row.serve(scene, home / row.id)) for row in group if row.serve}
                hosts = {row.id: f"{scene.name(row)}:{(own.get(row.id) or server).port}" for row in group}
                scene.prepare(group, hosts, home)
                settings = {"plainHttp": [server.host, *(hosts[row.id] for row in group if not row.serve or needs == "names")], "form": matrix.form, "log": {"level": "debug"},
                            "resolve": [f"{host}=127.0.0.1:{host.rpartition(':')[2]}" for host in hosts.values() if needs not in ("names", "proxy")],
                            "hostsDirs": [str(home / "certs.d")], "retry": RETRY} | (hurry if needs == "quick" else {})
                berthd = stack.enter_context(daemon.Berthd(home, settings=settings, env=scene.environment(needs), within=scene.within(needs, home)))
                for row in group:
                    matrix.attempt(berthd, server, scene.play(row, hosts[row.id], own.get(row.id)))
                    scene.over.set()
                secrets_kept(matrix, berthd)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", nargs="?", default="")
    parser.add_argument("--form", default="erofs", choices=["erofs", "tree"])
    parser.add_argument("--races", type=float, default=60, help="seconds of A-40, where PREFIX lets it be")
    parser.add_argument("--part", default="hostile", choices=["hostile", "registry"])
    options = parser.parse_args()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="berth-matrix-", ignore_cleanup_errors=True))
        matrix = Matrix(folder, options.form)
        (pathlib.Path(folder) / "cases").mkdir()
        elsewhere = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # B-28
        hostile.ELSEWHERE = "%s:%d" % elsewhere.getsockname()
        cases = [] if options.part == "registry" else [
            c for c in hostile.write(pathlib.Path(folder) / "cases", options.prefix) if c["entrance"] == "registry"]
        if options.part == "registry":
            cases = registry_part(matrix, options.prefix)
        else:
            hostile_part(matrix, cases, options)
        if select.select([elsewhere], [], [], 0)[0]:
            matrix.fail({"id": "B-28", "note": "another host"}, "somebody came to the host of a layer's urls")
    failed = len(set(matrix.failures))
    print(f"{len(cases) - failed} passed, {failed} failed")
    print(f"matrix ({options.part}, {options.form}): {len(cases)} cases in {time.monotonic() - began:.0f} s")
    shutil.rmtree(hostile.CANARY, ignore_errors=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
