#!/usr/bin/env python3
"""Builds the packages and installs, runs, upgrades, removes and purges them in a root of their own. As root, offline.

usage: test_package.py BINARIES          BINARIES as for build.py
The root is a folder with busybox as its shell and the shared libraries that the programs ask for; dpkg installs into it and
its scripts run inside. Nothing of this machine is changed.
"""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["berth", "berth-credential-providers", "berth-webhook"]
PROGRAMS = ["usr/bin/berth", "usr/bin/berth-webhook", "usr/libexec/berth/berthd", "usr/libexec/berth/berth-unpack", "usr/libexec/berth/berth-shim",
            *(f"usr/libexec/kubernetes/credential-providers/berth-credential-{c}" for c in ("ecr", "gcr", "acr"))]


def run(*command, check=True, **more):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, **more)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def expect(truth, what):
    if not truth:
        raise SystemExit(f"FAILED: {what}")
    print(f"ok: {what}")


def make_root(root, debs, work):
    for folder in ("bin", "tmp", "proc", "dev", "etc", "run", "var/lib/dpkg/info", "var/lib/dpkg/updates"):
        (root / folder).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    shutil.copy(shutil.which("busybox"), root / "bin/busybox")
    for name in ("sh", "rm", "rmdir", "grep", "chgrp"):
        (root / "bin" / name).symlink_to("busybox")
    shutil.copy(shutil.which("install"), root / "bin/install")  # Debian's busybox has none
    for deb in debs:
        run("dpkg-deb", "-x", deb, work)
    libraries = set()
    for program in (*PROGRAMS, root / "bin/install"):
        out = run("ldd", work / program, check=False).stdout  # berth-shim is static
        expect("not found" not in out, f"{program} finds its libraries")
        libraries.update(re.findall(r"(/\S+) \(0x", out))
    for library in libraries:
        target = root / library[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def files(root):
    skip = (root / "var/lib/dpkg", root / "proc", root / "dev")
    return {str(f.relative_to(root)) for f in root.rglob("*") if not any(s == f or s in f.parents for s in skip)}


def dpkg(root, *arguments, **more):
    # What the packages depend on is this machine's; that it is there is checked by itself.
    return run("dpkg", f"--root={root}", "--force-depends", "--force-confdef", *arguments, **more)


def daemon(root):
    """berthd inside, with a /proc of its own; asked by the berth inside."""
    script = ("mount -t proc proc /proc && exec /usr/bin/berthd --set node.enabled=false --set form=tree --set listen.http=unix:///run/berth/ops.sock")
    (root / "bin/mount").symlink_to("busybox")
    process = subprocess.Popen(["unshare", "-m", "-p", "--fork", "--kill-child", "chroot", root, "/bin/sh", "-c", script],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            with socket.socket(socket.AF_UNIX) as s:
                try:
                    s.connect(str(root / "run/berth/berth.sock"))
                    break
                except OSError:
                    time.sleep(0.02)
        listed = run("chroot", root, "/usr/bin/berth", "images", check=False)
        expect(listed.returncode == 0, f"the installed berthd answers the installed berth {listed.stderr}")
    finally:
        process.kill()  # takes its namespace along
        process.wait()
        process.stdout.close()
        (root / "bin/mount").unlink()


def webhook(root):
    """berth-webhook inside, with a certificate that it makes and the settings that come with it; asked how it is."""
    printed = run("chroot", root, "/usr/bin/berth-webhook", "--config", "/etc/berth-webhook/config.yaml", "--print-config").stdout
    expect('always_pull: "true"' in printed, "berth-webhook accepts the settings that come with it")
    run("chroot", root, "/usr/bin/berth-webhook", "--make-certificates", "/etc/berth-webhook/tls", "--name", "localhost")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(["chroot", root, "/usr/bin/berth-webhook", "--config", "/etc/berth-webhook/config.yaml", "--set", f"listen=127.0.0.1:{port}",
                                "--set", "ops_listen=unix:///run/webhook.sock", "--set", "drain=1ms"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        answer, end = b"", time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end and not answer:
            with socket.socket(socket.AF_UNIX) as s:
                try:
                    s.connect(str(root / "run/webhook.sock"))
                    s.sendall(b"GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                    answer = s.recv(4096)
                except OSError:
                    time.sleep(0.02)
        expect(answer.startswith(b"HTTP/1.1 200"), "the installed berth-webhook is ready with a certificate of its own")
        process.terminate()
        expect(process.wait(60) == 0, "and ends in order")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main():
    binaries = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="berth-package-test-") as folder:
        folder = pathlib.Path(folder)
        built = [pathlib.Path(p) for p in run(sys.executable, HERE / "build.py", "--fast", binaries, folder / "one").stdout.split()]
        expect([p.name.split("_")[0] for p in built] == PACKAGES, "three packages")
        again = [pathlib.Path(p) for p in run(sys.executable, HERE / "build.py", "--fast", binaries, folder / "two").stdout.split()]
        expect(all(a.read_bytes() == b.read_bytes() for a, b in zip(built, again)), "built twice, they are the same bytes")
        newer = [pathlib.Path(p) for p in run(sys.executable, HERE / "build.py", "--fast", binaries, folder / "new", "--version", "99.0").stdout.split()]
        # Also what a package is called beside its name: libspdlog1.10 provides libspdlog1.10-fmt9.
        there = set(re.findall(r"[a-z0-9][a-z0-9.+-]+", run("dpkg-query", "-W", "-f", "${Package} ${Provides}\n").stdout))
        for deb in built:
            depends = run("dpkg-deb", "-f", deb, "Depends").stdout
            expect("libc6" in depends, f"{deb.name} says what it needs")
            for name in re.findall(r"(?:^|, )([a-z0-9.+-]+)", depends):
                expect(name in there, f"  {name} is in Debian")

        root = folder / "root"
        make_root(root, built, folder / "unpacked")
        before = files(root)
        dpkg(root, "-i", *built)
        for path in (*PROGRAMS, "usr/bin/berthd", "lib/systemd/system/berthd.service", "lib/systemd/system/berthd.socket", "etc/berth/config.yaml",
                     "usr/share/man/man1/berth.1.gz", "usr/share/man/man8/berthd.8.gz", "usr/share/bash-completion/completions/berth",
                     "usr/share/doc/berth/operations.md", "usr/share/doc/berth/copyright", "lib/systemd/system/berth-webhook.service",
                     "usr/lib/sysusers.d/berth-webhook.conf", "etc/berth-webhook/config.yaml", "usr/share/man/man8/berth-webhook.8.gz",
                     "usr/share/doc/berth-webhook/webhook.md", "usr/share/doc/berth-webhook/examples/kubernetes/deployment.yaml"):
            expect((root / path).exists(), f"/{path} is there")
        expect((root / "var/lib/berth").stat().st_mode & 0o777 == 0o700, "/var/lib/berth is closed to others")
        expect("ExecStart=/usr/bin/berthd" in (root / "lib/systemd/system/berthd.service").read_text(), "the unit starts what is installed")
        unit = (root / "lib/systemd/system/berth-webhook.service").read_text()
        expect("ExecStart=/usr/bin/berth-webhook --config /etc/berth-webhook/config.yaml" in unit and "User=berth-webhook" in unit, "so does the webhook's, as a user of its own")
        expect((root / "etc/berth-webhook/tls").stat().st_mode & 0o777 == 0o750, "/etc/berth-webhook/tls is closed to others")
        expect(not dpkg(root, "--verify", *PACKAGES).stdout, "checksums")
        for program in ("berth", "berthd", "berth-webhook"):
            expect(re.fullmatch(rf"{program} \d+\.\d+\.\d+\n?.*", run("chroot", root, f"/usr/bin/{program}", "--version").stdout, re.S), f"{program} --version")
        printed = run("chroot", root, "/usr/bin/berthd", "--print-config").stdout
        expect("kind: ImageDaemonConfiguration" in printed, "berthd accepts the settings that come with it")
        answer = run("chroot", root, "/usr/libexec/kubernetes/credential-providers/berth-credential-ecr", check=False, input="{}")
        expect(answer.returncode == 1 and answer.stderr, "a credential provider answers nonsense with an error")
        daemon(root)
        webhook(root)

        config = root / "etc/berth/config.yaml"
        config.write_text(config.read_text() + "log: {level: debug}\n")
        policies, key = root / "etc/berth-webhook/config.yaml", root / "etc/berth-webhook/tls/tls.key"
        policies.write_text(policies.read_text() + "on_error: Allow\n")
        dpkg(root, "-i", *newer)
        expect("level: debug" in config.read_text() and "on_error: Allow" in policies.read_text(), "an upgrade keeps changed settings")
        expect((root / "var/lib/berth/catalog.db").exists() and key.exists(), "and the store, and the webhook's key")

        dpkg(root, "-r", *PACKAGES)
        expect(not (root / "usr/bin/berthd").exists() and config.exists() and (root / "var/lib/berth/catalog.db").exists(),
               "removed: the programs are gone, settings and store stay")
        expect(not (root / "usr/bin/berth-webhook").exists() and policies.exists() and key.exists(), "so do the webhook's settings and key")
        dpkg(root, "-P", *PACKAGES)
        left = files(root) - before
        expect(not {f for f in left if "berth" in f}, f"purged: nothing is left {sorted(f for f in left if 'berth' in f)}")
    print("packages: all good")


main()
