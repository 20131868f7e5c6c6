#!/usr/bin/env python3
"""lab/content.py: real image contents from Debian packages, cached in $BERTH_LAB_CACHE (default /var/cache/berth-lab).

    content.py minbase              a bookworm base system: prints the path of its tar
    content.py busybox LAYOUT TAG   a two-layer linux/amd64 + linux/arm64 image; says where its arm64 half came from
    content.py bench [NAME...]      the benchmark images (base large seven zstd small) as tags of one OCI layout

The mirror is the one apt uses on this machine, read at run time. What is in the cache is used as it is, without network.
"""
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile

import images

SUITE = "bookworm"
# The contents of `large` and `small`: these packages with all they need beyond minbase, unpacked, not configured.
LARGE = ("python3-numpy", "nodejs", "openjdk-17-jre-headless", "g++", "clang-14", "postgresql-15", "nginx-light")
SMALL = ("libboost1.81-dev", "papirus-icon-theme")
BENCH = ("base", "large", "seven", "zstd", "small")


def cache():
    folder = pathlib.Path(os.environ.get("BERTH_LAB_CACHE", "/var/cache/berth-lab"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _locked(name):
    """One builder of a cache item at a time, over all processes."""
    with open(cache() / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*argv, **more):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv[:6])} …: status {done.returncode}: {done.stdout[-500:]}")
    return done.stdout


def mirror():
    """(URI, key ring or "") of Debian's SUITE as apt on this machine has it."""
    wanted = "$(REPO_URI)|$(CODENAME)|$(COMPONENT)|$(SIGNED_BY)|$(ORIGIN)|$(RELEASE)"
    for line in _run("apt-get", "indextargets", "--format", wanted, "Created-By: Packages").splitlines():
        uri, codename, component, ring, origin, release = (line.split("|") + [""] * 6)[:6]
        if codename == SUITE and component == "main" and origin in ("Debian", "") and release in (SUITE, "stable", "oldstable"):
            return uri, ring if ring.startswith("/") else ""
    raise RuntimeError(f"apt has no index of {SUITE}: run apt-get update")


class Apt:
    """apt with private lists, cache and package state, so that nothing of the machine's own is read or changed."""
    def __init__(self, folder, arch, status=""):
        self.folder = pathlib.Path(folder)
        uri, ring = mirror()
        for name in ("state/lists/partial", "cache/archives/partial", "etc"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "status").write_text(status)
        (self.folder / "etc/sources.list").write_text(f"deb [arch={arch}{' signed-by=' + ring if ring else ''}] {uri} {SUITE} main\n")
        options = {"Dir::State": "state", "Dir::State::status": "status", "Dir::Cache": "cache", "Dir::Etc::sourcelist": "etc/sources.list"}
        self.options = [f"-o={key}={self.folder / value}" for key, value in options.items()] + [
            "-o=Dir::Etc::sourceparts=-", "-o=Dir::Etc::preferencesparts=-", f"-o=APT::Architecture={arch}",
            f"-o=APT::Architectures={arch}", "-o=APT::Sandbox::User=root", "-o=Acquire::Languages=none", "-qq"]
        self.get("update")

    def get(self, *args):
        return _run("apt-get", *self.options, *args, cwd=self.folder, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})

    def debs(self, *packages, needs=True):
        """Downloads `packages` (and what they need that is not in the state); their .deb files, sorted by name."""
        if needs:
            self.get("install", "-y", "--no-install-recommends", "--download-only", *packages)
            return sorted((self.folder / "cache/archives").glob("*.deb"))
        self.get("download", *packages)
        return sorted(self.folder.glob("*.deb"))


def minbase(arch="amd64"):
    """The path of a tar of debootstrap --variant=minbase, without device nodes, downloaded packages and lists."""
    path = cache() / f"minbase-{SUITE}-{arch}.tar"
    with _locked(path.name):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=cache()) as work:
                root = os.path.join(work, "root")
                _run("debootstrap", "--variant=minbase", f"--arch={arch}", SUITE, root, mirror()[0])
                shutil.rmtree(os.path.join(root, "var/cache/apt/archives"))
                with open(path.with_suffix(".new"), "wb") as out:
                    images.tree({root: ""}, lambda name: not name.startswith(("dev/", "proc/", "sys/", "var/lib/apt/lists/",
                            "var/cache/apt/"))
                                and not name.startswith("var/log/"))(out)
            os.replace(path.with_suffix(".new"), path)
    return path


def _packages(name, packages):
    """A folder with root/ = the files of `packages` and of what they need beyond minbase, and "source" = their versions."""
    folder = cache() / name
    with _locked(name):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache()) as work:
                root = pathlib.Path(work, "root")
                root.mkdir()
                with tarfile.open(minbase()) as tar:
                    status = tar.extractfile("var/lib/dpkg/status").read().decode()
                debs = Apt(pathlib.Path(work, "apt"), "amd64", status).debs(*packages)
                for deb in debs:
                    _run("dpkg-deb", "-x", str(deb), str(root / "root"))
                for merged in ("bin", "lib", "lib64", "sbin"):  # links to /usr in minbase
                    if (root / "root" / merged).is_dir():
                        os.makedirs(root / "root/usr" / merged, exist_ok=True)
                        _run("cp", "-al", f"{root}/root/{merged}/.", f"{root}/root/usr/{merged}/")
                        shutil.rmtree(root / "root" / merged)
                (root / "source").write_text("".join(f"{deb.stem}\n" for deb in debs))
                os.replace(root, folder)
    return folder


def _listing(folder):
    """(path on disk, name in the image, bytes) of all below folder, sorted; each directory before what is in it."""
    return [(path, name, os.lstat(path).st_size if stat.S_ISREG(os.lstat(path).st_mode) else 0)
            for path, name in images._walk(str(folder), "") if name]


def _slices(listing, count):
    """Cuts a listing in `count` runs of about equal bytes; each begins with the parents of its first objects again."""
    total, done, cuts = sum(size + 512 for *_, size in listing), 0, [[] for _ in range(count)]
    folders = {name: (path, name) for path, name, _ in listing if os.path.isdir(path) and not os.path.islink(path)}
    for path, name, size in listing:
        cut, part = cuts[min(count - 1, done * count // total)], name.split("/")
        if not cut:
            cut += [folders["/".join(part[:n])] for n in range(1, len(part))]
        cut.append((path, name))
        done += size + 512
    return cuts


def bench(*wanted):
    """The OCI layout that holds the benchmark images (default: all) as tags."""
    layout = images.Layout(cache() / "bench")
    layers = layout.folder / "layers.json"  # the finished layers by name: rebuilt images re-use them
    def layer(name, source, compression="gzip"):
        known = json.loads(layers.read_text()) if layers.exists() else {}
        if name not in known:
            known[name] = layout.layer(source(), compression)
            layers.write_text(json.dumps(known, indent=1))
        return known[name]
    def large():
        return _packages("packages-large", LARGE) / "root"
    def seven():
        cuts = []
        def cut(n):
            cuts.extend([] if cuts else _slices(_listing(large()), 7))
            return images.names(cuts[n])
        return [layer("base", minbase)] + [layer(f"seven-{n}", lambda n=n: cut(n)) for n in range(7)]
    recipes = {"base": lambda: [layer("base", minbase)],
               "large": lambda: [layer("large", lambda: images.tree({large(): ""}))],
               "seven": seven,
               "zstd": lambda: [layer("zstd", lambda: images.tree({large(): ""}), "zstd")],
               "small": lambda: [layer("small", lambda: images.tree({_packages("packages-small", SMALL) / "root": ""}))]}
    with _locked("bench"):
        for name in wanted or BENCH:
            layout.tag(name, layout.image(recipes[name]()))
    return layout


def _arm64_busybox(work):
    """(path, "debian") of arm64's busybox by a private apt, or (this machine's, "synthetic") when that is not reachable."""
    kept = cache() / "busybox-arm64"
    with _locked(kept.name):
        if not kept.exists():
            try:
                deb, = Apt(os.path.join(work, "apt"), "arm64").debs("busybox-static", needs=False)
                _run("dpkg-deb", "-x", str(deb), os.path.join(work, "arm64"))
                shutil.copyfile(os.path.join(work, "arm64/bin/busybox"), kept.with_suffix(".new"))
                os.replace(kept.with_suffix(".new"), kept)
            except (RuntimeError, OSError, ValueError):
                return "/bin/busybox", "synthetic"
    return str(kept), "debian"


def _busybox_root(binary, root):
    for folder, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("usr/share/www", 0o755),
                         ("proc", 0o555), ("sys", 0o555), ("dev", 0o755)):
        os.makedirs(os.path.join(root, folder))
        os.chmod(os.path.join(root, folder), mode)
    shutil.copyfile(binary, os.path.join(root, "bin/busybox"))
    os.chmod(os.path.join(root, "bin/busybox"), 0o755)
    for applet in sorted(set(_run("/bin/busybox", "--list").split()) - {"busybox"}):
        os.symlink("busybox", os.path.join(root, "bin", applet))
    for name, text in (("passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/:/bin/sh\n"), ("group", "root:x:0:\nweb:x:1000:\n")):
        pathlib.Path(root, "etc", name).write_text(text)
    for path, folders, files in os.walk(root):
        for name in folders + files:
            os.utime(os.path.join(path, name), (1577836800, 1577836800), follow_symlinks=False)


def busybox(layout, tag="v1", docker=False, compression="gzip"):
    """Adds a linux/amd64 + linux/arm64 image of two layers (busybox; a page to serve) as `tag`. Returns its digest and where
    the arm64 binary is from ("debian", or "synthetic": the amd64 one under a wrong label)."""
    entries = []
    with tempfile.TemporaryDirectory(prefix="berth-busybox-") as work:
        arm64, origin = _arm64_busybox(work)
        page = layout.layer(images.entries(("usr/share/www/index.html", f"hello from web {tag}\n")), compression, docker)
        for arch, binary in (("amd64", "/bin/busybox"), ("arm64", arm64)):
            root = os.path.join(work, "root-" + arch)
            _busybox_root(binary, root)
            layers = [layout.layer(images.tree({root: ""}), compression, docker), page]
            note = {"org.berth.lab.origin": origin} if arch == "arm64" else None
            entries.append(layout.image(layers, arch, variant="v8" if arch == "arm64" else None, docker=docker, annotations=note,
                                        config={"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], "WorkingDir": "/"}))
    return layout.tag(tag, layout.index(entries, docker)), origin


def main(command="", *args):
    if command == "minbase":
        print(minbase())
    elif command == "busybox" and len(args) == 2:
        print("digest {}\narm64  {}".format(*busybox(images.Layout(args[0]), args[1])))
    elif command == "bench" and set(args) <= set(BENCH):
        layout = bench(*args)
        for name in args or BENCH:
            sizes = [layer["size"] for layer in layout.manifest(name)["layers"]]
            print(f"{name:6} {layout.find(name)['digest']} {len(sizes)} layers, {sum(sizes) / 1e6:.1f} MB compressed")
        print(layout.folder)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
