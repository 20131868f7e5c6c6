#!/usr/bin/env python3
"""lab/demo.py: the main job on real input: ./dev demo [--keep]

Debian's docker-registry on loopback (TLS by a CA made now, one user), an image for two architectures from busybox-static, a
Debian base system; berthd pulls them, shows them, mounts them; then three failures with what to do about each. At the end a Pod: without
its secret it waits and says why, with it it runs, prints, and goes without a trace (crun or runc).
Everything is in one temporary directory and gone at the end; --keep leaves daemon and registry running until Ctrl-C.
"""
import contextlib
import json
import os
import pathlib
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import content
import daemon
import images
import registry
from pods import Pods, pod

BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("", "", "")


class Steps:
    def __init__(self):
        self.number, self.began = 0, time.monotonic()

    def __call__(self, title):
        self.number += 1
        print(f"\n{BOLD}{self.number:2} {title}{PLAIN}", flush=True)


def show(berthd, *args, password=None, expect=0):
    """Runs berth as a person would and shows what he would see."""
    shown = ["berth", *map(str, args)]
    print(f"{DIM}   $ {shlex.join(shown)}{PLAIN}", flush=True)
    feed = {"input": password + "\n"} if password else {"stdin": subprocess.DEVNULL}
    done = subprocess.run(berthd.command(*args), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, **feed)
    print("".join(f"   {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
    if expect is not None and ((done.returncode == 0) != (expect == 0) or (expect and done.returncode != expect)):
        raise SystemExit(f"demo: exit status {done.returncode}, expected {expect}\n{berthd.tail()}")
    return done


def story(step, berthd, image, host, password):
    """A Pod whose pull secret is missing, until it is there."""
    if not (shutil.which("crun") or shutil.which("runc")):
        return print("\n   (no Pod is run: neither crun nor runc is installed)")
    pods = Pods(berthd)
    step("a Pod that names a pull secret which does not exist: it waits, backs off, and tells why")
    manifest = berthd.folder / "web.yaml"
    manifest.write_text(json.dumps(pod("web", image, 'echo "hello from $(hostname)"; exec sleep 3600', secrets=["regcred"], imagePullPolicy="Always"), indent=2))
    show(berthd, "apply", "-f", manifest)
    pods.until("web", "ErrImagePull")
    show(berthd, "get", "pods")
    pods.until("web", "ImagePullBackOff", seconds=60)
    show(berthd, "get", "pods")
    show(berthd, "events", "--for", "pod/web")
    if "\n  explain" in berthd.berth("--help").stdout:
        show(berthd, "explain", "pod/web", expect=None)

    step("the secret, as kubectl would write it; nothing else is done, the next try finds it")
    show(berthd, "secret", "create", "docker-registry", "regcred", f"--docker-server={host}", "--docker-username=demo", "--docker-password-stdin",
         password=password)
    pods.until("web", "Running", seconds=90)
    pods.wait("the Pod has printed", lambda: berthd.berth("logs", "web").stdout != "", 10)
    show(berthd, "get", "pods", "-o", "wide")
    show(berthd, "logs", "web")

    step("deleted: no process, mount, namespace, cgroup or file of it is left")
    show(berthd, "delete", "pod", "web")
    if left := pods.leftovers():
        raise SystemExit(f"demo: the Pod left {left}")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    step, keep = Steps(), "--keep" in sys.argv[1:]
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-demo-"))
        stack.callback(shutil.rmtree, folder, True)

        step("images: busybox-static for two architectures, a Debian base system")
        layout = images.Layout(folder / "layout")
        digest, origin = content.busybox(layout)
        print(f"   shop/web:v1   linux/amd64 + linux/arm64 ({origin}), 2 layers each   {digest[:19]}")
        base = content.bench("base")
        print(f"   shop/base:12  linux/amd64, 1 layer, {sum(l['size'] for l in base.manifest('base')['layers']) / 1e6:.1f} MB compressed")

        step("registry: Debian's docker-registry, TLS with a CA of its own, user demo")
        password = secrets.token_hex(8)
        server = stack.enter_context(registry.Registry(tls=True, users={"demo": password}))
        with_auth = ("demo", password)
        images.push(layout, server.url, "shop/web", "v1", auth=with_auth, ca=server.ca)
        images.push(base, server.url, "shop/base", "12", auth=with_auth, ca=server.ca, ref="base")
        host = f"localhost:{server.port}"
        print(f"   https://{host}")

        step("daemon: berthd with an empty store; the registry's CA in certs.d")
        certs = folder / "certs.d" / host
        certs.mkdir(parents=True)
        shutil.copy(server.ca, certs / "ca.crt")
        berthd = stack.enter_context(daemon.Berthd(folder / "berth", settings={"hostsDirs": [str(folder / "certs.d")]}))
        mounted = []
        stack.callback(lambda: [berthd.berth("unmount", m) for m in mounted])
        show(berthd, "doctor")

        web, base_name = f"{host}/shop/web:v1", f"{host}/shop/base:12"
        step("pull: without a password the registry refuses, and berth says what to do")
        show(berthd, "pull", web, expect=4)

        step("pull: with a docker config file, both images at once, while the bytes come they are verified and unpacked")
        auth = folder / "config.json"
        auth.write_text(json.dumps({"auths": {host: {"username": "demo", "password": password}}}))
        auth.chmod(0o600)
        show(berthd, "pull", "--authfile", auth, web, base_name)
        show(berthd, "images")

        step("mount: the base system as a read-only file system, no file was ever unpacked")
        target = folder / "base"
        target.mkdir()
        show(berthd, "mount", base_name, target)
        mounted.append(target)
        for argv in (["head", "-n", "4", str(target / "etc/os-release")], ["ls", "-l", str(target / "bin/bash"), str(target / "bin")],
                     ["sh", "-c", f"find {target} -xdev | wc -l; cat /proc/mounts | grep {target} | cut -d, -f1"]):
            print(f"{DIM}   $ {shlex.join(argv) if argv[0] != 'sh' else argv[2]}{PLAIN}", flush=True)
            out = subprocess.run(argv, capture_output=True, text=True)
            if out.returncode or not out.stdout:
                raise SystemExit(f"demo: the mounted image cannot be read: {out.stderr}")
            print("".join(f"   {line}\n" for line in out.stdout.splitlines()[:6]), end="")

        step("again with Always: one request, nothing else")
        before = sum(server.requests().values())
        show(berthd, "pull", "--policy", "Always", "--authfile", auth, web)
        print(f"   requests the registry saw: {sum(server.requests().values()) - before}")

        step("another platform, for a look at what is in it")
        show(berthd, "pull", "--platform", "linux/arm64", "--authfile", auth, web)

        step("failures, each with its cause and its next step: wrong password, missing tag, missing platform")
        wrong = folder / "wrong.json"
        wrong.write_text(json.dumps({"auths": {host: {"username": "demo", "password": "guess"}}}))
        show(berthd, "pull", "--policy", "Always", "--authfile", wrong, web, expect=4)
        show(berthd, "pull", "--authfile", auth, f"{host}/shop/web:v9", expect=3)
        show(berthd, "pull", "--platform", "linux/s390x", "--authfile", auth, web, expect=7)

        step("what it takes on disk, and whether it is all there")
        show(berthd, "df")
        show(berthd, "fsck")

        story(step, berthd, web, host, password)

        if keep:
            print(f"\n   socket {berthd.socket}, registry https://{host} (user demo, docker config {auth}). Ctrl-C ends both.")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
        step("clean up: unmount, remove, stop")
        show(berthd, "unmount", target)
        mounted.clear()
        show(berthd, "rm", web, base_name)
        if berthd.stop() != 0:
            raise SystemExit(f"demo: berthd ended badly\n{berthd.tail()}")
        print(f"   done in {time.monotonic() - step.began:.1f} s")


if __name__ == "__main__":
    main()
