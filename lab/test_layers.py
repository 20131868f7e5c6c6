"""A Debian base system, and a layer that changes it, look as GNU tar, umoci and our own verifier unpack them, file by file with all metadata,
in both forms and in every compression; fsck.erofs finds nothing wrong with what is stored."""
import pathlib
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
import unittest

import cases
import content
import daemon
import images
import registry
import verify

SUPERBLOCK = 1024  # where it begins in an EROFS image


def link(name, target, mode=0o644, mtime=0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.mtime = tarfile.LNKTYPE, target, mode, mtime
    return info, None


def run(*argv):
    done = subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{' '.join(done.args)}: {done.stdout}{done.stderr}")
    return done.stdout


# What a second layer does to a base system: files and directories gone, replaced, hidden, linked to from elsewhere.
EDITS = images.entries(
    ("etc/", None), ("etc/motd", "edited\n"), ("etc/.wh.issue", ""), ("etc/apt/", None), ("etc/apt/.wh..wh..opq", ""), ("etc/apt/only", "this"),
    ("usr/share/.wh.doc", ""), ("usr/share/doc/", None), ("usr/share/doc/again", "new"), ("opt", "a file, no longer a directory"),
    ("srv/made/up/deep", "below what no layer lists"), ("srv/", None), link("etc/motd-again", "etc/motd"))


@cases.needs_root
@cases.needs("umoci")
@cases.needs("erofs-utils", "fsck.erofs")
class DebianLayers(cases.Case):
    @classmethod
    def setUpClass(cls):
        try:
            base = content.minbase()
        except (RuntimeError, OSError) as error:
            raise unittest.SkipTest(f"no base system is kept here, and none can be made: {error}") from error
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-layers-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.base, cls.layout = base, images.Layout(cls.folder / "layout")
        layers = {kind: cls.layout.layer(base, kind) for kind in ("gzip", "gzip-members", "zstd", "none")}
        cls.base_blob = layers["gzip"]["digest"].split(":")[1]
        for kind, layer in layers.items():
            cls.layout.tag(kind, cls.layout.image([layer]))
        with tarfile.open(base) as tar:
            bash = tar.getmember("usr/bin/bash")
        linked = images.entries(link("usr/bin/shell", "bin/bash", bash.mode, bash.mtime))
        cls.layout.tag("edited", cls.layout.image([layers["gzip"], cls.layout.layer(EDITS), cls.layout.layer(linked)]))
        cls.server = cls.enterClassContext(registry.LayoutRegistry({"debian": cls.layout.folder}))

    def new(self, name):
        folder = pathlib.Path(tempfile.mkdtemp(prefix=name, dir=self.folder))
        self.addCleanup(shutil.rmtree, folder, True)
        folder.chmod(0o755)
        return folder

    def berthd(self, form):
        return self.enterContext(daemon.Berthd(self.new("berth"), settings={"plainHttp": [self.server.host], "form": form}))

    def mounted(self, berthd, tag, check):
        """Pulls and mounts it, and gives `check` its tree."""
        reference, target = f"{self.server.host}/debian:{tag}", self.new("mount")
        berthd.berth("pull", "-q", reference, check=True)
        berthd.berth("mount", reference, target, check=True)
        try:
            check(verify.scan(target))
        finally:
            berthd.berth("unmount", target, check=True)

    def umoci(self, tag):
        folder = self.new("umoci") / "root"
        run("umoci", "raw", "unpack", "--image", f"{self.layout.folder}:{tag}", folder)
        return verify.scan(folder)

    def same(self, want, have, free=("/srv/made: mtime ", "/srv/made/up: mtime ", "/usr/bin: mtime ")):
        """`free`: times of directories that no entry of their last layer lists are umoci's clock."""
        self.assertEqual([line for line in verify.compare(want, have) if not line.startswith(free)][:10], [])

    def test_a_base_system_is_what_tar_and_umoci_unpack(self):
        extracted = self.new("tar")
        run("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", self.base, "-C", extracted)
        trees = {"GNU tar": verify.scan(extracted), "umoci": self.umoci("gzip"), "the verifier": verify.expect(self.layout, "gzip")}
        kinds = [found.kind for found in trees["GNU tar"].values()]
        self.assertGreater(min(kinds.count("f"), kinds.count("d") * 2, kinds.count("l") * 10), 1000, "is this a base system?")
        self.assertTrue(any(found.attributes.mode & stat.S_ISUID for found in trees["GNU tar"].values()))

        def check(tree):
            for name, want in trees.items():
                with self.subTest(form=form, tag=tag, against=name):
                    self.same(want, tree, ())
        for form in ("erofs", "tree"):
            berthd = self.berthd(form)
            for tag in ("gzip", "gzip-members", "zstd", "none") if form == "erofs" else ("gzip",):
                self.mounted(berthd, tag, check)
            self.sound(berthd, form)

    def test_a_layer_over_a_base_system_is_what_umoci_makes_of_it(self):
        trees = {"umoci": self.umoci("edited"), "the verifier": verify.expect(self.layout, "edited")}
        self.assertEqual([name for name in (b"etc/issue", b"etc/apt/sources.list", b"usr/share/doc/bash") if name in trees["umoci"]], [])
        self.assertEqual(trees["umoci"][b"usr/bin/shell"].group, trees["umoci"][b"usr/bin/bash"].group)

        def check(tree):
            for name, want in trees.items():
                with self.subTest(against=name):
                    self.same(want, tree)
        berthd = self.berthd("erofs")
        self.mounted(berthd, "edited", check)
        self.sound(berthd, "erofs")

    def sound(self, berthd, form):
        """berth's own check finds nothing, and no more does that of erofs-utils in any metadata with its contents."""
        self.assertEqual(berthd.berth("fsck").returncode, 0)
        metas = sorted((berthd.store / "layers").glob("*.meta"))
        self.assertTrue(metas)
        for meta in metas if form == "erofs" else ():
            data = [meta.parent / (name + ".data") for name in (re.split("[@.]", meta.name)[0], self.base_blob)]
            devices = int.from_bytes(meta.read_bytes()[SUPERBLOCK + 86:][:2], "little")  # its own contents first, if there are any
            with self.subTest(meta.name):
                run("fsck.erofs", *[f"--device={path}" for path in data if path.exists() and path.stat().st_size][:devices], meta)


if __name__ == "__main__":
    unittest.main()
