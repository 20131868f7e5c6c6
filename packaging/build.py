#!/usr/bin/env python3
"""Makes the Debian packages: berth (daemon, command line, units, manuals), berth-webhook and berth-credential-providers.

usage: build.py BINARIES OUT [--version V] [--fast]     BINARIES: NAME or NAME/NAME, as in build/bin or a build folder's src/apps
Dependencies are what dpkg-shlibdeps finds in the stripped programs. The same programs and the same commit give the same bytes.
"""
import argparse
import gzip
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
HERE = ROOT / "packaging"
LIBEXEC = "usr/libexec/berth"
PLUGINS = "usr/libexec/kubernetes/credential-providers"
MAINTAINER = "berth developers <developers@berth.invalid>"


def run(*command, **more):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, **more).stdout


class Package:
    def __init__(self, name, summary, description, tree, depends=(), recommends=(), suggests=()):
        self.name, self.summary, self.description, self.tree = name, summary, description, tree
        self.depends, self.recommends, self.suggests = list(depends), list(recommends), list(suggests)
        self.programs, self.conffiles = [], []

    def put(self, path, content, mode=0o644):
        target = self.tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        target.chmod(mode)

    def zipped(self, path, content):
        self.put(path + ".gz", gzip.compress(content.encode(), 9, mtime=0))

    def program(self, path, source):
        self.put(path, source.read_bytes(), 0o755)
        run("strip", "--strip-unneeded", "--remove-section=.comment", self.tree / path)
        self.programs.append(path)

    def link(self, path, to):
        target = self.tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(to)

    def documents(self, files):
        for file in files:
            self.put(f"usr/share/doc/{self.name}/{file.name}", file.read_text())
        self.put(f"usr/share/doc/{self.name}/copyright", (ROOT / "LICENSE").read_text())

    def shared_libraries(self, work):
        (work / "debian").mkdir(exist_ok=True)
        (work / "debian/control").write_text(f"Source: berth\nMaintainer: {MAINTAINER}\n\nPackage: {self.name}\nArchitecture: any\n")
        out = run("dpkg-shlibdeps", "-O", "--ignore-missing-info", *[self.tree / p for p in self.programs], cwd=work)
        return [d.strip() for d in re.search(r"shlibs:Depends=(.*)", out).group(1).split(",")]

    def build(self, version, architecture, out, work, epoch, fast):
        control = self.tree / "DEBIAN"
        control.mkdir()
        size = sum(f.lstat().st_size for f in self.tree.rglob("*") if f.is_file() and not f.is_symlink())
        fields = {"Package": self.name, "Version": version, "Architecture": architecture, "Maintainer": MAINTAINER, "Section": "admin",
                  "Priority": "optional", "Installed-Size": str((size + 1023) // 1024),
                  "Depends": ", ".join(self.depends + self.shared_libraries(work)), "Recommends": ", ".join(self.recommends),
                  "Suggests": ", ".join(self.suggests),
                  "Description": self.summary + "\n" + "\n".join(" " + line for line in self.description.splitlines())}
        (control / "control").write_text("".join(f"{k}: {v}\n" for k, v in fields.items() if v))
        if self.conffiles:
            (control / "conffiles").write_text("".join(f"/{c}\n" for c in self.conffiles))
        for script in ("preinst", "postinst", "prerm", "postrm"):
            if (source := HERE / "deb" / f"{self.name}.{script}").exists():
                shutil.copy(source, control / script)
                (control / script).chmod(0o755)
        sums = [(hashlib.md5(f.read_bytes()).hexdigest(), f.relative_to(self.tree)) for f in sorted(self.tree.rglob("*"))
                if f.is_file() and not f.is_symlink() and control not in f.parents]
        (control / "md5sums").write_text("".join(f"{digest}  {name}\n" for digest, name in sums))
        for path in [self.tree, *self.tree.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        deb = out / f"{self.name}_{version}_{architecture}.deb"
        run("dpkg-deb", "--root-owner-group", "-Zxz", "-z1" if fast else "-z6", "--build", self.tree, deb, env=os.environ | {"SOURCE_DATE_EPOCH": epoch})
        return deb


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--version")
    parser.add_argument("--fast", action="store_true", help="larger packages, made in a fraction of the time")
    options = parser.parse_args()
    version = options.version or re.search(r"project\(berth VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    try:
        epoch = run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()
    except (OSError, subprocess.CalledProcessError):
        epoch = "0"
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out.resolve()

    def binary(name):
        path = options.binaries / name
        return (path / name if path.is_dir() else path).resolve()

    with tempfile.TemporaryDirectory(prefix="berth-package-") as folder:
        work = pathlib.Path(folder)
        berth = Package("berth", "image daemon of a Kubernetes node, and its command line",
                        "Takes a node from an image name in a Pod to a verified, mounted root file\nsystem: pull policies, credentials, mirrors, storage, garbage collection,\n"
                        "with an explanation for every failure.", work / "berth", recommends=["crun | runc", "ca-certificates"],
                        suggests=["berth-credential-providers"])
        for name in ("berthd", "berth-unpack", "berth-shim"):  # berthd looks for the others beside itself
            berth.program(f"{LIBEXEC}/{name}", binary(name))
        berth.link("usr/bin/berthd", "../libexec/berth/berthd")
        berth.program("usr/bin/berth", binary("berth"))
        webhooks = lambda file: file.name.startswith("berth-webhook")
        for unit in sorted((HERE / "systemd").iterdir()):
            if webhooks(unit):
                continue
            if unit.suffix in (".service", ".socket"):
                berth.put(f"lib/systemd/system/{unit.name}", unit.read_text())
            else:
                berth.put(f"usr/share/doc/berth/examples/{unit.name}", unit.read_text())
        berth.put("etc/berth/config.yaml", (HERE / "deb/config.yaml").read_text())
        berth.conffiles = ["etc/berth/config.yaml"]
        for page in sorted((HERE / "man").iterdir()):
            if not webhooks(page):
                berth.zipped(f"usr/share/man/man{page.suffix[1:]}/{page.name}", page.read_text())
        for shell, path in (("bash", "usr/share/bash-completion/completions/berth"), ("zsh", "usr/share/zsh/vendor-completions/_berth"),
                            ("fish", "usr/share/fish/vendor_completions.d/berth.fish")):
            berth.put(path, run(binary("berth"), "completion", shell))
        berth.documents([ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))])

        plugins = Package("berth-credential-providers", "kubelet credential providers for ECR, Google's registries and ACR",
                          "Exec plug-ins (credentialprovider.kubelet.k8s.io/v1) for a kubelet or berthd:\nthey turn the identity of a cloud machine into registry credentials.",
                          work / "plugins", recommends=["ca-certificates"])
        for cloud in ("ecr", "gcr", "acr"):
            plugins.program(f"{PLUGINS}/berth-credential-{cloud}", binary(f"berth-credential-{cloud}"))
        plugins.documents([ROOT / "docs/credential-plugins.md"])

        webhook = Package("berth-webhook", "image policies of a Kubernetes cluster, as an admission webhook",
                          "Answers AdmissionReviews over HTTPS: AlwaysPullImages, and tags that become\ndigests. For a host that the API server reaches; in a cluster it runs as a\n"
                          "Deployment, an example of which is among the documents.", work / "webhook", recommends=["ca-certificates", "systemd"])
        webhook.program("usr/bin/berth-webhook", binary("berth-webhook"))
        webhook.put("lib/systemd/system/berth-webhook.service", (HERE / "systemd/berth-webhook.service").read_text())
        webhook.put("usr/lib/sysusers.d/berth-webhook.conf", (HERE / "systemd/berth-webhook.sysusers").read_text())
        webhook.put("etc/berth-webhook/config.yaml", (HERE / "deb/webhook.yaml").read_text())
        webhook.conffiles = ["etc/berth-webhook/config.yaml"]
        webhook.zipped("usr/share/man/man8/berth-webhook.8", (HERE / "man/berth-webhook.8").read_text())
        for file in sorted((HERE / "kubernetes/webhook").iterdir()):
            webhook.put(f"usr/share/doc/berth-webhook/examples/kubernetes/{file.name}", file.read_text(), 0o755 if file.suffix == ".sh" else 0o644)
        webhook.documents([ROOT / "README.md", ROOT / "docs/webhook.md", ROOT / "docs/admission.md"])

        architecture = run("dpkg", "--print-architecture").strip()
        for package in (berth, plugins, webhook):
            print(package.build(version, architecture, out, work, epoch, options.fast))


main()
