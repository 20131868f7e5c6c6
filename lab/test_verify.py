"""The overlay in memory against the vectors of runtime-registry.md 6.8; the scan of a real tree against GNU tar."""
import io
import os
import pathlib
import subprocess
import tempfile
import unittest

import images
import verify
from hostile import END, GNU, _number, d, dev, f, fifo, h, header, long, pad, pax, record, s, tar


def applied(*layers):
    overlay = verify.Overlay()
    for layer in layers:
        overlay.apply(io.BytesIO(tar(*layer)))
    return overlay.objects()


CAPABILITY = b"\1\0\0\2" + bytes(14) + b"\xff\1"  # version 2, effective; bytes that are no text

LOWER = (d(b"a"), d(b"a/b"), f(b"a/b/c"), f(b"a/v"), d(b"etc"), s(b"lib", b"usr/lib"), d(b"usr"), d(b"usr/lib"))

# name: (layers, names that must be there, names that must not)
TREES = {
    "1 whiteout of a lower directory": ((LOWER, [f(b"a/.wh.b", b"")]), ["a", "a/v"], ["a/b", "a/b/c", "a/.wh.b"]),
    "2 whiteout of a name of the same layer": (([d(b"a"), f(b"a/b"), f(b"a/.wh.b", b"")],), ["a/b"], []),
    "2 whiteout first": (([d(b"a"), f(b"a/.wh.b", b""), f(b"a/b")],), ["a/b"], []),
    "3 opaque, marker last": ((LOWER, [f(b"a/x"), f(b"a/.wh..wh..opq", b"")]), ["a/x"], ["a/v", "a/b"]),
    "3 opaque, marker first": ((LOWER, [f(b"a/.wh..wh..opq", b""), f(b"a/x")]), ["a/x"], ["a/v", "a/b"]),
    "4 link in the same layer": (([d(b"etc"), s(b"d", b"/etc"), f(b"d/f")],), ["etc/f", "d"], ["d/f"]),
    "4 link in the lower layer": ((LOWER, [f(b"lib/new")]), ["usr/lib/new", "lib"], ["lib/new"]),
    "4 link to nothing yet": (([s(b"d", b"/one/two"), f(b"d/f")],), ["one/two/f"], []),
    "5 climbing link": (([s(b"d", b"../../.."), f(b"d/f")],), ["f", "d"], []),
    "5 dots after a link": (([d(b"x"), d(b"x/y"), s(b"l", b"x/y/../z"), f(b"l/f")],), ["x/z/f"], []),
    "7 file over directory": ((LOWER, [f(b"a")]), ["a"], ["a/b", "a/v"]),
    "7 link over directory": ((LOWER, [s(b"a", b"etc")]), ["a"], ["a/b"]),
    "8 directory over a lower link": ((LOWER, [d(b"lib"), f(b"lib/x")]), ["lib/x", "usr/lib"], ["usr/lib/x"]),
    "11 missing parents": (([f(b"p/q/r")],), ["p", "p/q", "p/q/r"], []),
    "whiteout and a new directory": ((LOWER, [f(b".wh.a", b""), f(b"a/new")]), ["a/new"], ["a/b", "a/v"]),
    "a marker alone makes its directory": (([f(b"n/.wh.x", b"")],), ["n"], ["n/x"]),
    "whiteout through a lower link": (([d(b"t"), f(b"t/x"), s(b"l", b"t")], [f(b"l/.wh.x", b"")]), ["t", "l"], ["t/x"]),
    "whiteout of a link, not its target": ((LOWER, [f(b".wh.lib", b"")]), ["usr/lib"], ["lib"]),
    "a later layer brings a name back": ((LOWER, [f(b".wh.a", b"")], [d(b"a"), f(b"a/again")]), ["a/again"], ["a/v"]),
    "AUFS bookkeeping": (([d(b".wh..wh.plnk"), f(b".wh..wh.plnk/1"), f(b".wh..wh.aufs", b""), f(b"x")],), ["x"],
            [".wh..wh.plnk", ".wh..wh.aufs"]),
    "GNU magic has no prefix": (([f(b"x", magic=GNU, prefix=b"p")],), ["x"], ["p/x"]),
    "ustar has": (([f(b"x", prefix=b"p")],), ["p/x"], ["x"]),
    "global headers do nothing": (([pax({"path": "g"}, kind=b"g"), f(b"x")],), ["x"], ["g"]),
    "long names": (([long(b"L", b"n" * 150), f(b"n", magic=GNU)],), ["n" * 150], ["n"]),
    "no layers": ((), [""], []),
}

REFUSED = {
    "6 hard link out of the root": [h(b"x", b"../../host")],
    "12 overlay whiteout as a device": [dev(b"x", 0, 0)],
    "14 an empty whiteout": [f(b".wh.", b"")],
    "14 a whiteout as a parent": [f(b".wh.../x")],
    "climbs": [f(b"a/../../x")],
    "the root as a link": [s(b"./", b"/etc")],
    "loop of links": [s(b"a", b"b"), s(b"b", b"a"), f(b"a/x")],
    "hard link to a directory": [d(b"a"), h(b"b", b"a")],
    "hard link to a later name": [h(b"b", b"a"), f(b"a")],
    "a wrong checksum": [f(b"a"), f(b"b", checksum="wrong"), f(b"c")],
    "uid -1": [f(b"a", uid=2**32 - 1)],
    "a broken PAX record": [pax(raw=b"999 path=x\n"), f(b"a")],
    "a capability that is cut": [f(b"a", px={"SCHILY.xattr.security.capability": CAPABILITY[:5]})],
    "a capability of no version": [f(b"a", px={"SCHILY.xattr.security.capability": b"\1\0\0\4" + CAPABILITY[4:]})],
    "a capability of version 3, as long as 2": [f(b"a", px={"SCHILY.xattr.security.capability": b"\1\0\0\3" + CAPABILITY[4:]})],
}


class Overlay(unittest.TestCase):
    def test_trees(self):
        for name, (layers, there, gone) in TREES.items():
            with self.subTest(name):
                tree = applied(*layers)
                self.assertEqual([n for n in there if n.encode() not in tree], [])
                self.assertEqual([n for n in gone if n.encode() in tree], [])

    def test_refused(self):
        for name, layer in REFUSED.items():
            with self.subTest(name), self.assertRaises(verify.Rejected):
                applied(layer)

    def test_attributes(self):
        tree = applied([f(b"f", b"abc", mode=0o104755, uid=1000, px={"SCHILY.xattr.security.capability": CAPABILITY,
                "SCHILY.xattr.trusted.x": "n",
                          "SCHILY.xattr.user.overlay.opaque": "y", "mtime": "5.000000001"}), d(b"p/q", 0o700, gid=7, mtime=9),
                                  fifo(b"fifo"), dev(b"null", 1, 3),
                        f(b"early", px={"mtime": "-3.5"}), f(b"late", px={"mtime": "99999999999"})])
        self.assertEqual(tree[b"f"].attributes, verify.Attributes(0o4755, 1000, 0, 5 * 10**9 + 1,
                ((b"security.capability", CAPABILITY),)))
        self.assertEqual((tree[b"f"].kind, tree[b"f"].size, tree[b"null"].device, tree[b"fifo"].kind), ("f", 3, (1, 3), "p"))
        self.assertEqual(tree[b"p/q"].attributes, verify.Attributes(0o700, 0, 7, 9 * 10**9))
        self.assertIsNone(tree[b"p"].attributes.mtime)
        self.assertEqual((tree[b"early"].attributes.mtime, tree[b"late"].attributes.mtime // 10**9), (0, verify.MAX_MTIME))

    def test_merged_directories(self):
        lower = [d(b"p", 0o700, uid=5), f(b"p/x")]
        self.assertEqual(applied(lower, [f(b"p/y")])[b"p"].attributes.uid, 5)     # implied: the lower one stays
        self.assertEqual(applied(lower, [d(b"p", uid=6)])[b"p"].attributes.uid, 6)  # listed: replaced, children kept
        self.assertIn(b"p/x", applied(lower, [d(b"p", uid=6)]))

    def test_hard_links(self):
        tree = applied([f(b"b", b"old"), h(b"a", b"b"), h(b"c", b"/b")], [f(b"b", b"new"), h(b"dd", b"a")])
        self.assertEqual({n: tree[n].group for n in (b"a", b"b", b"c", b"dd")}, {b"a": b"a", b"b": b"", b"c": b"a", b"dd": b"a"})
        self.assertEqual((tree[b"a"].content, tree[b"a"].content == tree[b"b"].content), (tree[b"dd"].content, False))
        other = applied([f(b"a", mode=0o600), h(b"b", b"a", mode=0o644)])
        first, later = (applied([f(b"a", mode=mode), h(b"b", b"a", mode=mode)]) for mode in (0o600, 0o644))
        self.assertEqual((verify.compare(other, first), verify.compare(other, later)), ([], []))

    def test_sparse(self):
        old = header(b"x", 512, b"S", magic=GNU, patch={386: _number(4096, 12) + _number(3, 12), 483: _number(8192, 12)}) + pad(b"abc")
        new = f(b"GNUSparseFile/x", b"1\n4096\n3\n".ljust(512, b"\0") + b"abc", px={"GNU.sparse.major": 1,
                "GNU.sparse.minor": 0, "GNU.sparse.name": "x", "GNU.sparse.realsize": 8192})
        dense = applied([f(b"x", bytes(4096) + b"abc" + bytes(4093))])
        self.assertEqual((verify.compare(dense, applied([old])), verify.compare(dense, applied([new]))), ([], []))

    def test_end_of_archive(self):
        for data in (b"", END, f(b"x"), f(b"x") + bytes(512), tar(f(b"x")) + b"rubbish" * 300):
            overlay = verify.Overlay()
            overlay.apply(io.BytesIO(data))
            self.assertEqual(b"x" in overlay.objects(), b"x" in data[:1])
        for data in (f(b"x", b"y" * 4096)[:-1024], f(b"x") + f(b"y")[:300]):
            with self.assertRaises(verify.Rejected):
                verify.Overlay().apply(io.BytesIO(data))


class Scan(unittest.TestCase):
    def test_against_gnu_tar(self):
        """What tar extracts of a layer that images.tree() made is what the layer means; each change is seen."""
        with tempfile.TemporaryDirectory() as work:
            source, copy = pathlib.Path(work, "source"), pathlib.Path(work, "copy")
            copy.mkdir()
            (source / "d/e").mkdir(parents=True)
            (source / "d/file").write_bytes(b"data" * 999)
            os.link(source / "d/file", source / "link")
            os.symlink("d/\u00e9", source / "sym")
            os.mkfifo(source / "fifo")
            (source / os.fsdecode(b"\xff")).write_text("x")
            with open(source / "holes", "wb") as file:
                file.truncate(1 << 20)
            os.utime(source / "d/e", ns=(1, 1234567890123456789))
            if os.geteuid() == 0:
                os.setxattr(source / "d/file", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
            for compression in images.COMPRESSIONS:
                layout = images.Layout(os.path.join(work, "layout"))
                layout.tag(compression, layout.image([layout.layer(images.tree({source: ""}), compression)]))
                expected = verify.expect(layout, compression)
            with open(os.path.join(work, "tar"), "w+b") as file:
                images.tree({source: ""})(file)
            subprocess.run(["tar", "--xattrs", "--xattrs-include=*", "-xpf", os.path.join(work, "tar"), "-C", copy], check=True)
            have = verify.scan(copy)
            self.assertEqual(verify.compare(expected, have), [])
            self.assertEqual(verify.compare(verify.scan(source), have), [])
            changes = {"content is": lambda: (copy / "holes").write_bytes(b"x" + bytes((1 << 20) - 1)),
                    "mode is": lambda: os.chmod(copy / "d", 0o711),
                       "mtime is": lambda: os.utime(copy / "d/e", ns=(0, 1)), "not expected": lambda: (copy / "more").mkdir(),
                               "group is": lambda: (copy / "link").unlink(),
                       "target is": lambda: ((copy / "sym").unlink(), os.symlink("x", copy / "sym"))}
            for seen, change in changes.items():
                change()
                self.assertTrue(any(seen in line for line in verify.compare(expected, verify.scan(copy))), seen)


class Records(unittest.TestCase):
    def test_pax_record_lengths(self):
        for size in (1, 2, 86, 87, 88, 89, 986, 987, 988, 9000):
            made = record("k", "v" * size)
            self.assertEqual(int(made.split()[0]), len(made))


if __name__ == "__main__":
    unittest.main()
