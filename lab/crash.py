#!/usr/bin/env python3
"""lab/crash.py: what is left after kill -9 and after the power goes (reliability-security 4.1 P1 to P3, P5, 4.5, 4.6).

    crash.py sweep  [--points NAME,...]    kill -9 at every named fault point, first and second hit, each of six images
    crash.py gc                            kill -9 at every point of removal and garbage collection, while unused images are collected
    crash.py random [-n 500] [--seed S]    kill -9 at random moments of four concurrent pulls, a removal in between
    crash.py power  [-n 50] [--seed S]     the file system is shut down without a flush at a random moment
    crash.py control [-n 10]               the same with every sync call a lie: the harness must find damage
    crash.py errors [--every 7] [--seed S] each write-class system call of a small pull x each error fails, one of 7 of them; 1: all
    crash.py pods [-n 20] [--seed S]       kill -9 while Pods start and while they are deleted: what was applied runs, what was
                                           deleted leaves nothing on the machine

After each fault the daemon starts again without one. Then, by INV of reliability-security 3.e: `berth fsck` finds nothing;
every image that was acknowledged is there; every image that is there mounts and equals, by lab/verify.py, the tree its
layers make; the pull that was interrupted succeeds; removing everything gives the space back. One seed replays one cycle.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import random
import re
import secrets
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import content
import daemon
import images
import pods
import registry
import verify

LIBC = ctypes.CDLL(None, use_errno=True)
SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)


def make_images(folder):
    """Six images that between them take every path: kinds of compression, several layers, links to lower layers, an index."""
    layout = images.Layout(folder)
    rnd = random.Random(7)
    big = rnd.randbytes(3 << 20) + b"x" * (5 << 20)
    base = layout.layer(images.entries(("etc/passwd", "root:x:0:0::/:/bin/sh\n"), ("usr/bin/tool", "tool" * 5000), ("a/b/c/deep", "d"), ("big", big)))
    top = layout.layer(images.entries(("a/b/new", "new"), ("a/.wh.gone", ""), ("usr/bin/.wh.tool", ""), ("etc/motd", "hello\n")), "zstd")
    # Each cycle reads every tree: names enough to fill directories of several blocks, and no more.
    many = layout.layer(images.entries(*[(f"d{i % 4}/file-with-a-longer-name-{i}", f"{i}" * (i % 300)) for i in range(600)]), "gzip-members")
    plain = layout.layer(images.entries(("plain", "p" * 100000)), "none")
    opaque = layout.layer(images.entries(("a/.wh..wh..opq", ""), ("a/only", "only")))
    made = {"gzip": [base], "zstd": [base, top], "many": [many], "plain": [plain, opaque], "all": [base, many, top, opaque, plain]}
    for name, layers in made.items():
        layout.tag(name, layout.image(layers))
    layout.tag("index", layout.index([layout.image([base, opaque]), layout.image([plain], arch="arm64")]))
    return layout, ["gzip", "zstd", "many", "plain", "all", "index"]


class Bad(Exception):
    pass


class Bench:
    """A registry that serves images, the six or others, and their expected trees. `login`: only to who has a token for the password
    of the node's config.json."""
    def __init__(self, folder, make=make_images, login=False):
        self.folder, self.login = pathlib.Path(folder), login
        self.layout, self.names = make(self.folder / "layout")
        self.want = {name: verify.expect(self.layout, name) for name in self.names}

    def __enter__(self):
        served, users = {"lab": self.layout.folder}, {"node": "canary-" + secrets.token_hex(8)}
        self.server = registry.TokenRegistry(served, users) if self.login else registry.LayoutRegistry(served)
        self.server.__enter__()
        (self.folder / "docker").mkdir()
        (self.folder / "docker/config.json").write_text(json.dumps({"auths": {self.server.host: {"username": user, "password": password}
                                                                              for user, password in users.items()} if self.login else {}}))
        return self

    def __exit__(self, *_):
        self.server.__exit__()

    def image(self, name):
        return f"{self.server.host}/lab:{name}"

    def name_of(self, image):
        return image.rsplit(":", 1)[1] if image.startswith(f"{self.server.host}/lab:") else None

    def check(self, berthd, acknowledged, pull=(), cut=False):
        """INV. `acknowledged`: names whose pull had returned success; `pull`: names that must be pullable now.

        `cut`: after a power cut kept layer blobs may be damaged. They are a cache, never synced, and hashed by whoever reads
        them (ARCHITECTURE.md 4): everything has to work beside them, and a repair has to find nothing else."""
        found = berthd.berth("fsck", "-o", "jsonl")
        findings = [json.loads(line) for line in found.stdout.splitlines()]
        if bool(found.returncode) != bool(findings) or any(not cut or one["kind"] != "blob" for one in findings):
            raise Bad(f"fsck after the fault: {found.stdout}{found.stderr}")
        present = {self.name_of(name) for image in berthd.json("images")["images"] for name in image["names"]} - {None}
        if missing := set(acknowledged) - present:
            raise Bad(f"acknowledged and lost: {missing}")
        for name in sorted(present):
            self.compare(berthd, name)
        for name in pull:
            done = berthd.berth("pull", "-q", self.image(name))
            if done.returncode:
                raise Bad(f"the next pull of {name} fails: {done.stderr}")
            self.compare(berthd, name)
        if findings:
            for command in (["fsck", "--repair"], ["fsck"]):
                done = berthd.berth(*command)
                if done.returncode:
                    raise Bad(f"{' '.join(command)} after the fault: {done.stdout}{done.stderr}")
        return present

    def differences(self, name, folder):
        return verify.compare(self.want[name], verify.scan(folder))

    def compare(self, berthd, name, image=None):
        with tempfile.TemporaryDirectory(dir=self.folder) as target:
            berthd.berth("mount", image or self.image(name), target, check=True)
            try:
                if lines := self.differences(name, target):
                    raise Bad(f"{name} is not what its layers make: {lines[:5]}")
            finally:
                berthd.berth("unmount", target, check=True)

    def empty(self, berthd):
        """Removes all; nothing but the catalog may stay."""
        for image in berthd.json("images")["images"]:
            berthd.berth("rm", "--all-names", image["id"], check=True)
        berthd.berth("reclaim", "--age", "0s", check=True)
        left = [p for sub in ("layers", "tmp", "ingest", "blobs/sha256", "writable") for p in (berthd.store / sub).glob("*")]
        if left:
            raise Bad(f"left behind: {[str(p) for p in left[:5]]}")


def points():
    names = json.loads(subprocess.run([daemon.binary("berthd", True), "--print-fault-points"], capture_output=True, text=True, check=True).stdout)
    return [n for n in names if not n.startswith("gc.")]


def settings(bench):
    return {"plainHttp": [bench.server.host], "credentials.nodeConfig": [str(bench.folder / "docker")]}


def sweep(bench, folder, chosen):
    cycles, reached = 0, set()
    if unknown := set(chosen) - set(points()):
        raise Bad(f"no points: {', '.join(unknown)}")
    for point in chosen or points():
        for name in bench.names:
            for skip in (0, 1):
                store = pathlib.Path(folder) / "sweep"
                berthd = daemon.Berthd(store, faults=True, settings=settings(bench))
                with contextlib.ExitStack() as stack:
                    stack.callback(shutil.rmtree, store, True)
                    stack.callback(berthd.stop)
                    acknowledged = []
                    other = bench.names[(bench.names.index(name) + 1) % len(bench.names)]
                    berthd.start(env={"BERTH_FAULTS": f"{point}=kill@{skip}"})
                    removal = point.startswith("remove.")
                    for step in ([name, other] if removal else [other, name] if skip else [name]):
                        if berthd.berth("pull", "-q", bench.image(step)).returncode == 0:
                            acknowledged.append(step)
                    if removal:
                        for step in (name, other)[:skip + 1]:
                            if berthd.process.poll() is None:
                                berthd.berth("rm", bench.image(step))
                            acknowledged.remove(step)  # half removed is either
                    if berthd.process.poll() is None:
                        try:
                            berthd.process.wait(0.2)
                        except subprocess.TimeoutExpired:
                            pass
                    died = berthd.process.poll() is not None
                    berthd.kill() if not died else None
                    if died:
                        reached.add(point)
                    berthd.start()
                    bench.check(berthd, acknowledged, pull=[name])
                    bench.empty(berthd)
                    cycles += 1
    unreached = [p for p in (chosen or points()) if p not in reached]
    print(f"sweep: {cycles} cycles, {len(reached)} points reached, 0 bad" + (f"; never reached: {', '.join(unreached)}" if unreached else ""))
    if unreached:
        raise Bad("a fault point of the table is never reached: the sweep would rot")


def collections_cut(bench, folder):
    """Collects all unused images and leftovers, with a kill at the first, second and fourth hit of each point on the way."""
    names = json.loads(subprocess.run([daemon.binary("berthd", True), "--print-fault-points"], capture_output=True, text=True, check=True).stdout)
    chosen, reached, cycles = [n for n in names if n.startswith(("gc.", "remove."))], set(), 0
    store = pathlib.Path(folder) / "gc"
    kubelet = pathlib.Path(folder) / "kubelet.yaml"
    kubelet.write_text(json.dumps({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "imageMinimumGCAge": "1ms"}))
    for point in chosen:
        for skip in (0, 1, 3):
            berthd = daemon.Berthd(store, faults=True, settings=settings(bench) | {"node.kubeletConfig": str(kubelet)})
            with contextlib.ExitStack() as stack:
                stack.callback(shutil.rmtree, store, True)
                stack.callback(berthd.stop)
                berthd.start()
                for name in bench.names:
                    berthd.berth("pull", "-q", bench.image(name), check=True)
                kept = bench.names[0]
                berthd.berth("pin", bench.image(kept), check=True)
                berthd.stop()
                # The round at the start of the daemon may be the one that dies.
                if berthd.start(env={"BERTH_FAULTS": f"{point}=kill@{skip}"}):
                    berthd.berth("gc", "--unused")
                    if berthd.process.poll() is None:
                        berthd.berth("reclaim", "--age", "0s")
                if berthd.process.poll() is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        berthd.process.wait(0.2)
                if berthd.process.poll() is None:
                    berthd.kill()
                else:
                    reached.add(point)
                berthd.start()
                bench.check(berthd, [kept])
                berthd.berth("gc", "--unused", check=True)
                if {bench.name_of(name) for image in berthd.json("images")["images"] for name in image["names"]} - {None} != {kept}:
                    raise Bad(f"{point}@{skip}: the next collection does not go on")
                bench.check(berthd, [kept], pull=[bench.names[1]])
                berthd.berth("unpin", bench.image(kept), check=True)
                bench.empty(berthd)
                cycles += 1
    if unreached := set(chosen) - reached:
        raise Bad(f"never reached: {', '.join(sorted(unreached))}")
    print(f"gc: {cycles} cycles, {len(reached)} points reached, 0 bad")


def pull_all(berthd, bench, names):
    """Pulls them at once; {name: process}."""
    return {name: daemon.spawn(berthd.command("pull", "-q", bench.image(name)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for name in names}


def random_kills(bench, folder, count, seed):
    rnd = random.Random(seed)
    store = pathlib.Path(folder) / "random"
    berthd = daemon.Berthd(store, faults=True, settings=settings(bench))
    acknowledged = set()
    berthd.start()
    began = time.monotonic()
    bench.check(berthd, [], pull=bench.names[:4])
    span = (time.monotonic() - began) / 4
    for cycle in range(count):
        if cycle % 10 == 0:
            bench.empty(berthd)
            acknowledged.clear()
        elif acknowledged and rnd.random() < 0.5:
            victim = rnd.choice(sorted(acknowledged))
            berthd.berth("rm", bench.image(victim), check=True)
            acknowledged.discard(victim)
        names = rnd.sample(bench.names, 4)
        running = pull_all(berthd, bench, names)
        time.sleep(rnd.uniform(0, 1.2 * span))
        berthd.kill()
        for name, process in running.items():
            if process.wait(30) == 0:
                acknowledged.add(name)
        berthd.start()
        try:
            bench.check(berthd, acknowledged, pull=[rnd.choice(names)] if cycle % 5 == 0 else [])
        except Bad as error:
            raise Bad(f"cycle {cycle} of seed {seed}: {error} (store kept: {store})") from error
    bench.empty(berthd)
    berthd.stop()
    print(f"random: {count} kills, seed {seed}, 0 bad")
    shutil.rmtree(store)


@contextlib.contextmanager
def volume(folder, size="512M"):
    """An ext4 in a loop file, mounted; yields its mount point. The file is the disk that survives the power cut."""
    disk, point = pathlib.Path(folder) / "disk.img", pathlib.Path(folder) / "mnt"
    point.mkdir(exist_ok=True)
    subprocess.run(["truncate", "-s", size, disk], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^metadata_csum_seed", disk], check=True)
    mount = lambda: subprocess.run(["mount", "-o", "loop", disk, point], check=True)
    mount()
    try:
        yield point, mount
    finally:
        subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)
        disk.unlink()


def unmount(point, seconds=20):
    """Waits until killed workers have let go: as long as the file system lives, a new mount would be the same, dead one."""
    daemon.wait("nobody uses the disk", lambda: subprocess.run(["umount", point], capture_output=True, timeout=60).returncode == 0, seconds)
    # Mount namespaces that others made meanwhile (workers, containers) had it, too: its loop device goes with the last of them.
    daemon.wait("the disk is let go", lambda: not subprocess.run(["losetup", "-j", point.parent / "disk.img"], capture_output=True, text=True,
                                                                 timeout=60).stdout, seconds)


LIE = r"""
int fsync(int fd) { (void)fd; return 0; }
int fdatasync(int fd) { (void)fd; return 0; }
int syncfs(int fd) { (void)fd; return 0; }
int sync_file_range(int fd, long a, long b, unsigned f) { (void)fd; (void)a; (void)b; (void)f; return 0; }
"""


def power_cuts(bench, folder, count, seed, lie=False):
    """Returns how many cuts left damage."""
    rnd, bad, causes = random.Random(seed), 0, []
    env = {}
    if lie:
        source, library = pathlib.Path(folder) / "lie.c", pathlib.Path(folder) / "lie.so"
        source.write_text(LIE)
        subprocess.run(["g++", "-x", "c", "-shared", "-fPIC", "-o", library, source], check=True)
        env["LD_PRELOAD"] = str(library)
    for cycle in range(count):
        with volume(folder) as (point, mount):
            berthd = daemon.Berthd(point / "berth", faults=True, settings=settings(bench), env=env, log=pathlib.Path(folder) / "berthd.log")
            berthd.start()
            names = rnd.sample(bench.names, 4)
            acknowledged = set()
            berthd.berth("pull", "-q", bench.image(names[0]), check=True)
            acknowledged.add(names[0])
            running = pull_all(berthd, bench, names[1:])
            time.sleep(rnd.uniform(0, 0.5))
            for name, process in running.items():  # what had returned by now was acknowledged
                if process.poll() == 0:
                    acknowledged.add(name)
            fd = os.open(point, os.O_RDONLY)
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", 2))  # no flush of the log, no write-back: the power is gone
            os.close(fd)
            berthd.kill()
            for process in running.values():
                process.wait(30)
            unmount(point)
            mount()
            berthd.env = {}
            try:
                if not berthd.start():
                    raise Bad(f"berthd does not start: {berthd.tail(3)}")
                bench.check(berthd, acknowledged, pull=[names[-1]], cut=True)
                bench.empty(berthd)
            except (Bad, RuntimeError) as error:
                if not lie:
                    raise Bad(f"power cut {cycle} of seed {seed}: {error}") from error
                bad += 1
                causes.append(str(error).splitlines()[0][:160])
            finally:
                berthd.stop()
    if not lie:
        print(f"power: {count} cuts, seed {seed}, 0 bad, all acknowledged images byte-identical")
    for cause in sorted(set(causes)):
        print(f"  {causes.count(cause)} x {cause}")
    return bad


def control(bench, folder, count):
    bad = power_cuts(bench, folder, count, 1, lie=True)
    print(f"control: without sync calls {bad} of {count} cuts left damage")
    if bad * 10 < count * 9:
        raise Bad("the harness does not notice missing sync calls")


CALLS = ("write", "pwrite64", "pwritev", "fsync", "fdatasync", "renameat2", "openat2", "openat", "mkdirat", "ftruncate", "pipe2", "unlinkat")
ERRORS = ("ENOSPC", "EIO", "EMFILE", "EINTR", "ENOMEM")
# What a failed system call is (host/fd.h): no fault of the image's, of the registry's or of ours.
BLAMED = {"ENOSPC": {"E-IO", "E-ENOSPC"}, "EIO": {"E-IO"}, "EINTR": {"E-IO"}, "EMFILE": {"E-IO", "E-UNAVAILABLE"}, "ENOMEM": {"E-IO", "E-UNAVAILABLE"}}
FORMS = ("erofs", "tree")


def small_images(folder):
    """The same small tree in each compression: enough for several buffers, an opaque directory and a whiteout above."""
    layout, data = images.Layout(folder), random.Random(5).randbytes(300_000) + b"x" * 300_000
    for kind, compression in (("plain", "none"), ("gzip", "gzip"), ("zstd", "zstd")):
        lower = images.entries(("etc/", None), ("etc/motd", kind), ("a/", None), ("a/b/", None), ("a/b/deep", "d" * 5000), ("data", data))
        upper = images.entries(("a/", None), ("a/.wh..wh..opq", ""), ("a/new", "n"), ("etc/", None), ("etc/.wh.motd", ""))
        layout.tag(kind, layout.image([layout.layer(lower, compression), layout.layer(upper, compression)]))
    return layout, ["plain", "gzip", "zstd"]


@contextlib.contextmanager
def strace(berthd, calls, *more):
    """Traces the daemon and its workers from now on; yields a function that ends it and gives {thread: its lines}."""
    log = berthd.folder / "strace"
    tracer = daemon.spawn(["strace", "-f", "-e", f"trace={calls}", *more, "-o", log, "-p", berthd.process.pid], stderr=subprocess.PIPE, text=True)

    def finish():
        daemon.end(tracer)  # which leaves the daemon alone
        lines = collections.defaultdict(list)
        for line in log.read_text(errors="replace").splitlines():
            lines[line.split(None, 1)[0]].append(line)
        return lines
    with tracer, contextlib.ExitStack() as stack:
        stack.callback(daemon.end, tracer)
        if "attached" not in (line := tracer.stderr.readline()):
            raise Bad(f"strace does not attach: {line}")
        yield finish


def count_calls(bench, form, name, folder):
    """{call: how often the thread that makes it most often does so} in a pull. strace counts each thread's calls on their own: the n-th
    fails in every thread that gets there."""
    with daemon.Berthd(folder, faults=True, settings=settings(bench) | {"form": form}) as berthd, strace(berthd, ",".join(CALLS)) as finish:
        done = berthd.berth("pull", "-q", bench.image(name))
        if done.returncode:
            raise Bad(f"a traced pull fails: {done.stderr}")
        threads = finish().values()
    shutil.rmtree(folder)
    return {call: max(sum(f" {call}(" in line for line in lines) for lines in threads) for call in CALLS}


def fail_call(bench, folder, form, name, call, n, error, restart):
    """One pull with one error. (How often it came, whether the pull failed.)"""
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, True)
        berthd = stack.enter_context(daemon.Berthd(folder, faults=True, settings=settings(bench) | {"form": form}))
        # A call of number -1, which strace makes of it otherwise, would be the end of a worker: its filter knows getpid, and not that one.
        with strace(berthd, call, "-e", f"inject={call}:error={error}:when={n}:syscall=getpid") as finish:
            done = berthd.berth("pull", "-q", "--progress", "none", bench.image(name), timeout=90)
            came = sum("(INJECTED)" in line for lines in finish().values() for line in lines)
        said = re.search(r"^error: (E-[A-Z0-9-]+)", done.stderr, re.M)
        if berthd.process.poll() is not None:
            raise Bad(f"the daemon ended ({berthd.process.returncode}): {berthd.tail(5)}")
        if done.returncode and (not said or said[1] not in BLAMED[error]):
            raise Bad(f"exit {done.returncode}: {done.stderr.strip()}")
        if done.returncode and not came:
            raise Bad(f"fails without a fault: {done.stderr.strip()}")
        if not restart:  # the daemon that has seen the error is as good as a new one
            bench.check(berthd, [name] * (done.returncode == 0), pull=[name])
        berthd.kill()
        berthd.start()
        bench.check(berthd, [name] * (done.returncode == 0 or not restart), pull=[name])
        bench.empty(berthd)
        return came, done.returncode != 0


def errors(folder, every, seed):
    """Each call of a small pull x each error: all of them with each image in each form, or one in `every`, images and forms in turn."""
    folder = pathlib.Path(folder) / "errors"
    with Bench(folder, small_images, login=True) as bench:
        ways = [(form, name) for name in bench.names for form in FORMS]
        counts = [count_calls(bench, *way, folder / "count") for way in ways]
        product = [(call, n, error) for call in CALLS for n in range(1, max(count[call] for count in counts) + 1) for error in ERRORS]
        chosen = random.Random(seed).sample(product, -(-len(product) // every))
        work = [(*way, *one) for one in chosen for way in ways] if every == 1 else [(*ways[i % len(ways)], *one) for i, one in enumerate(chosen)]
        good, bad = [], []

        def run(i):
            try:
                good.append(fail_call(bench, folder / f"run{i}", *work[i], restart=i // len(ways) % 2))
            except (Bad, RuntimeError, subprocess.TimeoutExpired) as problem:
                bad.append(f"{' '.join(map(str, work[i]))}: {problem}")
                print(f"  BAD {bad[-1]}", flush=True)
        try:
            with concurrent.futures.ThreadPoolExecutor(3) as pool:  # most of a run is waiting for disks and processes
                list(pool.map(run, range(len(work))))
        finally:  # whatever ends it
            print(f"errors: {len(chosen)} of {len(product)} calls x errors, seed {seed}: {len(good) + len(bad)} of {len(work)} runs, a fault in "
                  f"{sum(came > 0 for came, _ in good)}, {sum(failed for _, failed in good)} pulls failed cleanly, {len(bad)} bad", flush=True)
    if bad:
        raise Bad(f"{len(bad)} runs")


def pod_kills(folder, count, seed):
    """Two Pods a cycle. What `berth apply` and `berth delete` have acknowledged holds, whenever the daemon dies after it."""
    rnd = random.Random(seed)
    store = pathlib.Path(folder) / "pods"
    layout = images.Layout(pathlib.Path(folder) / "busybox")
    content.busybox(layout)
    with registry.LayoutRegistry({"web": layout.folder}) as server:
        berthd = daemon.Berthd(store, faults=True, settings={"plainHttp": [server.host], "node.name": "lab"})
        berthd.start()
        world = pods.Pods(berthd)

        def die(most):
            time.sleep(rnd.uniform(0, most))
            berthd.kill()
            if not berthd.start():
                raise Bad(f"the daemon does not start again: {berthd.tail()}")
        try:
            for cycle in range(count):
                names = [f"p{cycle}-{i}" for i in range(2)]
                world.apply(*[pods.pod(name, f"{server.host}/web:v1", "echo up; sleep 1000", imagePullPolicy="Always",
                                       terminationGracePeriodSeconds=1) for name in names])
                die(1.5)
                for name in names:
                    world.until(name, "Running")
                    world.wait(f"{name} says something", lambda name=name: berthd.berth("logs", name).stdout)
                    said = berthd.berth("logs", name).stdout
                    restarts = world.get(name)["status"]["containerStatuses"][0]["restartCount"]
                    if said != "up\n" or restarts:
                        raise Bad(f"cycle {cycle} of seed {seed}: {name} started {restarts + 1} times and says {said!r}")
                for name in names:
                    berthd.berth("delete", "pod", name, "--no-wait", check=True)
                die(1.5)
                world.wait("the Pods are gone", lambda: not any(world.get(name) for name in names))
                world.wait("nothing of them is left", lambda: not world.leftovers())
        except RuntimeError as error:
            raise Bad(f"cycle {cycle} of seed {seed}: {error}, left: {world.leftovers()} (store kept: {store})") from error
        berthd.stop()
    print(f"pods: {2 * count} kills, seed {seed}, 0 bad")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["sweep", "gc", "random", "power", "control", "errors", "pods"])
    parser.add_argument("-n", type=int)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100000)
    parser.add_argument("--points", type=lambda s: s.split(","), default=[])
    parser.add_argument("--every", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="berth-crash-", ignore_cleanup_errors=True) as folder, Bench(folder, login=True) as bench:
        work = {"sweep": lambda: sweep(bench, folder, args.points), "gc": lambda: collections_cut(bench, folder),
                "random": lambda: random_kills(bench, folder, args.n or 500, args.seed),
                "power": lambda: power_cuts(bench, folder, args.n or 50, args.seed), "control": lambda: control(bench, folder, args.n or 10),
                "errors": lambda: errors(folder, args.every, args.seed), "pods": lambda: pod_kills(folder, args.n or 20, args.seed)}
        for name in args.what:
            began = time.monotonic()
            try:
                work[name]()
            except Bad as error:
                sys.exit(f"{name}: BAD: {error}")
            print(f"  {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
