#!/usr/bin/env python3
"""lab/hostile.py: images that try to break an image store: the corpus of reliability-security.md 3.a and 3.b.

    hostile.py list [PREFIX]                    id, expected verdict, error class, what it is
    hostile.py write DIR [PREFIX]               one OCI layout a case in DIR/ID (tag "x"), and DIR/cases.json

cases.json: [{id, folder, repo, digest, entrance, verdict, class, note, needs}, ...]
  repo      a repository name for LayoutRegistry; digest: what the tag names
  entrance  registry | layout | archive: how the case reaches the store (archive: the file archive.tar)
  verdict   reject | safe | either. For safe layers `verify.py compare MOUNT DIR/ID x` decides about the tree.
  class     the error class of a rejection (reliability-security.md 3.0); of either: if it is rejected
  needs     a condition, e.g. "limit unpacked 1 GiB": how the store must be configured for this verdict
Documents that no registry would store are served by registry.LayoutRegistry. CANARY is where the links point: make it
with make_canary() outside the store, and compare verify.scan(CANARY) before and after.
Everything is written by the byte: no tar library stands between a case and its broken header.
"""
import base64
import dataclasses
import gzip
import hashlib
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import typing
import zlib

import images

CANARY = "/var/tmp/berth-canary" + os.environ.get("BERTH_CANARY", "")  # one for each of several runs at once
SECRET = "berth-canary-secret-5f1d0c"
ELSEWHERE = "127.0.0.1:9"  # the host of a layer's `urls`: whoever listens there instead sees that nobody comes (B-28)
C = CANARY[1:].encode()
UP = b"../" * 40
END = bytes(1024)
GNU = b"ustar  \0"
USTAR = b"ustar\x0000"


def make_canary(folder=CANARY):
    """The tree that no image may touch: files, a directory, a FIFO, a deep directory, modes and times of its own."""
    root = pathlib.Path(folder)
    (root / "dir/deep/er").mkdir(parents=True)
    (root / "secret").write_text(SECRET)
    (root / "victim").write_text("whole\n")
    (root / "dir/victim").write_text("whole too\n")
    os.mkfifo(root / "fifo", 0o640)
    os.chmod(root / "secret", 0o600)
    for path in (root / "secret", root / "victim", root / "dir/victim", root / "fifo", root / "dir/deep/er",
            root / "dir/deep", root / "dir", root):
        os.utime(path, ns=(10**18, 10**18 + 7))


# ---- tar by the byte

def _number(value, width):
    """A header number: bytes as they are; else octal if it fits, base-256 if not."""
    if isinstance(value, bytes):
        return value.ljust(width, b"\0")[:width]
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    raw = (value & ((1 << (8 * width - 1)) - 1)).to_bytes(width, "big")
    return bytes([raw[0] | (0xff if value < 0 else 0x80)]) + raw[1:]


def header(name=b"", size=0, kind=b"0", mode=0o644, uid=0, gid=0, mtime=1700000000, link=b"", magic=USTAR, uname=b"", gname=b"",
           major=0, minor=0, prefix=b"", patch=None, checksum="unsigned"):
    block = bytearray(name[:100].ljust(100, b"\0") + _number(mode, 8) + _number(uid, 8) + _number(gid, 8) + _number(size, 12)
                      + _number(mtime, 12) + b" " * 8 + kind + link[:100].ljust(100, b"\0") + magic.ljust(8, b"\0")
                      + uname.ljust(32, b"\0") + gname.ljust(32, b"\0") + _number(major, 8) + _number(minor, 8)
                      + prefix.ljust(155, b"\0") + bytes(12))
    for at, data in (patch or {}).items():
        block[at:at + len(data)] = data
    total = sum(block) - (256 * sum(byte > 127 for byte in block) if checksum == "signed" else 0) + (checksum == "wrong")
    block[148:156] = _number(total & 0o777777, 7) + b" "
    return bytes(block)


def pad(data):
    return data + bytes(-len(data) % 512)


def record(key, value):
    """One PAX record; strings are UTF-8."""
    key, value = (part if isinstance(part, bytes) else str(part).encode() for part in (key, value))
    body = len(key) + len(value) + 3
    size = body + len(str(body))
    return b"%d %s=%s\n" % (body + len(str(size)), key, value)


def pax(values=None, raw=b"", kind=b"x", size=None):
    data = raw + b"".join(record(key, value) for key, value in (values or {}).items())
    return header(b"PaxHeaders/x", len(data) if size is None else size, kind) + pad(data)


def long(kind, text):
    """GNU L or K."""
    return header(b"././@LongLink", len(text) + 1, kind, magic=GNU) + pad(text + b"\0")


def f(name, data=b"x", px=None, **more):
    return (pax(px) if px else b"") + header(name, more.pop("size", len(data)), **more) + pad(data)


def d(name, mode=0o755, px=None, **more):
    return (pax(px) if px else b"") + header(name, kind=b"5", mode=mode, **more)


def s(name, target, px=None, **more):
    return (pax(px) if px else b"") + header(name, kind=b"2", mode=0o777, link=target, **more)


def h(name, target, px=None, **more):
    return (pax(px) if px else b"") + header(name, kind=b"1", link=target, **more)


def dev(name, major, minor, kind=b"3", **more):
    return header(name, kind=kind, major=major, minor=minor, **more)


def fifo(name, **more):
    return header(name, kind=b"6", **more)


def tar(*parts):
    return b"".join(parts) + END


@dataclasses.dataclass
class Blob:
    """A layer blob as it is, with the tar its diff id is of (None: of the blob itself)."""
    data: bytes
    plain: bytes | None = None
    media: str = images.OCI["gzip"]
    annotations: dict | None = None


@dataclasses.dataclass
class Case:
    id: str
    verdict: str
    word: str
    note: str
    build: typing.Callable  # Layout -> descriptor of what tag "x" names
    entrance: str = "registry"
    needs: str = ""


def add_layer(layout, source):
    """Stores a tar (as gzip) or a Blob; returns its descriptor with "diff_id"."""
    if not isinstance(source, Blob):
        source = Blob(gzip.compress(source, 1, mtime=0), source)
    plain = source.data if source.plain is None else source.plain
    more = {"annotations": source.annotations} if source.annotations else {}
    return layout.blob(source.data, source.media, **more) | {"diff_id": "sha256:" + hashlib.sha256(plain).hexdigest()}


def layered(*sources):
    """Layers are tars, Blobs, or functions that give one (for the large ones)."""
    return lambda layout: layout.image([add_layer(layout, source() if callable(source) else source) for source in sources])


GOOD = tar(d(b"etc"), f(b"etc/passwd", b"root:x:0:0::/:/bin/sh\n"), d(b"bin"), f(b"bin/sh", b"#!\n", mode=0o755))


def layer_cases():
    """3.a. An id is the row, and a letter or word where the row has several."""
    def case(id, verdict, word, note, *layers, needs=""):
        return Case("A-" + id, verdict, "" if verdict == "safe" else word, note, layered(*layers), needs=needs)
    def bad(id, note, *layers, word="invalid-layer", **more):
        return case(id, "reject", word, note, *layers, **more)
    def safe(id, note, *layers, **more):
        return case(id, "safe", "", note, *layers, **more)
    def either(id, note, *layers, word="invalid-layer", **more):
        return case(id, "either", word, note, *layers, **more)
    link = s(b"s", b"/" + C)

    for word, climb in (("1", 1), ("40", 40), ("400", 400)):
        yield bad("01-" + word, f"a file {climb} levels above the root", tar(f(b"x", px={"path": b"../" * climb + C + b"/pwned"})))
    yield bad("02", "climbs after real components", tar(d(b"a"), d(b"a/b"), f(b"x", px={"path": b"a/b/" + UP + C + b"/pwned"})))
    yield safe("03", "a/../etc/inside is etc/inside", tar(f(b"a/../etc/inside")))
    yield safe("04", "an absolute name", tar(f(b"/etc/abs")))
    yield safe("05", "the absolute name of a host file", tar(f(b"/" + C + b"/pwned")))
    for word, name in (("dotslash", b"./"), ("dot", b"."), ("slash", b"/"), ("empty", b"")):
        yield bad("06-" + word, f"the root as a link, by the name {name!r}", tar(s(name, b"/" + C)), tar(f(b"pwned")))
    yield bad("07-file", "the root as a file", tar(f(b"/")))
    yield bad("07-link", "the root as a hard link", tar(f(b"a"), h(b"/", b"a")))
    yield bad("07-device", "the root as a device", tar(dev(b"/", 1, 3)))
    yield bad("08", ".. as a link, then a file through it", tar(s(b"..", b"/" + C), f(b"../pwned")))
    yield bad("09", "attributes for ..", tar(d(b"..", 0o777, uid=12345)))
    yield safe("10", "dots and slashes without meaning", tar(f(b".//etc///x"), f(b"././etc/y"), d(b"dir///")))
    yield bad("11", "NUL in a PAX path", tar(f(b"x", px={"path": b"etc/ok\0../../" + C + b"/pwned"})))
    yield safe("12", "line breaks and escapes in names", tar(f(b"a\nb"), f(b"c\rd"), f(b"e\x1b[31mf"), d(b"g\n")))
    yield safe("13", "names that are not UTF-8", tar(f(b"\xff\xfe\x80"), f(b"y", px={"path": b"d/\xff\xfe\x81"})))
    yield safe("14-255", "a component of 255 bytes", tar(f(b"x", px={"path": b"n" * 255})))
    yield bad("14-256", "a component of 256 bytes", tar(f(b"x", px={"path": b"n" * 256})))
    yield either("15", "a path of 4,200 bytes", tar(f(b"x", px={"path": b"/".join([b"n" * 209] * 20)})))
    yield bad("16", "a ustar prefix that climbs", tar(f(b"etc/x", prefix=b"../../..")))
    yield bad("16-255", "prefix and name climb together, 255 characters", tar(f(b"n" * 99, prefix=b"d/../../" + b"p" * 147)))
    yield safe("16-plain", "prefix and name of 255 characters", tar(f(b"n" * 99, prefix=b"p" * 155)))
    yield safe("17", "GNU magic: no prefix, but times", tar(f(b"etc/gnu", magic=GNU, prefix=b"14350000000\0" b"14350000000\0")))
    yield safe("18-1000", "1,000 nested directories", lambda: tar(*(d(b"x", px={"path": b"/".join([b"d"] * n)}) for n in range(1, 1001))))
    yield bad("18-2000", "2,000 nested directories", lambda: tar(*(d(b"x",
            px={"path": b"/".join([b"d"] * n)}) for n in range(1, 2001))), word="limit-exceeded")
    yield bad("18-100000", "a path 100,000 deep", lambda: tar(f(b"x", px={"path": b"d/" * 100000 + b"f"})), word="limit-exceeded")
    yield safe("19", "Link and link/pwned on a case-sensitive store", tar(s(b"Link", b"/" + C), f(b"link/pwned")))
    yield safe("20", "NFC and NFD spellings are two names", tar(f("caf\u00e9".encode(), b"nfc"), f("cafe\u0301".encode(), b"nfd")))
    odd = (b" ", b"-rf", b"*", b"~", b"$(x)", b"%s%n", b"\\", b"C:", b"CON", b"...", b"`x`", b"a;b", b"|")
    yield safe("21", "names that shells and formats would interpret", tar(*(f(b"odd/" + name) for name in odd),
            *(d(b"d/" + name) for name in odd)))
    yield safe("22", "a file through an absolute link", tar(link, f(b"s/pwned")))
    yield safe("23", "a file through a climbing link", tar(s(b"s", b"../../../" + C), f(b"s/pwned")))
    yield safe("24", "a file in place of a link", tar(s(b"s", b"/" + C + b"/victim"), f(b"s")))
    for count in (30, 41):
        chain = tar(*(s(b"l%d" % n, b"l%d" % (n + 1)) for n in range(count - 1)), s(b"l%d" % (count - 1), b"/" + C), f(b"l0/pwned"))
        yield (safe if count == 30 else bad)(f"25-{count}", f"a chain of {count} links", chain)
    yield bad("26-two", "two links to each other as a parent", tar(s(b"a", b"b"), s(b"b", b"a"), f(b"a/x")))
    yield bad("26-self", "a link to itself as a parent", tar(s(b"self", b"self"), f(b"self/x")))
    yield safe("27", "a directory in place of a link to one", tar(s(b"s", b"/" + C + b"/dir"), d(b"s", 0o777, uid=4242)))
    yield safe("28", "a link in place of a directory with attributes", tar(d(b"x", 0o700, uid=7, mtime=1), s(b"x", b"/" + C)))
    yield safe("29-child", "a directory with a child becomes a link", tar(d(b"a"), f(b"a/x"), s(b"a", b"/" + C), f(b"a/y")))
    yield safe("29-override", "a link is overridden and written through", tar(d(b"b"), s(b"b/l", b"/" + C),
            s(b"b/l", b"/elsewhere"), f(b"b/l/y")))
    yield safe("30", "a file through a link of the layer below", tar(link), tar(f(b"s/pwned")))
    yield safe("31", "a directory over a link of the layer below", tar(s(b"s", b"/" + C + b"/dir")), tar(d(b"s", 0o777), f(b"s/pwned")))
    yield safe("32", "a whiteout through a link of the layer below", tar(link), tar(f(b"s/.wh.victim", b"")))
    yield safe("33", "bin -> usr/bin below, bin/new above", tar(d(b"usr"), d(b"usr/bin"), f(b"usr/bin/old"),
            s(b"bin", b"usr/bin")), tar(f(b"bin/new")))
    for n, target in enumerate((b"/proc/self/root", b"/proc/1/root", b"/proc/self/cwd", b"/proc/thread-self/fd/3")):
        yield safe(f"34-{n}", f"a file through a link to {target.decode()}", tar(s(b"m", target), f(b"m/" + C + b"/pwned")))
    yield safe("35", "system directories as links", tar(*(s(name, b"/" + C) for name in (b"proc", b"sys", b"dev",
            b"etc/hosts", b"etc/resolv.conf", b"run"))))
    yield bad("36-empty", "a link without a target", tar(s(b"s", b"")))
    yield bad("36-long", "a target of 5,000 bytes", tar(s(b"s", b"x", px={"linkpath": b"t" * 5000})))
    yield bad("36-nul", "NUL in a target", tar(s(b"s", b"x", px={"linkpath": b"a\0b"})))
    smuggled = f(b"/" + C + b"/pwned", b"")
    for word, kind in (("link", b"1"), ("symlink", b"2"), ("char", b"3"), ("block", b"4"), ("dir", b"5"), ("fifo", b"6")):
        claims = tar(f(b"a"), header(b"b", len(smuggled), kind, link=b"a", major=1, minor=3) + smuggled)
        note = "a header with a size whose data is a header"
        if word == "block":
            # What 3.a says of A-37 (safe, or invalid-layer) is about the size. A block device is refused by default whatever
            # it claims, and that is its class (A-51): only where devices are allowed can its size be looked at.
            yield bad("37-block", note, claims, word="policy", needs="devices refused (the default)")
            yield either("37-block-allowed", note, claims, needs="block devices allowed")
        else:
            yield either("37-" + word, note, claims)
    yield bad("38", "many links, then a broken entry", tar(*(s(b"d%d/l" % n, b"/" + C) for n in range(50)), f(b"x", checksum="wrong")))
    yield safe("39", "libraries and their configuration", tar(*(f(name, b"\x7fELF broken", mode=0o755) for name in (
        b"lib/libnss_files.so.2", b"lib/libnss_dns.so.2", b"etc/ld.so.preload", b"etc/ld.so.cache", b"etc/nsswitch.conf",
        b"usr/lib/gconv/gconv-modules", b"usr/lib/locale/locale-archive"))))
    target = C + b"/secret"
    for word, entry in (("absolute", h(b"x", b"/" + target)), ("relative", h(b"x", b"../../" + target)), ("pax",
            h(b"x", b"y", px={"linkpath": UP + target})),
                        ("gnu", long(b"K", b"/" + target) + h(b"x", b"y", magic=GNU))):
        yield bad("41-" + word, "a hard link to a host file", tar(entry))
    yield safe("42", "an absolute hard link target inside", tar(f(b"etc/file"), h(b"x", b"/etc/file")))
    yield bad("43", "a hard link through a link to a host file", tar(link, h(b"x", b"s/secret")))
    yield safe("44", "a hard link to a link, with a mode", tar(s(b"s", b"/" + C + b"/victim"), h(b"h", b"s", mode=0o777)))
    yield safe("45", "a file in place of a hard link to a link", tar(s(b"s", b"/" + C + b"/victim"), h(b"h", b"s"), f(b"h")))
    yield bad("46", "a hard link to a name of the daemon's working directory", tar(h(b"x", b"etc/os-release")))
    for word, parts in (("dir", [d(b"a"), h(b"x", b"a")]), ("self", [h(b"x", b"x")]), ("nothing", [h(b"x", b"gone")]),
            ("later", [h(b"x", b"y"), f(b"y")]), ("own", [d(b"d"), f(b"d/t"), h(b"d", b"d/t")])):
        yield bad("47-" + word, "a hard link to a directory, itself, nothing, a later entry, what is in the directory it replaces", tar(*parts))
    yield safe("48-same", "a file in place of a hard link leaves the other name", tar(f(b"a", b"old"), h(b"b", b"a"), f(b"b", b"new")))
    yield safe("48-below", "the same, with the file in the layer below", tar(f(b"a", b"old")), tar(h(b"b", b"a"), f(b"b", b"new")))
    yield either("49", "70,000 hard links", lambda: tar(f(b"a"), *(h(b"l%d" % n, b"a") for n in range(70000))), word="limit-exceeded")
    yield either("50", "a character device", tar(d(b"dev"), dev(b"dev/null", 1, 3, mode=0o666)), word="policy")
    yield bad("51", "a block device", tar(dev(b"disk", 8, 0, b"4", mode=0o666)), word="policy", needs="devices refused (the default)")
    yield bad("52", "an overlay whiteout as a device", tar(d(b"etc"), dev(b"etc/passwd", 0, 0)), word="policy")
    for word, major, minor in (("2^32+1", 2**32 + 1, 0), ("-1", -1, 0), ("4096", 4096, 0), ("minor", 1, 2**20)):
        yield bad("53-" + word, f"device numbers {major}:{minor}", tar(dev(b"x", major, minor)))
    yield safe("54-fifo", "a FIFO", tar(fifo(b"p")))
    yield safe("54-file", "a FIFO, then a file of its name", tar(fifo(b"p"), f(b"p")))
    kinds = {"f": f, "d": d, "l": lambda name: s(name, b"/" + C), "p": fifo, "h": lambda name: h(name, b"base")}
    pairs = [(f"{a}-{b}".encode(), kinds[a], kinds[b]) for a in kinds for b in kinds]
    yield safe("55-same", "every type over every type in one layer", tar(f(b"base"), *(old(name) + new(name) for name, old, new in pairs)))
    yield safe("55-layers", "every type over every type across layers",
               tar(f(b"base"), *(old(name) for name, old, _ in pairs)), tar(f(b"base"), *(new(name) for name, _, new in pairs)))
    yield either("55-device", "a file in place of a device", tar(dev(b"x", 1, 3), f(b"x", b"bytes")), word="policy")
    for word, make in (("fifo", fifo), ("link", lambda name: s(name, b"/" + target)), ("dir", d)):
        yield safe("56-" + word, "user database as something else", tar(d(b"etc"), make(b"etc/passwd"), make(b"etc/group")))
    yield either("56-device", "user database as devices", tar(d(b"etc"), dev(b"etc/passwd", 1, 5), dev(b"etc/group", 1, 5)), word="policy")
    yield either("57-line", "a user database of 64 MiB in one line", lambda: tar(f(b"etc/passwd", b"r" * (64 << 20)),
            f(b"etc/group", b"")), word="limit-exceeded")
    yield either("57-groups", "1,000,000 groups", lambda: tar(f(b"etc/passwd", b"u:x:5:5::/:\n"),
            f(b"etc/group", b"".join(b"g%d:x:%d:u\n" % (n, n) for n in range(10**6)))), word="limit-exceeded")
    for word in ("trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.overlay.origin",
            "user.overlay.opaque",
                 "user.overlay.redirect", "user.overlay.metacopy", "user.overlay.whiteout"):
        yield either("58-" + word, "an attribute of the overlay file system", tar(d(b"a"), f(b"a/low")),
                tar(d(b"a", px={"SCHILY.xattr." + word: "y"}), f(b"a/up", px={"SCHILY.xattr." + word: "/x"})))
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    yield safe("59", "a file capability and an owner", tar(f(b"ping", uid=1000, mode=0o755,
            px={"SCHILY.xattr.security.capability": capability})))
    yield bad("59-flags", "a file capability with a flag that no kernel knows", tar(f(b"ping", mode=0o755,
            px={"SCHILY.xattr.security.capability": struct.pack("<IIIII", 0x02000003, 1 << 10, 0, 0, 0)})))
    yield safe("60", "user.* on a link", tar(s(b"s", b"t", px={"SCHILY.xattr.user.x": "y"}), f(b"f", px={"SCHILY.xattr.user.x": "y"})))
    yield bad("61-value", "an attribute of 70,000 bytes", tar(f(b"x", px={"SCHILY.xattr.user.x": b"v" * 70000})))
    yield bad("61-count", "1,000 attributes", tar(f(b"x", px={f"SCHILY.xattr.user.x{n}": "v" for n in range(1000)})))
    for word, key in (("empty", b""), ("space", b"nospace"), ("300", b"user." + b"n" * 295), ("nul", b"user.a\0b")):
        yield bad("62-" + word, "an attribute's name", tar(f(b"x", px={b"SCHILY.xattr." + key: "v"})))
    yield either("62-equals", "an attribute's name with =", tar(f(b"x", px={b"SCHILY.xattr.user.a=b": "v"})))
    ignored = ("SCHILY.fflags", "SCHILY.xattr.security.selinux", "SCHILY.xattr.security.ima",
            "SCHILY.xattr.system.posix_acl_access", "SCHILY.xattr.trusted.x")
    yield safe("63", "attributes outside the list", tar(f(b"x", px={key: "immutable" for key in ignored})))
    yield bad("64-header", "uid 4294967295", tar(f(b"x", uid=2**32 - 1, mode=0o4755)))
    yield bad("64-pax", "uid 4294967295 in PAX", tar(f(b"x", mode=0o4755, px={"uid": 2**32 - 1})))
    for n, uid in enumerate(("4294967296", str(2**63), "-1", "abc", " 1", "0x1")):
        yield bad(f"65-{n}", f"uid {uid!r}", tar(f(b"x", px={"uid": uid})))
    yield safe("66", "large legal owners", tar(f(b"a", uid=2**31), f(b"b", px={"uid": 2**32 - 2, "gid": 2**32 - 2})))
    yield safe("67", "setuid, setgid, sticky", tar(*(f(b"f%o" % mode, mode=mode, uid=5) + d(b"d%o" % mode, mode,
            gid=6) for mode in (0o4755, 0o2755, 0o1777, 0o7777, 0o6000))))
    yield safe("68", "type bits in the mode", tar(f(b"a", mode=0o177777), d(b"b", 0o140755)))
    for n, mtime in enumerate(("1e30", "-1000000000000000000", "nan", "99999999999999999999", "12345.678901234567", "-1.5")):
        yield either(f"69-{n}", f"mtime {mtime}", tar(f(b"x", px={"mtime": mtime})))
    yield either("69-base256", "mtime 2^62 in base-256", tar(f(b"x", mtime=2**62)))
    yield safe("69-nanos", "nanoseconds", tar(f(b"x", px={"mtime": "1700000000.123456789"}), d(b"y", px={"mtime": "1.000000001"})))
    yield safe("70", "user name root with uid 1234", tar(f(b"x", uid=1234, uname=b"root", gname=b"root")))
    for n, name in enumerate((b".wh.", b".wh..", b".wh...", b"d/.wh..", b"d/.wh...")):
        yield bad(f"71-{n}", f"a marker {name.decode()}", tar(d(b"d"), f(b"d/x")), tar(f(name, b"")))
    yield safe("72-whiteout", "a whiteout below a link", tar(link), tar(f(b"s/.wh.secret", b""), f(b"s/dir/.wh.victim", b"")))
    yield safe("72-opaque", "an opaque marker below a link", tar(link), tar(f(b"s/.wh..wh..opq", b"")))
    yield safe("73", "a whiteout of a link", tar(s(b"s", b"t"), f(b"t")), tar(f(b".wh.s", b"")))
    yield bad("74", "a whiteout that climbs", tar(f(b"x", b"", px={"path": b".wh." + b"../../../" + C + b"/victim"})))
    low = tar(d(b"a"), f(b"a/v"), d(b"b"), f(b"b/1"), f(b"keep"))
    for word, marker in (("link", s(b"a/.wh.v", b"/" + C)), ("dir", d(b"a/.wh.v") + f(b"a/.wh.v/x")), ("file", f(b"a/.wh.v", b"content")),
                         ("hard", f(b"a/w") + h(b"a/.wh.v", b"a/w")), ("device", dev(b"a/.wh.v", 1, 3))):
        yield either("75-" + word, "a marker that is not an empty file", low, tar(marker))
    yield bad("75-through", "a directory of a marker's name, through a link", tar(s(b"s", b".wh.foo/bar"), f(b"s/f")))
    yield bad("75-below", "the same, through a link of the layer below", tar(s(b"s", b".wh.foo/bar")), tar(f(b"s/f")))
    yield safe("76-gone", "whiteouts of a file, a directory, a missing name", low, tar(f(b"a/.wh.v", b""), f(b".wh.b", b""),
            f(b".wh.none", b""), f(b"new/.wh.x", b"")))
    yield safe("76-again", "whiteouts, then the names again, in both orders", low, tar(f(b"a/.wh.v", b""), f(b"a/v", b"new"),
            d(b"b"), f(b"b/2"), f(b".wh.b", b"")))
    yield safe("77-before", "a new file before the opaque marker", low, tar(f(b"b/2"), f(b"b/.wh..wh..opq", b"")))
    yield safe("77-after", "a new file after the opaque marker", low, tar(f(b"b/.wh..wh..opq", b""), f(b"b/2")))
    yield safe("77-root", "an opaque root", low, tar(f(b"new"), f(b".wh..wh..opq", b"")))
    yield safe("78-dirs", "AUFS bookkeeping", tar(d(b".wh..wh.plnk"), f(b".wh..wh.plnk/1.2"), f(b".wh..wh.aufs", b""),
            d(b".wh..wh.orph"), f(b"x")))
    yield either("78-link", "a hard link into AUFS bookkeeping", tar(d(b".wh..wh.plnk"), f(b".wh..wh.plnk/1.2"),
            h(b"x", b".wh..wh.plnk/1.2")))
    yield safe("79", "no marker is a visible name", low, tar(f(b"a/.wh.v", b""), f(b"b/.wh..wh..opq", b""),
            f(b"c/d/.wh.e", b"")), tar(f(b"a/.wh.none", b"")))
    yield safe("80-pax", "ustar size 0, PAX size 512: data that is a header", tar(f(b"x", smuggled, size=0, px={"size": 512})))
    yield safe("80-ustar", "ustar size 512, PAX size 0: a header that is no data", tar(f(b"x", f(b"y", b""), size=512, px={"size": 0})))
    yield safe("81", "ustar size 1024, PAX size 512", tar(f(b"x", smuggled + f(b"z", b""), size=1024, px={"size": 512})))
    yield safe("82", "PAX size before a GNU long name", tar(pax({"size": 512}) + long(b"L", b"long/name") + header(b"x", 0,
            magic=GNU) + smuggled))
    yield bad("83-pax", "a climbing PAX path over a harmless name", tar(f(b"etc/ok", px={"path": UP + C + b"/pwned"})))
    yield bad("83-gnu", "a climbing GNU name over a harmless name", tar(long(b"L", UP + C + b"/pwned"), f(b"etc/ok", magic=GNU)))
    yield either("84", "one key twice", tar(pax(raw=record("path", "first") + record("path", "second")) + f(b"x")))
    yield safe("85", "a global header", tar(pax({"path": UP + C + b"/pwned", "size": 512, "linkpath": "/" + CANARY, "uid": 5},
            kind=b"g"), f(b"a", b""), s(b"b", b"a"), f(b"c", b"bytes")))
    yield safe("85-end", "a global header as the last one", tar(f(b"a", b"bytes"), pax({"comment": "c"}, kind=b"g")))
    for word, raw in (("999", b"999 path=x\n"), ("negative", b"-5 path=x\n"), ("zero", b"0 path=x\n"), ("digits",
            b"9" * 400 + b" path=x\n"), ("newline", b"10 path=xy"), ("equals", b"9 pathxx\n")):
        yield bad("86-" + word, f"a PAX record {raw[:12]!r}", tar(pax(raw=raw) + f(b"x")))
    yield bad("87-64M", "a PAX header of 64 MiB", lambda: tar(f(b"x", px={"comment": b"c" * (64 << 20)})), word="limit-exceeded")
    yield bad("87-2^62", "a PAX header that claims 2^62 bytes", tar(pax({"path": "y"}, size=2**62) + f(b"x")), word="limit-exceeded")
    yield bad("88-1G", "a GNU name that claims 1 GiB", tar(header(b"././@LongLink", 1 << 30, b"L", magic=GNU) + bytes(4096)),
            word="limit-exceeded")
    yield bad("88-many", "10,000 GNU names in a row", lambda: tar(long(b"L", b"name") * 10000, f(b"x", magic=GNU)), word="limit-exceeded")
    yield bad("88-alone", "a GNU name without an entry", tar(long(b"L", b"name")))
    yield safe("88-nul", "bytes after the NUL of a GNU name", tar(long(b"L", b"name\0/../../x"), f(b"x", magic=GNU)))
    yield bad("89-wrong", "a checksum off by one", tar(f(b"x", checksum="wrong")))
    yield safe("89-signed", "a checksum of signed bytes", tar(f(b"\xff\xfesigned", checksum="signed")))
    for word, size in (("-1", -1), ("2^63-1", 2**63 - 1), ("letters", b"ABCDEFGH"), ("spaces", b" " * 12), ("nul", bytes(12))):
        yield bad("90-" + word, f"size {size!r}", tar(header(b"x", size) + pad(b"data")))
    yield bad("91-data", "ends in the data", f(b"x", b"d" * 4096)[:-1024])
    yield bad("91-header", "ends in a header", f(b"x") + f(b"y")[:300])
    for word, end in (("none", b""), ("one", bytes(512)), ("padded", bytes(1 << 20))):
        yield safe("92-" + word, "end of archive", f(b"x") + end)
    yield safe("92-zeros", "an archive of zeros", END)
    yield safe("92-nothing", "an archive of no bytes", b"")
    yield safe("93-archive", "a second archive after the end", tar(f(b"x")) + tar(f(b"y")))
    yield safe("93-random", "random bytes after the end", tar(f(b"x")) + hashlib.sha512(b"x").digest() * 9)
    for kind in (b"D", b"M", b"N", b"V", b"X", b"A", b"Z", b"\xff"):
        yield bad(f"94-{kind.hex()}", f"type {kind!r}", tar(header(b"x", kind=kind)))
    sparse = header(b"x", 512, b"S", magic=GNU, patch={386: _number((1 << 40) - 512, 12) + _number(512, 12),
            483: _number(1 << 40, 12)}) + pad(b"1")
    yield either("95", "an old GNU sparse file of 1 TiB", tar(sparse), word="limit-exceeded")
    gnu = {"GNU.sparse.major": 0, "GNU.sparse.minor": 1, "GNU.sparse.size": 1024, "GNU.sparse.numblocks": 1, "GNU.sparse.map": "0,1"}
    yield bad("96", "a climbing GNU.sparse.name", tar(f(b"GNUSparseFile/x", b"1", px=gnu | {"GNU.sparse.name": UP + C + b"/pwned"})))
    for word, change in (("10^9", {"GNU.sparse.numblocks": 10**9}), ("overlap",
            {"GNU.sparse.numblocks": 2, "GNU.sparse.map": "0,512,100,512"}),
                         ("descending", {"GNU.sparse.numblocks": 2, "GNU.sparse.map": "512,512,0,512"}), ("beyond",
                                 {"GNU.sparse.map": "1020,512"})):
        yield bad("97-" + word, "a broken sparse map", tar(f(b"GNUSparseFile/x", b"1" * (1024 if word in ("overlap",
                "descending") else 512), px=gnu | {"GNU.sparse.name": "x"} | change)),
                  word="limit-exceeded" if word == "10^9" else "invalid-layer")
    yield safe("98", "one file 500 times", tar(*(f(b"same", b"%d" % n) for n in range(500))))
    yield safe("99-child", "a child before its parent", tar(f(b"p/x"), d(b"p", 0o700, uid=3)))
    yield safe("99-never", "a parent that is never listed", tar(f(b"p/q/x")))
    yield safe("99-file", "a parent that is a file", tar(f(b"p"), f(b"p/x")))
    yield safe("99-mode", "a parent of mode 0000", tar(d(b"p", 0), f(b"p/x")))
    yield safe("100", "200,000 empty files", lambda: tar(*(header(b"d%d/f%d" % (n % 100, n)) for n in range(200000))))
    yield safe("101-v7", "V7 headers", tar(f(b"a", magic=b"", kind=b"\0"), header(b"dir/", kind=b"\0", magic=b""),
            f(b"dir/b", magic=b"", kind=b"\0")))
    yield safe("101-star", "star headers", tar(f(b"a", patch={508: b"tar\0", 476: b"14350000000 14350000000 "})))
    yield bad("101-cpio", "cpio", b"07070100000001000081a40000000000000000000000016553f10000000001".ljust(1024, b"0"))
    plain = tar(d(b"etc"), f(b"etc/motd", b"hello\n" * 100))
    def packed(id, verdict, note, data, media="gzip", word="invalid-layer", diff=plain, annotations=None, **more):
        return case(id, verdict, word, note, Blob(data, diff, images.OCI.get(media, media), annotations), **more)
    zipped, zstd = gzip.compress(plain, mtime=0), _zstd(plain)
    skippable = struct.pack("<II", 0x184D2A50, 16) + bytes(16)
    yield packed("102-none", "safe", "no compression", plain, "none")
    yield packed("102-gzip", "safe", "gzip", zipped)
    yield packed("102-zstd", "safe", "zstd", zstd, "zstd")
    yield packed("102-members", "safe", "several gzip members", b"".join(gzip.compress(plain[at:at + 700],
            mtime=0) for at in range(0, len(plain), 700)))
    yield packed("102-skippable", "safe", "a skippable zstd frame first", skippable + zstd, "zstd")
    yield packed("103-zeros", "safe", "zeros after the gzip member", zipped + bytes(1000))
    yield packed("103-garbage", "reject", "garbage after the gzip member", zipped + b"garbage" * 10)
    yield packed("104-truncated", "reject", "truncated gzip", zipped[:-20])
    yield packed("104-crc", "reject", "a wrong CRC", zipped[:-8] + bytes(4) + zipped[-4:])
    yield packed("104-isize", "reject", "a wrong ISIZE", zipped[:-4] + bytes(4))
    yield packed("104-flags", "reject", "reserved gzip flags", zipped[:3] + b"\xe0" + zipped[4:])
    yield packed("104-zstd-sum", "reject", "a wrong zstd checksum", zstd[:-4] + bytes(4), "zstd")
    yield packed("104-zstd-block", "reject", "a reserved zstd block", b"\x28\xb5\x2f\xfd\x20\x10" + struct.pack("<I",
            7 | 16 << 3)[:3] + bytes(16), "zstd")
    for word, flag, extra in (("name", 8, b"n" * (10 << 20) + b"\0"), ("comment", 16, b"c" * (10 << 20) + b"\0"), ("extra", 4,
            b"\xff\xff" + bytes(65535))):
        yield packed("105-" + word, "safe", "a large gzip " + word, zipped[:3] + bytes([flag]) + zipped[4:10] + extra + zipped[10:])
    def zeros(gib, pack):
        piece = pack(bytes(64 << 20))
        head = header(b"zeros", gib << 30)
        return Blob(pack(head) + piece * (gib * 16) + pack(END), b"", images.OCI["gzip" if pack is _gzip else "zstd"])
    yield bad("106-gzip", "4 GiB of zeros", lambda: zeros(4, _gzip), word="limit-exceeded", needs="limit unpacked 1 GiB")
    yield bad("106-zstd", "64 GiB of zeros", lambda: zeros(64, _zstd), word="limit-exceeded", needs="limit unpacked 1 GiB")
    yield safe("107", "4 MiB of zeros, 1000:1", tar(f(b"zeros", bytes(4 << 20))))
    raw_block = struct.pack("<I", 1 | len(plain) << 3)[:3] + plain
    for word, descriptor, verdict in (("3.75T", 0xff, "reject"), ("2G", 21 << 3, "reject"), ("128M", 17 << 3, "safe")):
        yield packed("108-" + word, verdict, f"a zstd window of {word}",
                b"\x28\xb5\x2f\xfd\x00" + bytes([descriptor]) + raw_block, "zstd", word="limit-exceeded")
    yield packed("108-frame", "reject", "a skippable frame that claims 4 GiB", struct.pack("<II", 0x184D2A50,
            2**32 - 1) + bytes(64), "zstd", word="limit-exceeded")
    yield packed("109-twice", "reject", "gzip inside gzip", gzip.compress(zipped, mtime=0))
    yield packed("109-tar", "either", "labelled gzip, is tar", plain)
    yield packed("109-gzip", "either", "labelled tar, is gzip", zipped, "none")
    yield packed("109-zip", "reject", "a zip archive", b"PK\x03\x04" + bytes(600))
    yield packed("109-html", "reject", "a web page", b"<!DOCTYPE html><html><body>sign in</body></html>" * 20)
    yield packed("110-unknown", "reject", "an unknown media type", zipped, "application/vnd.example.layer.v1", word="unsupported")
    yield packed("110-encrypted", "reject", "an encrypted layer", zipped, images.OCI["gzip"] + "+encrypted", word="unsupported")
    for word, magic in (("xz", b"\xfd7zXZ\0"), ("bzip2", b"BZh91AY&SY"), ("lz4", b"\x04\x22\x4d\x18"), ("lzma", b"\x5d\0\0\x80\0")):
        yield packed("111-" + word, "reject", word, magic + bytes(600), "none", word="unsupported")
    for word, change in (("names", {"name": "other"}), ("size", {"size": 10**12}), ("offset", {"offset": 2**62}), ("digest",
            {"digest": "sha256:" + "0" * 64})):
        yield packed("112-estargz-" + word, "either", "an eStargz table of contents that lies", *_estargz(plain, change))
    yield packed("112-estargz-overlap", "either", "an eStargz table of contents whose files overlap", *_estargz(plain, {},
            {"name": "etc/shadow", "offset": 10, "chunkOffset": 5, "chunkSize": 590}))
    yield case("112-estargz-10^7", "either", "invalid-layer", "an eStargz table of contents of 10,000,000 entries",
            lambda: Blob(*_estargz_blob(plain, b'{"version":1,"entries":[' + b"{}," * (10**7 - 1) + b"{}]}")))
    where = {"io.github.containers.zstd-chunked.manifest-checksum": "sha256:" + "0" * 64,
            "io.github.containers.zstd-chunked.manifest-position": "10:99999999:99999999:1"}
    yield packed("112-chunked", "either", "a zstd:chunked manifest that is not there", zstd, "zstd", annotations=where)
    for word, change in (("names", {"name": "other"}), ("size", {"size": 10**12}), ("digest", {"digest": "sha256:" + "1" * 64})):
        yield case("112-chunked-" + word, "either", "invalid-layer", "a zstd:chunked manifest that disagrees with the tar",
                _chunked(plain, zstd, change))


def _gzip(data):
    return gzip.compress(data, 9, mtime=0)


def _zstd(data):
    return subprocess.run(["zstd", "-3", "-qc", "--check"], input=data, capture_output=True, check=True).stdout


def _estargz(plain, change, *more):
    """(blob, media, class, diff) of a layer with an eStargz table of contents, one entry of it changed, or more of them added."""
    entry = {"name": "etc/motd", "type": "reg", "size": 600, "offset": 0, "digest": "sha256:" + "1" * 64} | change
    data, diff = _estargz_blob(plain, json.dumps({"version": 1, "entries": [entry, *(entry | other for other in more)]}).encode())
    return data, "gzip", "invalid-layer", diff


def _estargz_blob(plain, toc):
    parts = plain[:-1024], f(b"stargz.index.json", toc) + END
    blobs = [gzip.compress(part, 1, mtime=0) for part in parts]
    extra = struct.pack("<2sH", b"SG", 22) + b"%016xSTARGZ" % len(blobs[0])
    footer = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff" + struct.pack("<H", len(extra)) + extra + b"\x01\0\0\xff\xff" + bytes(8)
    return b"".join(blobs) + footer, b"".join(parts)


def _chunked(plain, packed, change):
    """A zstd:chunked layer that is whole but for one entry of its manifest, whose position and checksum are right."""
    entry = {"type": "reg", "name": "etc/motd", "mode": 0o644, "size": 600, "offset": 0, "endOffset": 100, "digest": "sha256:" + "0" * 64} | change
    manifest = json.dumps({"version": 1, "entries": [{"type": "dir", "name": "etc", "mode": 0o755}, entry]}).encode()
    small = _zstd(manifest)
    at = len(packed) + 8
    footer = struct.pack("<QQQQ", at, len(small), len(manifest), 1) + b"GNUlInUx"
    frames = b"".join(struct.pack("<II", 0x184D2A50, len(data)) + data for data in (small, footer))
    where = {"io.github.containers.zstd-chunked.manifest-checksum": "sha256:" + hashlib.sha256(small).hexdigest(),
            "io.github.containers.zstd-chunked.manifest-position": f"{at}:{len(small)}:{len(manifest)}:1"}
    return Blob(packed + frames, plain, images.OCI["zstd"], where)


# ---- documents (3.b)

M, I, CFG = images.OCI["manifest"], images.OCI["index"], images.OCI["config"]
DIGEST = "sha256:" + "a" * 64


def _parts(layout, config=None):
    """A good layer and config, and the manifest they make, as values to be broken."""
    layer = add_layer(layout, GOOD)
    document = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer.pop("diff_id")]}}
    document = config(document) if config else document
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return {"schemaVersion": 2, "mediaType": M, "config": layout.blob(body, CFG), "layers": [layer]}


def document_cases():
    """3.b, the rows that are documents. What is only a server's doing (endless answers) is not here."""
    def case(id, verdict, word, note, build, **more):
        return Case("B-" + id, verdict, "" if verdict == "safe" else word, note, build, **more)
    def manifest(id, note, change, verdict="reject", word="invalid-manifest", media=M, **more):
        """`change` takes the value of a good manifest and gives the broken one, as value or bytes."""
        def build(layout):
            value = change(_parts(layout))
            return layout.blob(value if isinstance(value, bytes) else json.dumps(value).encode(), media)
        return case(id, verdict, word, note, build, **more)
    def index(id, note, change, verdict="reject", word="invalid-manifest", media=I, **more):
        """`change` takes (layout, the good manifest's descriptor with platform) and gives the index."""
        def build(layout):
            child = layout.blob(json.dumps(_parts(layout)).encode(), M, platform={"architecture": "amd64", "os": "linux"})
            value = change(layout, child)
            return layout.blob(value if isinstance(value, bytes) else json.dumps(value).encode(), media)
        return case(id, verdict, word, note, build, **more)
    def listing(*children, **more):
        return {"schemaVersion": 2, "mediaType": I, "manifests": list(children)} | more
    def config(id, note, change, verdict="either", word="invalid-config", **more):
        """`change` takes the value of a good config and gives the broken one."""
        def build(layout):
            return layout.blob(json.dumps(_parts(layout, change)).encode(), M)
        return case(id, verdict, word, note, build, **more)
    def setting(id, note, key, value, **more):
        return config(id, note, lambda c: c | {"config": {key: value}}, **more)
    def text(change):
        """Changes the manifest's JSON text."""
        return lambda m: change(json.dumps(m)).encode()
    def layer(change):
        """Changes the manifest's one layer descriptor."""
        return lambda m: m | {"layers": [m["layers"][0] | change]}

    yield manifest("01", "a manifest that is an index too", lambda m: m | {"manifests": [m["config"] | {"mediaType": M}]})
    yield index("02", "an index that is a manifest too", lambda layout, child: listing(child, config=child, layers=[]))
    yield manifest("03-index", "called a manifest, is an index", lambda m: listing())
    yield index("03-manifest", "called an index, is a manifest", lambda layout, child: layout.read(child))
    yield manifest("03-field", "called a manifest, says index inside", lambda m: m | {"mediaType": I})
    yield manifest("04", "fields of schema 1 in schema 2", lambda m: m | {"fsLayers": [], "history": [], "signatures": []})
    one = {"schemaVersion": 1, "name": "x", "tag": "x", "architecture": "amd64", "fsLayers": [{"blobSum": DIGEST}],
            "history": [{"v1Compatibility": "{}"}]}
    yield manifest("05-unsigned", "schema 1", lambda m: one, word="unsupported",
            media="application/vnd.docker.distribution.manifest.v1+json")
    yield manifest("05-signed", "signed schema 1", lambda m: one | {"signatures": [{}]}, word="unsupported",
            media="application/vnd.docker.distribution.manifest.v1+prettyjws")
    for word, version in (("3", 3), ("2.0", 2.0), ("text", "2")):
        yield manifest("05-" + word, f"schemaVersion {version!r}", lambda m, version=version: m | {"schemaVersion": version},
                word="unsupported")
    yield manifest("05-absent", "no schemaVersion", lambda m: {k: v for k, v in m.items() if k != "schemaVersion"}, word="unsupported")
    yield manifest("06", "layers twice", text(lambda t: t[:-1] + ', "layers": []}'))
    yield manifest("07-config", "config twice", text(lambda t: t[:-1] + ', "config": {}}'))
    yield manifest("07-digest", "digest twice in a descriptor", text(lambda t: t.replace('"digest"', f'"digest": "{DIGEST}", "digest"', 1)))
    yield manifest("07-type", "mediaType twice", text(lambda t: t[:-1] + f', "mediaType": "{M}"}}'))
    for word, key in (("Layers", "Layers"), ("MediaType", "MediaType"), ("lookalike", "l\u0430yers")):
        yield manifest("08-" + word, f"the key {key!r} beside the right one", lambda m, key=key: m | {key: []}, verdict="either")
    yield manifest("08-escaped", "layers twice, once escaped", text(lambda t: t[:-1] + r', "\u006cayers": []}'))
    for word, tail in (("document", "{}"), ("text", " x"), ("nul", "\0")):
        yield manifest("09-" + word, "more after the JSON", text(lambda t, tail=tail: t + tail))
    yield manifest("10-bom", "a byte order mark", lambda m: b"\xef\xbb\xbf" + json.dumps(m).encode())
    yield manifest("10-utf16", "UTF-16", lambda m: json.dumps(m).encode("utf-16"))
    yield manifest("10-utf8", "invalid UTF-8", lambda m: json.dumps(m | {"annotations": {"a": "@"}}).encode().replace(b"@", b"\xff"))
    yield manifest("10-surrogate", "a lone surrogate", text(lambda t: t[:-1] + r', "annotations": {"a": "\ud800"}}'))
    for word, body in (("html", b"<html></html>"), ("empty", b""), ("null", b"null"), ("array", b"[]"), ("number", b"2"),
            ("string", b'"x"')):
        yield manifest("11-" + word, "not an object", lambda m, body=body: body)
    for word, change in (("layers", {"layers": None}), ("config", {"config": None}), ("object", {"layers": {}}), ("string",
            {"layers": ["x"]}), ("type", {"mediaType": 5})):
        yield manifest("12-" + word, "a value of the wrong type", lambda m, change=change: m | change)
    for word, opening in (("arrays", "["), ("objects", '{"a":')):
        yield manifest("13-" + word, "100,000 levels", text(lambda t, o=opening: t[:-1] + ', "x": ' + o * 100000), word="limit-exceeded")
    def filled(size):
        def change(m):
            body = json.dumps(m | {"annotations": {"a": ""}}).encode()
            return body.replace(b'"a": ""', b'"a": "%s"' % (b"x" * (size - len(body))))
        return change
    yield manifest("14", "exactly 4,000,000 bytes", filled(4000000), verdict="safe")
    yield manifest("15-5M", "5 MiB", filled(5 << 20), word="limit-exceeded")
    yield manifest("15-64M", "64 MiB", filled(64 << 20), word="limit-exceeded")
    yield manifest("16-size", "3 MiB of annotations", lambda m: m | {"annotations": {"a": "x" * (3 << 20)}}, verdict="either",
            word="limit-exceeded")
    yield manifest("16-count", "100,000 annotations", lambda m: m | {"annotations": {f"k{n}": "v" for n in range(100000)}},
            verdict="either", word="limit-exceeded")
    yield manifest("16-key", "a key of 1 MiB", lambda m: m | {"annotations": {"k" * (1 << 20): "v"}}, verdict="either",
            word="limit-exceeded")
    for word, size in (("1e400", "1e400"), ("12.5", "12.5"), ("text", '"12"'), ("true", "true"), ("2^63", str(2**63)),
            ("2^64", str(2**64)), ("-0", "-0")):
        yield manifest("17-" + word, f"size {size}", lambda m,
                size=size: json.dumps(layer({"size": "@"})(m)).encode().replace(b'"@"', size.encode()))
    yield manifest("18-negative", "size -1", layer({"size": -1}))
    yield manifest("18-zero", "size 0 of a blob that has bytes", layer({"size": 0}), word="invalid-manifest")
    for word, by in (("less", -1), ("more", 1)):
        yield manifest("19-layer-" + word, "the layer's size is off by one", lambda m,
                by=by: layer({"size": m["layers"][0]["size"] + by})(m), word="size-mismatch")
        yield manifest("19-config-" + word, "the config's size is off by one", lambda m,
                by=by: m | {"config": m["config"] | {"size": m["config"]["size"] + by}}, word="size-mismatch")
        yield index("19-manifest-" + word, "the manifest's size is off by one", lambda layout, child,
                by=by: listing(child | {"size": child["size"] + by}), word="size-mismatch")
    for word, size in (("1E", 1 << 60), ("20T", 20 << 40)):
        yield manifest("20-" + word, f"a layer that claims {size} bytes", layer({"size": size}), word="limit-exceeded")
    climbing = f"sha256:../../..{CANARY}/victim"
    yield manifest("21-layer", "a path as a layer's digest", layer({"digest": climbing}), word="invalid-digest")
    yield manifest("21-config", "a path as the config's digest", lambda m: m | {"config": m["config"] | {"digest": climbing}},
            word="invalid-digest")
    yield index("21-manifest", "a path as a manifest's digest", lambda layout, child: listing(child | {"digest": climbing}),
            word="invalid-digest")
    yield manifest("21-subject", "a path as the subject's digest", lambda m: m | {"subject": {"mediaType": M, "size": 5,
            "digest": climbing}}, word="invalid-digest")
    yield config("21-diff", "a path as a diff id", lambda c: c | {"rootfs": {"type": "layers", "diff_ids": [climbing]}},
            "reject", "invalid-digest")
    digits = "a" * 64
    for word, value in (("algorithm", digits), ("hash", "sha256:"), ("63", "sha256:" + digits[1:]), ("65",
            "sha256:a" + digits), ("upper", "sha256:" + digits.upper()),
                        ("hex", "sha256:" + "g" * 64), ("space", " sha256:" + digits)):
        yield manifest("22-" + word, f"digest {value[:20]!r}…", layer({"digest": value}), word="invalid-digest")
    for word, size in (("md5", 32), ("sha1", 40), ("crc32", 8), ("sha256+b64", 64), ("blake3", 64)):
        yield manifest("23-" + word, "an algorithm that is not accepted", layer({"digest": f"{word}:{'a' * size}"}), word="invalid-digest")
    def sha512(layout):
        parts = _parts(layout)
        body = layout.read(parts["layers"][0])
        name = "sha512:" + hashlib.sha512(body).hexdigest()
        layout.path(name).parent.mkdir(exist_ok=True)
        layout.path(name).write_bytes(body)
        parts["layers"][0]["digest"] = name
        return layout.document(parts, M)
    yield case("24", "either", "unsupported", "sha512", sha512)
    for word, tail in (("query", "?x="), ("hash", "#"), ("percent", "%2e%2e"), ("slash", "/"), ("crlf", "\r\nX: y"), ("nul", "\0")):
        yield manifest("25-" + word, f"a digest with {tail!r}", lambda m,
                tail=tail: layer({"digest": m["layers"][0]["digest"] + tail})(m), word="invalid-digest")
    yield manifest("26", "a layer that does not exist", layer({"digest": DIGEST}), word="not-found")
    def swapped(which):
        def build(layout):
            parts = _parts(layout)
            child = layout.blob(json.dumps(parts).encode(), M, platform={"architecture": "amd64", "os": "linux"})
            top = layout.blob(json.dumps(listing(child)).encode(), I)
            wrong = {"layer": parts["layers"][0], "config": parts["config"], "manifest": child, "index": top}[which]
            body = layout.read(wrong)  # the same size and meaning, other bytes
            layout.path(wrong["digest"]).write_bytes(body[:4] + b"\1" + body[5:] if which == "layer" else body.replace(b'": ', b'" :', 1))
            return top
        return build
    for which in ("layer", "config", "manifest", "index"):
        yield case("27-" + which, "reject", "digest-mismatch", f"another {which} under this digest", swapped(which),
                   needs="pull by digest" if which == "index" else "")
    yield manifest("28", "a layer on another host", layer({"urls": [f"http://{ELSEWHERE}/layer"], "digest": DIGEST}), word="unsupported")
    yield manifest("29-differs", "embedded data that is not the layer", layer({"data": base64.b64encode(b"other").decode()}),
            word="digest-mismatch")
    yield manifest("29-base64", "embedded data that is not base64", layer({"data": "***"}), word="digest-mismatch")
    yield manifest("29-3M", "embedded data of 3 MiB", layer({"data": base64.b64encode(bytes(9 << 18)).decode()}),
            word="digest-mismatch")
    yield case("30-none", "either", "unsupported", "an image of no layers", lambda layout: layout.image([]))
    yield manifest("30-artifact", "an artifact type", lambda m: m | {"artifactType": "application/vnd.example.thing"},
            verdict="either", word="unsupported")
    yield manifest("30-empty", "the empty config type",
            lambda m: m | {"config": m["config"] | {"mediaType": "application/vnd.oci.empty.v1+json"}}, word="unsupported")
    yield manifest("30-unknown", "a config of an unknown type",
            lambda m: m | {"config": m["config"] | {"mediaType": "application/vnd.example.config"}}, word="unsupported")
    def many(count):
        return lambda layout: layout.image([add_layer(layout, tar(f(b"f%d" % n, b"%d" % n))) for n in range(count)])
    for count in (127, 500):
        yield case(f"31-{count}", "safe", "", f"{count} layers", many(count))
    yield case("31-600", "reject", "limit-exceeded", "600 layers", many(600))
    yield manifest("31-100000", "100,000 layers", lambda m: m | {"layers": m["layers"] * 100000}, word="limit-exceeded")
    yield case("32", "safe", "", "one layer 50 times", lambda layout: layout.image([add_layer(layout, GOOD)] * 50))
    yield manifest("33-missing", "a subject that does not exist", lambda m: m | {"subject": {"mediaType": M, "size": 5,
            "digest": DIGEST}}, verdict="safe")
    yield manifest("33-index", "a subject that is an index", lambda m: m | {"subject": {"mediaType": I, "size": 5,
            "digest": DIGEST}}, verdict="safe")
    def nested(depth, width=1):
        def change(layout, child):
            value = child
            for level in range(depth - 1):
                value = layout.document(listing(*[value] * width, annotations={"level": str(level)}), I,
                        platform={"architecture": "amd64", "os": "linux"})
            return listing(*[value] * width)
        return change
    yield index("34", "an index in an index", nested(2), verdict="safe")
    yield index("35", "200 indexes in each other", nested(200), word="limit-exceeded")
    yield index("36", "10 levels of 50 entries", nested(10, 50), word="limit-exceeded")
    def own(layout, child):
        body = json.dumps(listing({"mediaType": I, "digest": DIGEST, "size": 0}))
        me = {"mediaType": I, "digest": DIGEST, "size": len(body) + 2}
        layout.path(DIGEST).write_bytes(json.dumps(listing(me)).encode())
        return listing(me)
    yield index("37", "an index that lists itself, by a digest that is wrong", own, word="digest-mismatch")
    yield index("38", "20,000 entries", lambda layout, child: json.dumps(listing(*[{"mediaType": M,
            "digest": f"sha256:{n:064x}", "size": 9, "platform":
                {"architecture": "arm", "os": "linux"}} for n in range(19999)], child), separators=(",", ":")).encode(), verdict="safe")
    other = {"architecture": "s390x", "os": "linux"}
    yield index("39", "nothing for this platform", lambda layout, child: listing(child | {"platform": other}), word="no-match")
    yield index("40-two", "two entries for one platform: the first", lambda layout, child: listing(child,
            child | {"digest": DIGEST}), verdict="safe")
    yield index("40-fields", "unknown fields", lambda layout, child: listing(child | {"x": 1,
            "platform": child["platform"] | {"y": [2], "features": ["z"]}}, z={}), verdict="safe")
    yield index("41", "an attestation first", lambda layout, child: listing(child | {"digest": DIGEST,
            "platform": {"architecture": "unknown", "os": "unknown"}}, child), verdict="safe")
    for n, name in enumerate(("../../x", "a:b:c", "registry.example/other/image:v1")):
        def named(layout, name=name):
            layout.tag(name, layout.document(_parts(layout), M))
            return layout.find(name)
        yield case(f"42-{n}", "reject", "invalid-reference", f"an import that names itself {name}", named, entrance="layout")
    for word, make in _archives().items():
        yield case("43-" + word, "reject", "invalid-manifest", "an archive with a broken entry", make, entrance="archive")
    for word, ids in (("wrong", lambda good: [DIGEST]), ("fewer", lambda good: []), ("more", lambda good: good * 2)):
        yield config("44-" + word, "diff ids that are not those of the layers", lambda c,
                ids=ids: c | {"rootfs": {"type": "layers", "diff_ids": ids(c["rootfs"]["diff_ids"])}}, "reject",
                "digest-mismatch")
    def crossed(layout):
        pair = [add_layer(layout, tar(f(b"a"))), add_layer(layout, tar(f(b"b")))]
        pair[0]["diff_id"], pair[1]["diff_id"] = pair[1]["diff_id"], pair[0]["diff_id"]
        return layout.image(pair)
    yield case("44-swapped", "reject", "digest-mismatch", "two diff ids in each other's place", crossed)
    yield config("45-type", "rootfs.type other", lambda c: c | {"rootfs": c["rootfs"] | {"type": "other"}}, "reject")
    yield config("45-missing", "no rootfs", lambda c: {k: v for k, v in c.items() if k != "rootfs"}, "reject")
    for word, body in (("binary", bytes(range(256))), ("empty", b""), ("array", b"[]"), ("deep", b'{"a":' + b"[" * 100000)):
        yield config("46-" + word, "a config that is not an object", lambda c, body=body: body, "reject",
                "invalid-config")
    yield config("47", "a config of 9 MiB", lambda c: c | {"author": "x" * (9 << 20)}, "reject", "limit-exceeded")
    for word, change in (("os", {"os": "windows"}), ("arch", {"architecture": "s390x"})):
        def other_platform(layout, change=change):
            child = layout.document(_parts(layout, lambda c: c | change), M, platform={"architecture": "amd64", "os": "linux"})
            return layout.document(listing(child), I)
        yield case("48-" + word, "reject", "no-match", "a config of another platform than its index entry says", other_platform)
    users = {"49": ("4294967296:0", "2147483648", "4294967295"), "50": ("-1:-1", "+0", "0x0", " 0", "00"), "51": ("a\nb",
            "a:b:c", "a\0b", "u" * (1 << 20))}
    for row, values in users.items():
        for n, user in enumerate(values):
            yield setting(f"{row}-{n}", f"User {user[:16]!r}", "User", user)
    for n, home in enumerate(("/root\nx:0:0:", "/root\\nx")):
        yield setting(f"52-{n}", f"HOME {home!r}", "Env", ["HOME=" + home])
    yield setting("53-climbs", "a volume that climbs", "Volumes", {f"/../..{CANARY}": {}})
    yield setting("53-empty", "a volume without a name", "Volumes", {"": {}})
    yield setting("53-10000", "10,000 volumes", "Volumes", {f"/v{n}": {} for n in range(10000)})
    for n, folder in enumerate(("/proc/self/fd/8", "relative", "/" + "w" * (100 << 10))):
        yield setting(f"54-{n}", f"WorkingDir {folder[:20]!r}", "WorkingDir", folder)
    labels = {"containerd.io/gc.root": "x", "io.kubernetes.pod.name": "x", "io.cri-containerd.image": "managed",
            "berth.pinned": "true", "big": "x" * (1 << 20)}
    yield setting("55", "labels in the name spaces of others", "Labels", labels, verdict="safe")
    for word, env in (("20000", [f"V{n}=x" for n in range(20000)]), ("equals", ["NOVALUE"]), ("nul", ["A=b\0c"]), ("twice",
            ["A=1", "A=2"])):
        yield setting("56-" + word, "an odd environment", "Env", env)
    yield setting("56-entry", "an entry point with NUL", "Entrypoint", ["/bin/sh\0x"])
    yield setting("56-ports", "ports that are none", "ExposedPorts", {"99999/tcp": {}, "x": {}, "-1/udp": {}})
    yield setting("57", "a secret in the environment", "Env", [f"PASSWORD={SECRET}"], verdict="safe")
    yield manifest("58", "a plain valid image", lambda m: m, verdict="safe")


def _archives():
    """{word: function that writes archive.tar into the layout's folder} of docker-save archives with one broken entry."""
    def saved(change):
        def build(layout):
            parts = _parts(layout)
            config, layer = layout.read(parts["config"]), zlib.decompress(layout.read(parts["layers"][0]), 31)
            listed = json.dumps([{"Config": "config.json", "RepoTags": ["lab.test/x:x"], "Layers": ["layer.tar"]}]).encode()
            entries = {"config.json": f(b"config.json", config), "layer.tar": f(b"layer.tar", layer),
                    "manifest.json": f(b"manifest.json", listed)}
            (layout.folder / "archive.tar").write_bytes(tar(*change(entries).values()))
            return layout.document(parts, M)
        return build
    secret = (C + b"/secret")
    return {"link": saved(lambda e: e | {"config.json": s(b"config.json", b"/" + secret)}),
            "hard": saved(lambda e: e | {"layer.tar": h(b"layer.tar", b"/" + secret)}),
            "absolute": saved(lambda e: e | {"layer.tar": s(b"layer.tar", UP + secret)}),
                    "fifo": saved(lambda e: e | {"layer.tar": fifo(b"layer.tar")}),
            "twice": saved(lambda e: e | {"again": f(b"manifest.json", b"[]")}),
                    "64M": saved(lambda e: e | {"manifest.json": f(b"manifest.json", b"[" + b" " * (64 << 20) + b"]")}),
            "repositories": saved(lambda e: {"repositories": f(b"repositories", b'{"x":{"x":"../../x"}}')}),
            "name": saved(lambda e: e | {"manifest.json": f(b"manifest.json",
                    json.dumps([{"Config": "../../" + CANARY + "/secret", "RepoTags": [],
                    "Layers": [CANARY + "/secret"]}]).encode())})}


def cases(prefix=""):
    for made in (layer_cases, document_cases):
        yield from (case for case in made() if case.id.startswith(prefix))


def repo(case):
    return "hostile/" + re.sub("[^a-z0-9-]", "-", case.id.lower())


def write(folder, prefix=""):
    """Writes the cases as layouts below `folder`; returns what cases.json lists."""
    listed = []
    for case in cases(prefix):
        layout = images.Layout(pathlib.Path(folder, case.id))
        digest = layout.tag("x", case.build(layout))
        listed.append({"id": case.id, "folder": case.id, "repo": repo(case), "digest": digest, "entrance": case.entrance,
                "verdict": case.verdict, "class": case.word, "note": case.note, "needs": case.needs})
    pathlib.Path(folder, "cases.json").write_text(json.dumps(listed, indent=1))
    return listed


def main(command="", *args):
    if command == "list" and len(args) <= 1:
        for case in cases(*args):
            print(f"{case.id:24} {case.verdict:6} {case.word:18} {case.note}" + (f" [{case.needs}]" if case.needs else ""))
    elif command == "write" and 1 <= len(args) <= 2:
        listed = write(*args)
        print(f"{len(listed)} cases in {args[0]}")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
