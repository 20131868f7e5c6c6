#!/usr/bin/env python3
"""lab/bench_cri.py: what a kubelet asks all day, from berthd and from the CRI plug-in of Debian's containerd, with the same images.

    BERTH_BIN=build/dev/src/apps lab/bench_cri.py [--images 1000] [-n 300] [--rounds 3]

Both pull the same tiny images by CRI, from the same registry, into stores of their own; both then serve the same client
(src/cri/cri_client.cc: one connection, one call at a time) in turn, alone and 50 of them at once. Reported are medians of the rounds' medians, and of
their 99th percentiles, in milliseconds. Writes the section "CRI" of bench/RESULTS.md and "cri" of bench/results.json.
"""
import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import baseline
import daemon
import images
import registry

MARK = "## CRI"
CROWD = 50
LIMITS = {"ListImages": 5, "ImageStatus": 1}  # ms


def prepare(folder, count):
    """`count` repositories, each with one image of two shared layers and one of its own."""
    layout = images.Layout(folder)
    base = layout.layer(images.entries(("etc", None), ("etc/base", "b" * 4096)))
    groups = [layout.layer(images.entries((f"g{n}", "g" * 1024))) for n in range(10)]
    made = {}
    for n in range(count):
        own = layout.layer(images.entries((f"own{n}", f"{n}")))
        made[f"team{n % 7}/app{n}"] = layout.image([base, groups[n % 10], own], config={
            "User": str(1000 + n % 50), "Env": ["PATH=/bin"], "Labels": {"n": str(n)}})
    return layout, made


class Served(registry.LayoutRegistry):
    """Every repository's tag v1 is its image: one layout for all."""
    def __init__(self, layout, made):
        super().__init__(dict.fromkeys(made, layout.folder))
        self.layout, self.made = layout, made

    def _find(self, path):
        repository = path.removeprefix("/v2/").split("/manifests/")[0]
        if path.endswith("/manifests/v1") and repository in self.made:
            made = self.made[repository]
            return self.layout.path(made["digest"]), made["mediaType"]
        return super()._find(path)


class Containerd(baseline.Containerd):
    def __enter__(self):
        self.folder.mkdir(parents=True)
        self.socket = self.folder / "sock"
        try:
            self.start("", f'[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "{self.hosts_folder()}"\n')
            daemon.wait("CRI answers", lambda: client(self, "list", 1).returncode == 0, tell=(self.folder / "daemon.log").read_text)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def process(self):
        return self.daemon


class Berth(daemon.Berthd):
    name = "berth"


def client(system, *args):
    return subprocess.run([daemon.binary("cri_client", of="cri"), str(system.socket), *map(str, args)], capture_output=True, text=True, timeout=1800)


def ask(system, *args):
    done = client(system, *args)
    if done.returncode:
        raise RuntimeError(f"{system.name}: {done.stderr}")
    return done.stdout


def ask_all(system, clients, *args):
    """The same by many at once: the median of their medians, the worst of their 99th percentiles."""
    with contextlib.ExitStack() as stack:
        argv = [daemon.binary("cri_client", of="cri"), str(system.socket), *map(str, args)]
        running = [stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)) for _ in range(clients)]
        said = [process.communicate(timeout=600) for process in running]
        if failed := [error for process, (_, error) in zip(running, said) if process.returncode]:
            raise RuntimeError(f"{system.name}: {failed[0]}")
    runs = [json.loads(out) for out, _ in said]
    return {"median": statistics.median(run["median"] for run in runs), "p99": max(run["p99"] for run in runs)}


def memory(system):
    return daemon.status(system.process.pid, "VmRSS")[0] / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("-n", type=int, default=300, help="calls in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-priority", action="store_true", help="see lab/baseline.py")
    args = parser.parse_args()
    if not args.no_priority:
        baseline.take_priority()
    facts, results = {}, {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        folder = pathlib.Path(folder)
        layout, made = prepare(folder / "layout", args.images)
        with Served(layout, made) as server:
            names = [f"{server.host}/{repository}:v1" for repository in made]
            with Containerd(folder / "containerd", server.host) as containerd, \
                    Berth(folder / "berth", settings={"plainHttp": [server.host], "log.level": "info"}) as berth:
                systems = [berth, containerd]
                for system in systems:
                    start = time.monotonic()
                    for at in range(0, len(names), 500):
                        ask(system, "pull", *names[at:at + 500])
                    facts[system.name] = {"pull_seconds": round(time.monotonic() - start, 1), "memory_mib": round(memory(system), 1)}
                for _ in range(args.rounds):
                    for system in systems:
                        for call, clients, ask_for in (("ListImages", 1, ["list", args.n]), ("ImageStatus", 1, ["status", args.n, *names[::10]]),
                                                       (f"ListImages, {CROWD} clients", CROWD, ["list", args.n // 10]),
                                                       (f"ImageStatus, {CROWD} clients", CROWD, ["status", args.n // 10, *names[::10]])):
                            results.setdefault((call, system.name), []).append(ask_all(system, clients, *ask_for))
    rows = {call: {name: {key: round(statistics.median(run[key] for run in results[call, name]), 4) for key in ("median", "p99")}
                   for name in ("berth", "containerd")} for call, _ in results}
    kept = {"images": args.images, "calls": args.n, "rounds": args.rounds, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "load": round(os.getloadavg()[0], 1), "systems": facts, "calls_ms": rows}
    write(kept)


def section(kept):
    lines = [MARK, "", f"Made by `lab/bench_cri.py` on {kept['time']}: {kept['images']} images, {kept['rounds']} rounds of {kept['calls']} calls one after the other (a tenth for each of many clients), "
             f"load {kept['load']}.", "x: containerd's median divided by berth's.", "",
             "| call | berth ms (p99) | containerd ms (p99) | x | to stay under ms |", "|---|---|---|---|---|"]
    for call, both in kept["calls_ms"].items():
        ours, theirs, limit = both["berth"], both["containerd"], LIMITS.get(call, "")
        lines.append(f"| {call} | {ours['median']:.2f} ({ours['p99']:.2f}) | {theirs['median']:.2f} ({theirs['p99']:.2f}) | "
                     f"{theirs['median'] / ours['median']:.1f} | {limit} |")
    facts = kept["systems"]
    lines += ["", "Pulling them one after the other by CRI: " + ", ".join(f"{name} {facts[name]['pull_seconds']} s" for name in facts) +
              ". Resident after that: " + ", ".join(f"{name} {facts[name]['memory_mib']} MiB" for name in facts) + ".", ""]
    return lines


def write(kept):
    baseline.record(daemon.ROOT / "bench/results.json", cri=kept)
    page = daemon.ROOT / "bench/RESULTS.md"
    text = page.read_text() if page.exists() else "# Measured\n"
    page.write_text(text.split(MARK)[0].rstrip() + "\n\n" + "\n".join(section(kept)))
    print("\n".join(section(kept)))


if __name__ == "__main__":
    main()
