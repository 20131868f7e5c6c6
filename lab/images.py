"""lab/images.py: OCI images without a container tool: deterministic layers, layouts, pushes to a registry.

    layout = Layout("/tmp/x")
    layer = layout.layer(tree({"/usr/share/doc": "usr/share/doc"}), "gzip")
    layout.tag("v1", layout.index([layout.image([layer], arch="amd64"), layout.image([layer], arch="arm64")]))
    push(layout, "https://127.0.0.1:5000", "shop/web", "v1", auth=("demo", password), ca="ca.pem")

Test and measurement tooling, never shipped; Python 3.11 standard library only, like all of lab/ (plain modules: put lab/
on sys.path). A layer's source is a tar (bytes, a path or an open file) or a function that writes a tar to an open file, such as
tree() and entries() make. The same source gives the same bytes: names sorted, no user names, no access times.
"""
import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import pathlib
import shutil
import ssl
import stat
import subprocess
import tarfile
import tempfile
import urllib.parse
import zlib

OCI = {"manifest": "application/vnd.oci.image.manifest.v1+json", "index": "application/vnd.oci.image.index.v1+json",
       "config": "application/vnd.oci.image.config.v1+json", "none": "application/vnd.oci.image.layer.v1.tar",
       "gzip": "application/vnd.oci.image.layer.v1.tar+gzip", "zstd": "application/vnd.oci.image.layer.v1.tar+zstd"}
DOCKER = {"manifest": "application/vnd.docker.distribution.manifest.v2+json",
          "index": "application/vnd.docker.distribution.manifest.list.v2+json",
          "config": "application/vnd.docker.container.image.v1+json",
          "none": "application/vnd.docker.image.rootfs.diff.tar",
          "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
          "zstd": "application/vnd.docker.image.rootfs.diff.tar.zstd"}
COMPRESSIONS = ("none", "gzip", "pigz", "gzip-members", "zstd")
XATTRS = ("security.capability", "user.")
CHUNK = 1 << 20
REF = "org.opencontainers.image.ref.name"


def open_tar(out):
    return tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK, encoding="utf-8",
                        errors="surrogateescape")


def _walk(path, name):
    yield path, name
    if os.path.isdir(path) and not os.path.islink(path):
        for child in sorted(os.listdir(path)):
            yield from _walk(os.path.join(path, child), f"{name}/{child}" if name else child)


def add_path(tar, path, name, links):
    """One file-system object. `links` maps (device, inode) to the first name of this archive; sockets are left out."""
    st = os.lstat(path)
    if stat.S_ISSOCK(st.st_mode) or not name:
        return
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid = stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid
    info.mtime, nanos = divmod(st.st_mtime_ns, 10**9)
    if nanos:
        info.pax_headers["mtime"] = f"{info.mtime}.{nanos:09}"
    for kind, test in ((tarfile.DIRTYPE, stat.S_ISDIR), (tarfile.SYMTYPE, stat.S_ISLNK), (tarfile.FIFOTYPE, stat.S_ISFIFO),
                       (tarfile.CHRTYPE, stat.S_ISCHR), (tarfile.BLKTYPE, stat.S_ISBLK)):
        if test(st.st_mode):
            info.type = kind
    if info.type == tarfile.SYMTYPE:
        info.linkname = os.readlink(path)
    elif info.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        info.devmajor, info.devminor = os.major(st.st_rdev), os.minor(st.st_rdev)
    if st.st_nlink > 1 and info.type != tarfile.DIRTYPE:
        first = links.setdefault((st.st_dev, st.st_ino), name)
        if first != name:
            info.type, info.linkname = tarfile.LNKTYPE, first
            return tar.addfile(info)
    for key in sorted(os.listxattr(path, follow_symlinks=False)):
        if key.startswith(XATTRS):
            value = os.getxattr(path, key, follow_symlinks=False)
            info.pax_headers["SCHILY.xattr." + key] = value.decode("utf-8", "surrogateescape")
    if info.type != tarfile.REGTYPE:
        return tar.addfile(info)
    info.size = st.st_size
    with open(path, "rb") as file:
        tar.addfile(info, file)


def tree(places, keep=lambda name: True):
    """A tar of `places` = {path on disk: name in the image}; `keep(name)` may drop objects (not their children)."""
    def write(out):
        with open_tar(out) as tar:
            links = {}
            for path, at in sorted(places.items(), key=lambda item: item[1]):
                for child, name in _walk(path, at.strip("/")):
                    if keep(name):
                        add_path(tar, child, name, links)
    return write


def names(pairs):
    """A tar of exactly these (path on disk, name in the image), in this order."""
    def write(out):
        with open_tar(out) as tar:
            links = {}
            for path, name in pairs:
                add_path(tar, path, name, links)
    return write


def entries(*items):
    """A tar of made-up objects: (name, contents) for a file, (name, None) for a directory, or a (TarInfo, contents)."""
    def write(out):
        with open_tar(out) as tar:
            for info, data in items:
                if isinstance(info, str):
                    info = tarfile.TarInfo(info)
                    info.mode, info.type = (0o755, tarfile.DIRTYPE) if data is None else (0o644, tarfile.REGTYPE)
                data = (data or "").encode() if not isinstance(data, bytes) else data
                info.size = len(data) if info.type == tarfile.REGTYPE else 0
                tar.addfile(info, io.BytesIO(data))
    return write


class _Pipe:
    """A file that hands what is written to `sinks` (functions of bytes)."""
    def __init__(self, *sinks):
        self.sinks = sinks

    def write(self, data):
        for sink in self.sinks:
            sink(data)
        return len(data)


class _Zlib:
    """gzip, level 6, as one member or a new member each `member` bytes."""
    def __init__(self, sink, member=None):
        self.sink, self.member, self.left = sink, member, member
        self.coder = zlib.compressobj(6, zlib.DEFLATED, 31)

    def write(self, data):
        data = memoryview(data)
        while self.member and len(data) >= self.left:
            self.sink(self.coder.compress(data[:self.left]) + self.coder.flush())
            data, self.left, self.coder = data[self.left:], self.member, zlib.compressobj(6, zlib.DEFLATED, 31)
        self.left = self.left and self.left - len(data)
        self.sink(self.coder.compress(data))

    def close(self):
        self.sink(self.coder.flush())


class _Program:
    """A compressor that reads its standard input and writes `out`."""
    def __init__(self, argv, out):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=out)
        self.write = self.process.stdin.write

    def close(self):
        self.process.stdin.close()
        if self.process.wait():
            raise RuntimeError(f"{self.process.args[0]} ended with {self.process.returncode}")


def sha256_file(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


class Layout:
    """An OCI image layout folder. Blobs are written once; tag() replaces an entry of index.json of the same name."""
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        if not (self.folder / "index.json").exists():
            self._write_index([])

    def _write_index(self, manifests):
        (self.folder / "index.json").write_text(json.dumps(
            {"schemaVersion": 2, "mediaType": OCI["index"], "manifests": manifests}, indent=1))

    def path(self, digest):
        return self.folder / "blobs" / digest.replace(":", "/")

    def read(self, descriptor):
        return self.path(descriptor["digest"]).read_bytes()

    def blob(self, data, media_type, **more):
        """Stores bytes as they are; returns their descriptor."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.path(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def document(self, value, media_type, **more):
        return self.blob(json.dumps(value, separators=(",", ":")).encode(), media_type, **more)

    def layer(self, source, compression="gzip", docker=False, media_type=None, **more):
        """Stores a layer; returns its descriptor with the extra key "diff_id", which image() takes out again."""
        kind = {"pigz": "gzip", "gzip-members": "gzip"}.get(compression, compression)
        diff = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as out:
            coder = {"none": lambda: None, "gzip": lambda: _Zlib(out.write),
                     "gzip-members": lambda: _Zlib(out.write, 4 << 20),
                     "pigz": lambda: _Program(["pigz", "-6", "-n", "-c"], out),
                     "zstd": lambda: _Program(["zstd", "-3", "-q", "-c"], out)}[compression]()
            pipe = _Pipe(diff.update, coder.write if coder else out.write)
            with contextlib.ExitStack() as stack:
                if callable(source):
                    source(pipe)
                else:
                    if isinstance(source, bytes):
                        source = io.BytesIO(source)
                    elif isinstance(source, (str, os.PathLike)):
                        source = stack.enter_context(open(source, "rb"))
                    shutil.copyfileobj(source, pipe, CHUNK)
            if coder:
                coder.close()
        digest = sha256_file(out.name)
        os.replace(out.name, self.path(digest))
        return {"mediaType": media_type or (DOCKER if docker else OCI)[kind], "digest": digest,
                "size": self.path(digest).stat().st_size, **more, "diff_id": "sha256:" + diff.hexdigest()}

    def image(self, layers, arch="amd64", os="linux", variant=None, config=None, docker=False, annotations=None):
        """Stores config and manifest; returns the manifest's descriptor with its platform."""
        types = DOCKER if docker else OCI
        platform = {"architecture": arch, "os": os} | ({"variant": variant} if variant else {})
        document = platform | {"config": config or {}, "created": "1970-01-01T00:00:00Z", "rootfs": {
            "type": "layers", "diff_ids": [layer["diff_id"] for layer in layers]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "berth lab"} for _ in layers]}
        manifest = {"schemaVersion": 2, "mediaType": types["manifest"],
                    "config": self.document(document, types["config"]),
                    "layers": [{k: v for k, v in layer.items() if k != "diff_id"} for layer in layers]}
        if annotations:
            manifest["annotations"] = annotations
        return self.document(manifest, types["manifest"], platform=platform)

    def index(self, manifests, docker=False):
        types = DOCKER if docker else OCI
        return self.document({"schemaVersion": 2, "mediaType": types["index"], "manifests": manifests}, types["index"])

    def tag(self, name, descriptor):
        old = json.loads((self.folder / "index.json").read_text())["manifests"]
        entry = {k: v for k, v in descriptor.items() if k != "platform"} | {"annotations": {REF: name}}
        self._write_index([m for m in old if m.get("annotations", {}).get(REF) != name] + [entry])
        return descriptor["digest"]

    def find(self, ref):
        """The descriptor of a tag or a digest."""
        for entry in json.loads((self.folder / "index.json").read_text())["manifests"]:
            if ref in (entry.get("annotations", {}).get(REF), entry["digest"]):
                return entry
        raise KeyError(f"{self.folder}: nothing is named {ref}")

    def manifest(self, ref, arch="amd64"):
        """The image manifest of a tag or digest; of an index, the first entry of that architecture."""
        descriptor = self.find(ref)
        document = json.loads(self.read(descriptor))
        while "manifests" in document:
            fitting = [m for m in document["manifests"] if m.get("platform", {}).get("architecture", arch) == arch]
            document = json.loads(self.read(fitting[0]))
        return document


class Client:
    """The requests a push needs, over one kept connection. Errors carry method, path and status, never a header."""
    def __init__(self, url, auth=None, ca=None):
        where = urllib.parse.urlsplit(url)
        secure = {"context": ssl.create_default_context(cafile=ca)} if where.scheme == "https" else {}
        self.connection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)(where.netloc, timeout=60, **secure)
        self.headers = {"Authorization": "Basic " + base64.b64encode(":".join(auth).encode()).decode()} if auth else {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def call(self, method, target, body=None, headers=None, expect=(200, 201, 202)):
        where = urllib.parse.urlsplit(target)
        path = where.path + ("?" + where.query if where.query else "")
        self.connection.request(method, path, body, self.headers | (headers or {}))
        answer = self.connection.getresponse()
        data = answer.read()
        if expect and answer.status not in expect:
            raise RuntimeError(f"{method} {where.path}: status {answer.status}: {data[:200]!r}")
        return answer.status, answer.headers, data

    def put_blob(self, repo, digest, path):
        """Uploads a blob at once (POST, PUT) unless the registry has it; says whether it did."""
        if self.call("HEAD", f"/v2/{repo}/blobs/{digest}", expect=(200, 404))[0] == 200:
            return False
        location = self.call("POST", f"/v2/{repo}/blobs/uploads/", headers={"Content-Length": "0"})[1]["Location"]
        location += ("&" if "?" in location else "?") + "digest=" + urllib.parse.quote(digest)
        with open(path, "rb") as file:
            self.call("PUT", location, file, {"Content-Type": "application/octet-stream",
                                              "Content-Length": str(os.path.getsize(path))})
        return True

    def put_manifest(self, repo, ref, body, media_type):
        return self.call("PUT", f"/v2/{repo}/manifests/{ref}", body, {"Content-Type": media_type})[1]["Docker-Content-Digest"]


def push(layout, url, repo, tag, auth=None, ca=None, ref=None):
    """Pushes what `layout` names `ref` (default: the tag) with all it refers to; returns the digest of the tag."""
    def send(client, descriptor, name):
        body = layout.read(descriptor)
        document = json.loads(body)
        for child in document.get("manifests", []):
            send(client, child, child["digest"])
        for blob in ([document["config"]] if "config" in document else []) + document.get("layers", []):
            client.put_blob(repo, blob["digest"], layout.path(blob["digest"]))
        return client.put_manifest(repo, name, body, descriptor["mediaType"])
    with Client(url, auth, ca) as client:
        return send(client, layout.find(ref or tag), tag)
