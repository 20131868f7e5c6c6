#!/usr/bin/env python3
"""lab/baseline.py: measures image pulls: Debian's containerd, podman and skopeo, and whatever --more adds, in turn.

    baseline.py [--images base,large,seven,zstd,small] [--systems NAME,...] [-n 5] [--json OUT] [--more FILE.py] [--volume loop|dir]

Each run: a fresh store (an empty ext4 on a loop device with direct I/O, or with --volume dir an empty folder), a started
daemon, `sync`, then the pull from Debian's docker-registry on loopback (plain HTTP, its blobs in the page cache). Rounds
take every system once, in an order that rotates. Reported are medians of
  wall    seconds of the pull command as its user sees it      sync    seconds of a syncfs of the store right after it
  cpu     user + system seconds of client, daemon and their children (not of the registry and of kernel threads)
  peak    MB: VmHWM of the daemon (reset before the pull), or of the client's largest process where there is none
  others  CPU seconds that the rest of the machine burned meanwhile: the noise of this number (registry included)
As root, all of it (registry, daemons, clients) runs at nice -15 in a scheduling group of its own, so that other work on a
shared machine disturbs every system little and alike; --no-priority leaves that out.
A system is a subclass of System; FILE.py given by --more defines SYSTEMS = [class, ...] (lab/ is on its sys.path).
"""
import argparse
import contextlib
import ctypes
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import content
import daemon as lab_daemon
import images
import registry

LIMIT = 900  # seconds for one pull
LIBC = ctypes.CDLL(None, use_errno=True)


class System:
    """One way to pull. `folder` is an empty store on the volume; `command` is the pull that is timed."""
    name = ""
    env = {}

    def __init__(self, folder, registry_host):
        self.folder, self.host, self.daemon = pathlib.Path(folder), registry_host, None

    def start(self):
        """Starts a daemon, if there is one, and returns when it answers; sets self.daemon to its Popen."""

    def command(self, repo, tag):
        raise NotImplementedError

    def stop(self):
        if self.daemon:
            lab_daemon.end(self.daemon)

    @classmethod
    def usable(cls):
        return True

    def spawn_daemon(self, argv, socket_path, env=None):
        """Starts argv with its output in daemon.log; returns when a Unix socket accepts (polled: foreign daemons say nothing)."""
        with open(self.folder / "daemon.log", "wb") as log:
            self.daemon = lab_daemon.spawn(argv, stdout=log, stderr=log, env=os.environ | self.env | (env or {}))
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.daemon.poll() is None:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    return probe.connect(str(socket_path))
                except OSError:
                    time.sleep(0.02)
        raise RuntimeError(f"{argv[0]} did not start: {(self.folder / 'daemon.log').read_text()[-800:]}")


class Containerd(System):
    """ctr images pull: download into the content store and unpack into the snapshotter; PATH has unpigz, which it uses."""
    name, options = "containerd", ()

    def start(self, settings='disabled_plugins = ["io.containerd.grpc.v1.cri"]\n', tables=""):
        config = self.folder / "config.toml"
        config.write_text(f'version = 2\nroot = "{self.folder}/root"\nstate = "{self.folder}/state"\n{settings}'
                          f'[grpc]\naddress = "{self.folder}/sock"\n{tables}')
        self.spawn_daemon(["containerd", "--config", str(config)], self.folder / "sock")

    def hosts_folder(self):
        """One that says: plain HTTP."""
        hosts, url = self.folder / "hosts" / self.host, f"http://{self.host}"
        hosts.mkdir(parents=True, exist_ok=True)
        (hosts / "hosts.toml").write_text(f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n')
        return hosts.parent

    def command(self, repo, tag):
        return ["ctr", "--address", f"{self.folder}/sock", "images", "pull", "--plain-http", *self.options, f"{self.host}/{repo}:{tag}"]


class ContainerdNoPigz(Containerd):
    """Its own Go inflate."""
    name, env = "containerd-go-gzip", {"CONTAINERD_DISABLE_PIGZ": "1"}


class ContainerdHosts(Containerd):
    """The registry named by --hosts-dir, and 8 downloads at once."""
    name = "containerd-hosts-8"

    def command(self, repo, tag):
        return ["ctr", "--address", f"{self.folder}/sock", "images", "pull", "--hosts-dir", str(self.hosts_folder()),
                "--max-concurrent-downloads", "8", f"{self.host}/{repo}:{tag}"]


class ContainerdNative(Containerd):
    """Plain directories; a copy of the lower layers for each layer."""
    name, options = "containerd-native", ("--snapshotter", "native")


class ContainerdIgzip(Containerd):
    """ISA-L's igzip under the name unpigz: not a setting, but the fastest decoder this version can be given."""
    name = "containerd-igzip"

    @classmethod
    def _folder(cls):
        kept = content.cache() / "igzip"
        if not kept.exists():
            with tempfile.TemporaryDirectory() as work:
                deb, = content.Apt(os.path.join(work, "apt"), "amd64").debs("isal", needs=False)
                subprocess.run(["dpkg-deb", "-x", deb, os.path.join(work, "root")], check=True)
                shutil.copytree(os.path.join(work, "root/usr/bin"), kept)
            os.symlink("igzip", kept / "unpigz")
        return kept

    @classmethod
    def usable(cls):
        try:
            return bool(cls._folder())
        except (RuntimeError, OSError, ValueError):
            return False

    def start(self):
        self.env = {"PATH": f"{self._folder()}:{os.environ['PATH']}"}
        super().start()


class Podman(System):
    name = "podman"

    def command(self, repo, tag):
        (self.folder / "tmp").mkdir(exist_ok=True)
        return ["env", f"TMPDIR={self.folder}/tmp", "podman", "--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run",
                "--storage-driver", "overlay", "pull", "-q", "--tls-verify=false", f"{self.host}/{repo}:{tag}"]


class SkopeoDir(System):
    """Download and verify only: nothing is unpacked."""
    name, target = "skopeo-dir", "dir:{}/image"

    def command(self, repo, tag):
        return ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{self.host}/{repo}:{tag}", self.target.format(self.folder)]


class SkopeoOci(SkopeoDir):
    name, target = "skopeo-oci", "oci:{}/image:x"


SYSTEMS = [Containerd, ContainerdNoPigz, ContainerdHosts, ContainerdNative, ContainerdIgzip, Podman, SkopeoDir, SkopeoOci]


class Volume:
    """A store's place: fresh() empties it. loop: an ext4 of its own, so that a run neither re-uses nor waits for the inodes
    that the run before it has deleted (ext4 avoids recently deleted ones: containerd's `base` takes 2.2 s on a fresh file
    system and 6.5 s in a folder where other runs were just deleted). Its mounts are in a mount name
    space of this process, so that no other process that makes one of its own keeps them busy."""
    def __init__(self, kind):
        self.kind = kind

    def __enter__(self):
        if LIBC.unshare(0x20000):  # CLONE_NEWNS
            raise OSError(ctypes.get_errno(), "unshare: needs root")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="bl-", dir=os.environ.get("TMPDIR", "/var/tmp")))
        self.point, self.device = self.work / "v", None
        self.point.mkdir()
        if self.kind == "loop":
            with open(self.work / "image", "wb") as file:
                file.truncate(24 << 30)
            self.device = subprocess.run(["losetup", "--find", "--show", "--direct-io=on", self.work / "image"],
                                         check=True, capture_output=True, text=True).stdout.strip()
        return self

    def fresh(self):
        self._unmount()
        if self.device:
            subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", self.device], check=True)
            subprocess.run(["mount", "-o", "noatime", self.device, self.point], check=True)
        else:
            shutil.rmtree(self.point)
            self.point.mkdir()
        folder = self.point / "s"
        folder.mkdir()
        os.sync()
        return folder

    def sync(self):
        began, fd = time.monotonic(), os.open(self.point, os.O_RDONLY)
        LIBC.syncfs(fd)
        os.close(fd)
        return time.monotonic() - began

    def _unmount(self):
        lab_daemon.unmount_below(self.work)  # the store and what is mounted in it

    def __exit__(self, *_):
        self._unmount()
        if self.device:
            subprocess.run(["losetup", "-d", self.device], check=False)
        shutil.rmtree(self.work, ignore_errors=True)


def run_once(system, repo, tag, volume):
    """One measured pull of a started system."""
    daemon = system.daemon.pid if system.daemon else None
    if daemon:
        pathlib.Path(f"/proc/{daemon}/clear_refs").write_text("5")
    argv, before = system.command(repo, tag), lab_daemon.cpu_of(daemon) if daemon else 0

    def give_up(*_):
        client.kill()
        raise TimeoutError(f"{system.name}: no pull within {LIMIT} s")
    signal.signal(signal.SIGALRM, give_up)
    load, busy = os.getloadavg()[0], lab_daemon.machine_cpu()
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        client = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ | system.env)
        signal.alarm(LIMIT)
        _, status, usage = os.wait4(client.pid, 0)
        signal.alarm(0)
        wall = time.monotonic() - began
        client.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        if client.returncode:
            said = output.read()[-800:].decode(errors="replace")
            raise RuntimeError(f"{system.name}: {' '.join(argv)}: status {client.returncode}: {said}")
    cpu = usage.ru_utime + usage.ru_stime + ((lab_daemon.cpu_of(daemon) - before) if daemon else 0)
    peak = usage.ru_maxrss
    if daemon:
        peak, = lab_daemon.status(daemon, "VmHWM")
    return {"wall": wall, "cpu": cpu, "peak": peak * 1024 / 1e6, "others": lab_daemon.machine_cpu() - busy - cpu, "sync": volume.sync(), "load": load}


def measure(chosen, wanted, rounds, volume_kind, say, results):
    """Fills `results` = {image: {system: [run, ...]}}; a system that fails is reported by `say` and left out of that image."""
    layout = content.bench(*wanted)
    with registry.Registry() as source, Volume(volume_kind) as volume:
        for image in wanted:
            images.push(layout, source.url, "bench/" + image, image)
            for layer in layout.manifest(image)["layers"]:  # warm
                with urllib.request.urlopen(f"{source.url}/v2/bench/{image}/blobs/{layer['digest']}") as answer:
                    while answer.read(1 << 20):
                        pass
            systems, results[image] = list(chosen), {}
            for turn in range(rounds):
                for kind in systems[turn % len(systems):] + systems[:turn % len(systems)]:
                    system = kind(volume.fresh(), source.host)
                    try:
                        system.start()
                        os.sync()
                        run = run_once(system, "bench/" + image, image, volume)
                    except (RuntimeError, OSError) as error:
                        say(f"{image} {kind.name}: {error}")
                        systems.remove(kind)
                        continue
                    finally:
                        system.stop()
                    results[image].setdefault(kind.name, []).append(run)
                    say(f"{image} {kind.name} {turn + 1}/{rounds}: " + " ".join(f"{k} {v:.2f}" for k, v in run.items()))
    return results


def table(results, reference="containerd"):
    lines = ["| image | system | n | wall s (min - max) | x | cpu s | x | peak MB | sync s | others s | load |", "|---" * 11 + "|"]
    for image, systems in results.items():
        def median(name, key):
            return statistics.median(run[key] for run in systems[name])
        for name, runs in systems.items():
            walls = [run["wall"] for run in runs]
            ratio = [f"{median(reference, key) / median(name, key):.2f}" if reference in systems else "" for key in ("wall", "cpu")]
            lines.append(f"| {image} | {name} | {len(runs)} | {median(name, 'wall'):.2f} ({min(walls):.2f} - {max(walls):.2f}) | "
                         f"{ratio[0]} | "
                         f"{median(name, 'cpu'):.2f} | {ratio[1]} | {median(name, 'peak'):.0f} | {median(name, 'sync'):.2f} | "
                         f"{median(name, 'others'):.1f} | {median(name, 'load'):.1f} |")
    return "\n".join(lines)


def machine():
    def first(*argv):
        try:
            return subprocess.run(argv, capture_output=True, text=True).stdout.strip().splitlines()[0]
        except (OSError, IndexError):
            return ""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "")
    return {"cpu": model, "cores": os.cpu_count(), "kernel": os.uname().release, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": {"containerd": first("containerd", "--version"), "podman": first("podman", "--version"),
                         "skopeo": first("skopeo", "--version"), "registry": first("docker-registry", "--version")}}


def record(path, **what):
    """Writes it beside what else a file of results has."""
    path = pathlib.Path(path)
    path.parent.mkdir(exist_ok=True)
    kept = (json.loads(path.read_text()) if path.exists() else {}) | what
    path.write_text(json.dumps(kept, indent=1) + "\n")
    return kept


def take_priority():
    with contextlib.suppress(OSError):
        os.setsid()  # a session is a scheduling group (autogroup)
        pathlib.Path("/proc/self/autogroup").write_text("-19")
    with contextlib.suppress(OSError):
        os.nice(-15)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default=",".join(content.BENCH))
    parser.add_argument("--systems", help="names, separated by commas; default: all that can run here")
    parser.add_argument("--more", action="append", default=[], help="a Python file with SYSTEMS")
    parser.add_argument("-n", type=int, default=5)
    parser.add_argument("--volume", choices=("loop", "dir"), default="loop")
    parser.add_argument("--json", help="where to write every run, beside what else is in the file")
    parser.add_argument("--no-priority", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds: daemons, mounts, loop device, folders
    if not options.no_priority:
        take_priority()
    known = list(SYSTEMS)
    for path in options.more:
        spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        known += module.SYSTEMS
    names = options.systems.split(",") if options.systems else [kind.name for kind in known]
    chosen = [kind for kind in known if kind.name in names and kind.usable()]
    results, facts = {}, machine()
    try:
        measure(chosen, options.images.split(","), options.n, options.volume, lambda line: print(line, file=sys.stderr,
                flush=True), results)
    finally:
        if options.json:
            record(options.json, machine=facts, volume=options.volume, runs=results)
        print(f"{facts['cpu']}, {facts['cores']} cores, kernel {facts['kernel']}, store on {options.volume}; {facts['versions']}\n")
        print(table(results))


if __name__ == "__main__":
    main()
