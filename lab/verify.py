#!/usr/bin/env python3
"""lab/verify.py: what a mounted image must look like, computed without berth: the independent verifier.

    verify.py tree DIR                     digest of a mounted root (reliability-security.md, appendix B)
    verify.py expect LAYOUT REF            the tree that the layers of an OCI layout make, by an overlay in memory
    verify.py compare DIR LAYOUT REF       the differences, path by path; status 1 if there are any
    verify.py compare-dirs A B

It writes no file of an image and shares no code with the product. Compared are: path, type, mode (12 bits), owner, device
numbers, mtime in nanoseconds (not of the root), link target, size, SHA-256 of the contents (holes are zeros), the
extended attributes `security.capability` and `user.*`, and which names are one file.

The rules of applying a layer (runtime-registry.md 6, reliability-security.md 3.a), where they leave a choice:
- Markers act on the lower layers before any entry of their own layer does, so the order inside a layer cannot matter.
- Parents are resolved inside the root, through links of this and of lower layers, at most 40; missing ones are made
  root:root 0755, their mtime is free; a parent that is no directory gives way to one. A name that climbs out and a hard
  link to nothing refuse the layer.
- A hard link may carry attributes of its own; the file has either these or its first ones.
- The root has the attributes of the last entry for it, or 0755 root:root: both are accepted.
- Not compared: modes of symbolic links, sizes of directories. Never expected: xattrs outside the list, `user.*` on
  anything but files and directories, `user.overlay.*`.
"""
import dataclasses
import gzip
import hashlib
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zlib

import images

MAX_MTIME = 9223372036  # seconds; containerd's bound, the year 2262
MAX_LINKS, MAX_NAME, MAX_DEPTH, MAX_SIZE, MAX_EXTENSION = 40, 255, 1024, 256 << 30, 1 << 20


class Rejected(Exception):
    """The layers must not become a root. `word` is the error class of reliability-security.md 3.0."""
    def __init__(self, word, why):
        super().__init__(f"{word}: {why}")
        self.word = word


@dataclasses.dataclass(frozen=True)
class Attributes:
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int | None = None  # nanoseconds; None: free
    xattrs: tuple = ()        # ((name, value), ...), sorted, bytes


@dataclasses.dataclass
class Object:
    """One name of a tree. `also`: other attributes that are right as well. `group`: smallest name of its hard-link group."""
    kind: str  # of "fdlcbps", as in ls
    attributes: Attributes = Attributes()
    target: bytes = b""
    size: int = 0
    content: str = ""
    device: tuple = (0, 0)
    also: tuple = ()
    group: bytes = b""


def _allowed(kind, xattrs):
    return tuple(sorted((name, value) for name, value in xattrs if name == b"security.capability" or (
        name.startswith(b"user.") and kind in "fd" and not name.startswith(b"user.overlay."))))


# ---- a mounted root

_KINDS = ((stat.S_ISREG, "f"), (stat.S_ISDIR, "d"), (stat.S_ISLNK, "l"), (stat.S_ISCHR, "c"), (stat.S_ISBLK, "b"), (stat.S_ISFIFO, "p"))


def _read_object(folder, name, st):
    kind = next((kind for test, kind in _KINDS if test(st.st_mode)), "s")
    where = f"/proc/self/fd/{folder}/".encode() + name  # short, however deep the tree is
    found = Object(kind)
    xattrs = [(os.fsencode(key), os.getxattr(where, key, follow_symlinks=False)) for key in os.listxattr(where, follow_symlinks=False)]
    wanted = ((n, v) for n, v in xattrs if n == b"security.capability" or n.startswith((b"user.", b"trusted.overlay.")))
    found.attributes = Attributes(stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, tuple(sorted(wanted)))
    if kind == "l":
        found.target = os.readlink(name, dir_fd=folder)
    elif kind in "cb":
        found.device = os.major(st.st_rdev), os.minor(st.st_rdev)
    elif kind == "f":
        found.size = st.st_size
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
            found.content = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def scan(root):
    """{name in bytes: Object} of a mounted root; the root itself is b""."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # one descriptor a level
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    objects, groups = {b"": _read_object(top, b".", os.fstat(top))}, {}
    todo = [(top, b"", iter(sorted(os.listdir(top))))]
    try:
        while todo:
            folder, path, names = todo[-1]
            name = next(names, None)
            if name is None:
                os.close(todo.pop()[0])
                continue
            name = os.fsencode(name)
            st, full = os.stat(name, dir_fd=folder, follow_symlinks=False), path + name
            objects[full] = _read_object(folder, name, st)
            if stat.S_ISDIR(st.st_mode):
                below = os.open(name, flags, dir_fd=folder)
                todo.append((below, full + b"/", iter(sorted(os.listdir(below)))))
            elif st.st_nlink > 1:
                groups.setdefault((st.st_dev, st.st_ino), []).append(full)
    finally:
        for folder, *_ in todo:
            os.close(folder)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    _set_groups(objects, groups.values())
    return objects


def _set_groups(objects, groups):
    for names in groups:
        for name in names if len(names) > 1 else ():
            objects[name].group = min(names)


def digest(objects):
    """One SHA-256 over length-prefixed records, sorted by name."""
    total = hashlib.sha256()
    def put(*fields):
        for field in fields:
            field = field if isinstance(field, bytes) else str(field).encode()
            total.update(len(field).to_bytes(8, "little") + field)
    for name in sorted(objects):
        found, own = objects[name], objects[name].attributes
        put(name, found.kind, 0o777 if found.kind == "l" else own.mode, own.uid, own.gid, *found.device, own.mtime if name else 0,
            found.target, found.size, found.content, len(own.xattrs), *(part for pair in own.xattrs for part in pair), found.group)
    return "sha256:" + total.hexdigest()


# ---- what the layers make

class Node:
    """An inode of the overlay in memory; several names may hold it."""
    def __init__(self, kind, attributes=Attributes(), **more):
        self.object, self.children = Object(kind, attributes, **more), {}

    def holds(self, other):
        """Whether that directory is this one or below it."""
        return self is other or any(child.holds(other) for child in self.children.values())


class _Info(tarfile.TarInfo):
    """tarfile's header, but: a prefix only where the format has one (A-17), global headers without effect (A-85)."""
    @classmethod
    def frombuf(cls, buf, encoding, errors):
        info = super().frombuf(buf, encoding, errors)
        if buf[257:263] != b"ustar\0" and info.type not in tarfile.GNU_TYPES:
            name = tarfile.nts(buf[0:100], encoding, errors)
            info.name = name.rstrip("/") if info.isdir() else name
        return info

    def _proc_member(self, tar):
        if self.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME,
                tarfile.GNUTYPE_LONGLINK) and self.size > MAX_EXTENSION:
            raise Rejected("limit-exceeded", f"an extension header of {self.size} bytes")
        return super()._proc_member(tar)

    def _proc_pax(self, tar):
        at, data = tar.fileobj.tell(), tar.fileobj.read(self._block(self.size))[:self.size]
        if self.type == tarfile.XGLTYPE:
            return self.fromtarfile(tar)
        while data:  # tarfile itself skips what it cannot read
            length = re.match(rb"(\d{1,7}) [^=]+=", data)
            size = int(length[1]) if length else 0
            if not length or not length.end() < size <= len(data) or data[size - 1:size] != b"\n":
                raise Rejected("invalid-layer", f"PAX record {data[:20]!r}")
            data = data[size:]
        tar.fileobj.seek(at)
        return super()._proc_pax(tar)


CAPABILITIES = {(size, bytes((effective, 0, 0, version))) for size, version in ((20, 2), (24, 3)) for effective in (0, 1)}
_TYPES = {tarfile.REGTYPE: "f", tarfile.AREGTYPE: "f", tarfile.CONTTYPE: "f", tarfile.GNUTYPE_SPARSE: "f", tarfile.DIRTYPE: "d",
          tarfile.SYMTYPE: "l", tarfile.LNKTYPE: "h", tarfile.CHRTYPE: "c", tarfile.BLKTYPE: "b", tarfile.FIFOTYPE: "p"}


def _bytes(text):
    return text.encode("utf-8", "surrogateescape")


def _clean(name, what="name"):
    """The components of a name, "." and ".." worked out without looking at the tree."""
    if b"\0" in name:
        raise Rejected("invalid-layer", f"NUL in the {what} {name!r}")
    parts = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise Rejected("invalid-layer", f"the {what} {name!r} climbs out of the root")
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    if any(len(part.removeprefix(b".wh.")) > MAX_NAME for part in parts):  # no file has a marker's name
        raise Rejected("invalid-layer", f"a component of the {what} {name[:80]!r} is longer than {MAX_NAME}")
    if len(parts) > MAX_DEPTH:
        raise Rejected("limit-exceeded", f"the {what} {name[:80]!r} is deeper than {MAX_DEPTH}")
    return parts


def _mtime(info):
    text = info.pax_headers.get("mtime", "")
    match = re.fullmatch(r"(-?)(\d+)(?:\.(\d*))?", text)
    if text and not match:
        raise Rejected("invalid-layer", f"mtime {text!r}")
    seconds, nanos = (int(match[2]), int(((match[3] or "") + "0" * 9)[:9])) if match else (int(info.mtime), 0)
    if seconds < 0 or (match and match[1]):
        return 0
    return (min(seconds, MAX_MTIME)) * 10**9 + nanos


class Overlay:
    """Applies layers, lowest first, to a tree in memory."""
    def __init__(self):
        self.root = Node("d")

    def _folder(self, parts, make):
        """The directory that `parts` lead to inside the root, links followed; None if it is missing and not `make`."""
        stack, todo, links = [self.root], list(reversed(parts)), 0
        while todo:
            part = todo.pop()
            if part == b"..":
                del stack[max(1, len(stack) - 1):]
            if part in (b"..", b"", b"."):
                continue
            child = stack[-1].children.get(part)
            if child is None:
                if not make:
                    return None
                if part.startswith(b".wh."):
                    raise Rejected("invalid-layer", f"a link leads to {part!r}")
                child = stack[-1].children[part] = Node("d")
            if child.object.kind == "l":
                links += 1
                if links > MAX_LINKS:
                    raise Rejected("invalid-layer", f"{b'/'.join(parts)!r} goes through more than {MAX_LINKS} links")
                if child.object.target.startswith(b"/"):
                    del stack[1:]
                todo += reversed(child.object.target.split(b"/"))
            elif child.object.kind == "d":
                stack.append(child)
            elif make:
                stack[-1].children[part] = replaced = Node("d")  # the later wins
                stack.append(replaced)
            else:
                return None
        return stack[-1]

    def _markers(self, members):
        """Takes the whiteouts and opaque markers out of `members` and lets them act on the lower layers."""
        kept, folders = [], []
        for info in members:
            *parents, base = _clean(_bytes(info.name)) or [b""]
            if any(part.startswith(b".wh..wh.") for part in parents) or (base.startswith(b".wh..wh.") and base != b".wh..wh..opq"):
                continue  # AUFS bookkeeping
            if any(part.startswith(b".wh.") for part in parents) or base in (b".wh.", b".wh..", b".wh..."):
                raise Rejected("invalid-layer", f"{info.name!r} is neither a marker nor a name")
            if not base.startswith(b".wh."):
                kept.append(info)
                continue
            folders.append(parents)
            folder = self._folder(parents, make=False)
            if folder and base == b".wh..wh..opq":
                folder.children.clear()
            elif folder:
                folder.children.pop(base[4:], None)
        return kept, folders

    def apply(self, file):
        """Applies a tar, an open seekable file."""
        try:
            with tarfile.open(fileobj=file, mode="r:", tarinfo=_Info, encoding="utf-8", errors="surrogateescape") as tar:
                members = list(tar)
                file.seek(tar.offset)
                while (block := file.read(512))[156:157] == b"g":  # the module stops at a global header that nothing follows
                    file.seek(-(-int(block[124:136].strip(b" \0") or b"0", 8) // 512) * 512, 1)
                if block.strip(b"\0"):
                    raise Rejected("invalid-layer", f"no header at byte {tar.offset}")
                kept, folders = self._markers(members)
                for info in kept:
                    self._entry(tar, info)
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            file.seek(0)
            if file.read(512).strip(b"\0"):
                raise Rejected("invalid-layer", str(error)) from error
            kept, folders = [], []
        for parents in folders:  # a marker alone makes its directory
            self._folder(parents, make=True)

    def _entry(self, tar, info):
        kind, parts = _TYPES.get(info.type), _clean(_bytes(info.name))
        if kind is None:
            raise Rejected("invalid-layer", f"{info.name!r} has the type {info.type!r}")
        pax = info.pax_headers
        for key in ("uid", "gid", "size"):
            if not re.fullmatch(r"\d{1,19}", pax.get(key, "0")):
                raise Rejected("invalid-layer", f"{key} {pax[key]!r}")
        if not (0 <= info.uid < 2**32 - 1 and 0 <= info.gid < 2**32 - 1):
            raise Rejected("invalid-layer", f"owner {info.uid}:{info.gid}")
        xattrs = [(_bytes(key[13:]), _bytes(value)) for key, value in pax.items() if key.startswith("SCHILY.xattr.")]
        capability = dict(xattrs).get(b"security.capability")
        if capability is not None and (len(capability), capability[:4]) not in CAPABILITIES:
            raise Rejected("invalid-layer", f"the capability of {info.name!r}")
        own = Attributes(info.mode & 0o7777, info.uid, info.gid, _mtime(info), _allowed(kind, xattrs))
        if not parts:
            if kind != "d":
                raise Rejected("invalid-layer", "the root is not a directory")
            self.root.object.also = (own,)
            return
        folder, name = self._folder(parts[:-1], make=True), parts[-1]
        old = folder.children.get(name)
        if kind == "d":
            if old is None or old.object.kind != "d":
                folder.children[name] = old = Node("d")
            old.object.attributes = own
        elif kind == "h":
            folder.children[name] = self._linked(info, folder, name, own)
        else:
            folder.children[name] = self._made(tar, info, kind, own)

    def _linked(self, info, folder, name, own):
        target = _clean(_bytes(info.linkname), "link target")
        place = self._folder(target[:-1], make=False) if target else None
        node, old = place.children.get(target[-1]) if place else None, folder.children.get(name)
        if node is None or node.object.kind == "d" or (place is folder and target[-1] == name) or (old and old.holds(place)):
            raise Rejected("invalid-layer", f"{info.name!r} links to {info.linkname!r}, which is no file of the image")
        node.object.also += (dataclasses.replace(own, xattrs=_allowed(node.object.kind, own.xattrs)), dataclasses.replace(
            own, xattrs=node.object.attributes.xattrs))
        return node

    def _made(self, tar, info, kind, own):
        if info.size > MAX_SIZE:
            raise Rejected("limit-exceeded", f"{info.name!r} has {info.size} bytes")
        if kind == "l":
            target = _bytes(info.linkname)
            if not target or len(target) > 4095 or b"\0" in target:
                raise Rejected("invalid-layer", f"{info.name!r} has a target of {len(target)} bytes")
            return Node(kind, own, target=target)
        if kind in "cb":
            if not (0 <= info.devmajor < 2**12 and 0 <= info.devminor < 2**20):
                raise Rejected("invalid-layer", f"device {info.devmajor}:{info.devminor}")
            if kind == "c" and (info.devmajor, info.devminor) == (0, 0):
                raise Rejected("policy", f"{info.name!r} is an overlay whiteout")
            return Node(kind, own, device=(info.devmajor, info.devminor))
        if kind == "p":
            return Node(kind, own)
        content = hashlib.sha256()
        with tar.extractfile(info) as data:
            while piece := data.read(1 << 20):
                content.update(piece)
        return Node(kind, own, size=info.size, content=content.hexdigest())

    def objects(self):
        """{name in bytes: Object}, as scan() gives."""
        found, groups, todo = {}, {}, [(b"", self.root)]
        while todo:
            name, node = todo.pop()
            found[name] = dataclasses.replace(node.object)
            if node.object.kind == "d":
                todo += [((name + b"/" if name else b"") + child, below) for child, below in node.children.items()]
            else:
                groups.setdefault(id(node), []).append(name)
        _set_groups(found, groups.values())
        return found


def unpacked(path, out):
    """Writes the tar in a layer blob to `out`; returns its digest. By what the blob begins with: gzip, zstd or tar."""
    with open(path, "rb") as file:
        magic = file.read(4)
        file.seek(0)
        try:
            if magic[:2] == b"\x1f\x8b" and magic[3] & 0xe0:
                raise Rejected("invalid-layer", "reserved gzip flags")
            if magic[:2] == b"\x1f\x8b":
                with gzip.open(file) as plain:
                    shutil.copyfileobj(plain, out, 1 << 20)
            elif magic == b"\x28\xb5\x2f\xfd" or (len(magic) == 4 and magic[0] & 0xf0 == 0x50 and magic[1:] == b"\x2a\x4d\x18"):
                os.lseek(file.fileno(), 0, os.SEEK_SET)  # a child reads from there, not from our buffer
                done = subprocess.run(["zstd", "-dqc", "--long=27"], stdin=file, stdout=out, stderr=subprocess.PIPE)
                if done.returncode:
                    raise Rejected("invalid-layer", done.stderr.decode(errors="replace").strip())
            else:
                shutil.copyfileobj(file, out, 1 << 20)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Rejected("invalid-layer", str(error)) from error
    out.flush()
    out.seek(0)
    return "sha256:" + hashlib.file_digest(out, "sha256").hexdigest()


def expect(layout, ref, arch="amd64"):
    """{name: Object} that the image must show; raises Rejected when it must not become a root."""
    layout = images.Layout(layout) if not isinstance(layout, images.Layout) else layout
    manifest, overlay = layout.manifest(ref, arch), Overlay()
    diff_ids = json.loads(layout.read(manifest["config"]))["rootfs"]["diff_ids"]
    if len(diff_ids) != len(manifest["layers"]):
        raise Rejected("digest-mismatch", f"{len(manifest['layers'])} layers, {len(diff_ids)} diff ids")
    for layer, diff_id in zip(manifest["layers"], diff_ids):
        path = layout.path(layer["digest"])
        if images.sha256_file(path) != layer["digest"] or path.stat().st_size != layer["size"]:
            raise Rejected("digest-mismatch", f"blob {layer['digest']}")
        with tempfile.TemporaryFile() as tar:
            if unpacked(path, tar) != diff_id:
                raise Rejected("digest-mismatch", f"diff id {diff_id}")
            tar.seek(0)
            overlay.apply(tar)
    return overlay.objects()


# ---- differences

def _differences(name, want, have):
    if want.kind != have.kind:
        yield "type", want.kind, have.kind
        return
    fields = ("target", "size", "content", "device", "group")
    yield from ((field, getattr(want, field), getattr(have, field)) for field in fields if getattr(want, field) != getattr(have, field))
    def seen(choice):
        # what of `have` does not fit this choice of attributes
        pairs = [(field, getattr(choice, field), getattr(have.attributes, field)) for field in ("mode", "uid", "gid", "mtime", "xattrs")]
        return [(field, a, b) for field, a, b in pairs if a != b and not (field == "mtime" and (a is None or not name))
                and not (field == "mode" and want.kind == "l")]
    yield from min((seen(choice) for choice in (want.attributes, *want.also)), key=len)


def compare(want, have):
    """The differences between two trees, one line each."""
    lines = []
    for name in sorted(want.keys() | have.keys()):
        shown = "/" + "".join(chr(c) if 32 <= c < 127 and c != 92 else f"\\x{c:02x}" for c in name)
        if name not in have:
            lines.append(f"{shown}: missing")
        elif name not in want:
            lines.append(f"{shown}: not expected ({have[name].kind})")
        else:
            def value(field, one):
                return oct(one) if field == "mode" else one
            lines += [f"{shown}: {field} is {value(field, b)!r}, expected {value(field, a)!r}"
                      for field, a, b in _differences(name, want[name], have[name])]
    return lines


def main(command="", *args):
    lines, objects = [], {}
    try:
        if command == "tree" and len(args) == 1:
            objects = scan(args[0])
        elif command == "expect" and len(args) == 2:
            objects = expect(*args)
        elif command == "compare" and len(args) == 3:
            objects = expect(args[1], args[2])
            lines = compare(objects, scan(args[0]))
        elif command == "compare-dirs" and len(args) == 2:
            objects = scan(args[0])
            lines = compare(objects, scan(args[1]))
        else:
            sys.exit(__doc__)
    except Rejected as error:
        sys.exit(f"must be refused: {error}")
    print("\n".join(lines[:100]) + ("\n" if lines else "") + (f"… and {len(lines) - 100} more\n" if len(lines) > 100 else ""), end="")
    free = sum(found.attributes.mtime is None for name, found in objects.items() if name)
    note = f", {free} directories with a free mtime: compare, not the digest, decides" if free else ""
    print(f"{digest(objects)} {len(objects)} objects{note}"
          + (f", {len(lines)} differences" if command.startswith("compare") else ""))
    sys.exit(bool(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
