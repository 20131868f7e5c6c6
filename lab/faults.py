"""lab/faults.py: registries that misbehave: the rows of reliability-security.md 3.c that a real daemon meets over plain HTTP and TLS.

    for row in faults.rows(): ...      # Row; what it does is row.make(scene), a `fault` of registry.LayoutRegistry

A Scene is one image (a small config, a layer of noise), the registry that serves it, and `other`, a second origin. Both write down what
they are asked; what was sent is proven by that and not by the client's word. `matrix.py --part registry` runs the rows.

Not here: C-30 and C-32 are documents and layers (hostile.py: B-35 to B-38, A-106); C-63, since HTTP/2 is not offered; C-58 revoked, since
nobody is asked about revocation; of C-65 what needs a name server of the test's.
"""
import contextlib
import ctypes
import dataclasses
import datetime
import itertools
import json
import math
import pathlib
import random
import socket
import ssl
import subprocess
import threading
import typing

import hostile
import images
import registry
from registry import cut, reply

USER, TOKEN = "demo", "berth-canary-token-77c1"
ALWAYS = math.inf
SIZE = 600_000  # of the layer, about: more than fits into what a few answers of 100 KiB bring


class Other(registry.Served):
    """Another origin. `mood(handler)` answers; without one, what the registry has, below /cdn."""
    def __init__(self, scene):
        super().__init__()
        self.scene, self.mood, self.seen = scene, None, []

    def answer(self, handler):
        self.seen.append((handler.command, handler.path, dict(handler.headers)))
        if self.mood:
            return self.mood(handler)
        handler.path = handler.path.removeprefix("/cdn")
        return self.scene.server.serve(handler)


class Scene:
    """What a row plays with. `seen`: (kind, method, path, headers) of this row's requests; `over`: set when the row is done."""
    def __init__(self, folder, repo="plain"):
        self.layout, self.repo = images.Layout(folder), repo
        noise = random.Random(7).randbytes(SIZE)
        layer = self.layout.layer(images.entries(("etc/", None), ("etc/noise", noise)))
        manifest = self.layout.image([layer])
        self.layout.tag("x", manifest)
        self.manifest, self.layer = manifest["digest"], layer["digest"]
        self.config = json.loads(self.layout.read(manifest))["config"]["digest"]
        self.bytes = {digest: self.layout.path(digest).read_bytes() for digest in (self.manifest, self.layer, self.config)}
        self.server, self.other, self.seen, self.over, self.sent = None, None, [], threading.Event(), 0

    @staticmethod
    def name(row):
        return row.id.lower().replace("^", "-").replace(".", "-") + ".test"

    def prepare(self, rows, hosts, home):
        """Files that the daemon reads: certificates and hosts.toml by host, and /etc/hosts."""
        lines = ["127.0.0.1 localhost"]
        for row in rows:
            lines += [f"{address} {self.name(row)}" for address in row.more.get("addresses", ["127.0.0.1"])]
            certs = home / "certs.d" / hosts[row.id]
            certs.mkdir(parents=True)
            if (home / row.id / "trusted.pem").exists():
                (certs / "ca.crt").write_bytes((home / row.id / "trusted.pem").read_bytes())
            if "hosts" in row.more:
                (certs / "hosts.toml").write_text(f'server = "http://{hosts[row.id]}"\n' + "".join(
                    f'[host."{url.format(other=self.other.url)}"]\n' for url in row.more["hosts"]))
        (home / "hosts").write_text("\n".join(lines) + "\n")

    def environment(self, needs):
        return {"HTTP_PROXY": f"http://{USER}:{hostile.SECRET}@{self.other.host}", "NO_PROXY": "127.0.0.1"} if needs == "proxy" else {}

    @staticmethod
    def within(needs, home):
        """A hosts file of its own, in a mount name space of its own."""
        script = f"mount --bind {home}/hosts /etc/hosts && exec \"$@\""
        return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh") if needs == "names" else ()

    def play(self, row, host, own=None):
        """The row as a case of the matrix; from here on the registry does what it does."""
        self.host, self.repo, self.over, self.other.mood = host, "c/" + self.name(row), threading.Event(), row.more.get("mood")
        self.seen.clear()
        self.other.seen.clear()
        self.server.layouts[self.repo] = self.layout.folder
        fault = row.make(self)

        def told(handler):
            self.seen.append((self.kind(handler), handler.command, handler.path, dict(handler.headers)))
            return fault(handler)
        self.server.fault = told
        case = {"id": row.id, "note": row.note, "verdict": row.verdict, "class": row.word, "repo": self.repo, "folder": "plain", "host": host,
                "after": lambda handler: self.kind(handler) == "token" and reply(handler, 200, json.dumps({"token": TOKEN}).encode())}
        if row.login:
            case |= {"arguments": ["--creds", USER, "--password-stdin"], "input": hostile.SECRET}
        if row.more.get("by digest"):
            case["reference"] = f"{host}/{self.repo}@{self.manifest}"
        if own or row.needs == "proxy":  # afterwards the good image comes from the other server, straight
            case["reference"] = f"{case.pop('host')}/{self.repo}:x"
        if row.needs == "names":
            case["folder"] = ""  # its mounts are not seen from here
        checks = [lambda done: row.check(self, done)] if row.check else []
        if hasattr(own, "problem"):
            checks.append(lambda done: own.problem())
        return case | {"check": lambda done: next((problem for check in checks if (problem := check(done))), None), "needs": row.needs}

    def kind(self, handler):
        path = handler.path.split("?")[0]
        if "/manifests/" in path:
            return "head" if handler.command == "HEAD" else "manifest"
        for kind, digest in (("layer", self.layer), ("config", self.config)):
            if path.endswith(digest):
                return kind
        return "token" if path.startswith("/token") else "ping"

    def wanted(self, handler):
        """The bytes that are asked for."""
        return self.bytes.get({"layer": self.layer, "config": self.config}.get(self.kind(handler), self.manifest))

    def count(self, *kinds):
        return sum(kind in kinds for kind, *_ in self.seen)


@dataclasses.dataclass
class Row:
    id: str
    verdict: str  # reject | safe
    word: str
    note: str
    make: typing.Callable = lambda scene: lambda handler: False  # Scene -> fault
    needs: str = ""  # quick: limits of tenths of a second; names: a hosts file of its own; proxy: a proxy, which is `other`
    login: bool = False
    serve: typing.Callable = None  # (Scene, folder) -> a server of its own, with a port and, if need be, problem()
    check: typing.Callable = None  # (Scene, CompletedProcess) -> what is wrong, or None
    more: dict = dataclasses.field(default_factory=dict)  # mood of `other`; "by digest"; hosts: a hosts.toml; addresses: of its name


# ---- what an answer may be: functions of (handler, scene, n), n the number of this request of its kind

def raw(data, then=cut):
    def respond(handler, scene, n):
        handler.wfile.write(data(scene, handler) if callable(data) else data)
        handler.wfile.flush()
        handler.close_connection = True
        return then(handler) if then else True
    return respond


def head(text, status="200 OK"):
    """An answer with these header lines and no body."""
    return raw(f"HTTP/1.1 {status}\r\n".encode() + (text if isinstance(text, bytes) else text.encode("latin-1")) + b"\r\n")


def answers(status, body=b"{}", **headers):
    def respond(handler, scene, n):
        return reply(handler, status, body(scene) if callable(body) else body, **{name: value(scene) if callable(value) else value for name, value in headers.items()})
    return respond


def reset(handler, *_):
    """A RST, whatever else has a descriptor of the connection."""
    handler.close_connection = True
    ctypes.CDLL(None).connect(handler.connection.fileno(), bytes(16), 16)  # AF_UNSPEC
    return True


def hold(handler, scene, n):
    scene.over.wait(20)
    return cut(handler)


def serves(most=None, then=cut):
    """The right answer, or its first bytes."""
    def respond(handler, scene, n):
        scene.server.serve(handler, most)
        handler.wfile.flush()
        return then(handler, scene, n) if then in (reset, hold) else then(handler) if most is not None else True
    return respond


def drips(seconds, step=1, first=0):
    """The right answer, some bytes at a time."""
    def respond(handler, scene, n):
        body = scene.wanted(handler)
        reply(handler, 200, body[:first], Content_Length=len(body))
        for at in range(first, len(body), step):
            if scene.over.wait(seconds):
                return cut(handler)
            handler.wfile.write(body[at:at + step])
            handler.wfile.flush()
        return True
    return respond


def endless(start, piece, most=256 << 20):
    """Bytes until the client leaves; scene.sent counts those that the system took."""
    def respond(handler, scene, n):
        handler.close_connection, scene.sent = True, 0
        handler.connection.settimeout(10)
        try:
            handler.wfile.write(start)
            while scene.sent < most and not scene.over.is_set():
                handler.wfile.write(piece)
                scene.sent += len(piece)
        except OSError:
            pass
        return True
    return respond


def part(content_range, status=206, body=lambda whole, first: whole[first:], **more):
    """An answer to a Range; to what asks for all, the first half and the end."""
    def respond(handler, scene, n):
        whole = scene.wanted(handler)
        if "Range" not in handler.headers:
            return serves(len(whole) // 2)(handler, scene, n)
        first = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
        given = {"Content_Range": content_range.format(first=first, last=len(whole) - 1, size=len(whole), before=first - 100)} if content_range else {}
        return reply(handler, status, body(whole, first), **given, **more)
    return respond


def flipped(handler, scene, n):
    body = bytearray(scene.wanted(handler))
    body[len(body) // 2] ^= 1
    types = {"Content_Type": images.OCI["manifest"]} if scene.kind(handler) == "manifest" else {}
    return reply(handler, 200, bytes(body), **types)


def away(target, status=307):
    def respond(handler, scene, n):
        return reply(handler, status, b"", Location=target(scene, handler) if callable(target) else target)
    return respond


# ---- where and how often

def on(kinds, respond, times=ALWAYS, every=1, start=0):
    """A row's `make`: these requests (names of Scene.kind, or "any") get this answer, the first `times`, every `every`th of them."""
    kinds = {"head", "manifest", "config", "layer"} if kinds == "any" else set(kinds.split())

    def make(scene):
        counts = {kind: itertools.count(1) for kind in kinds}

        def fault(handler):
            kind = scene.kind(handler)
            if kind not in kinds:
                return False
            n = next(counts[kind])
            return n <= times and (n - 1) % every == start and respond(handler, scene, n)
        return fault
    return make


def both(*makes):
    def make(scene):
        faults = [one(scene) for one in makes]
        return lambda handler: any(fault(handler) for fault in faults)
    return make


def bearer(token=None, challenge='Bearer realm="http://{host}/token",service="lab",scope="repository:{repo}:pull"', inner=None, good=lambda scene, n: True):
    """A registry that wants a token. `token(handler, scene, n)`: its token service; `good`: whether the nth request with one is let in."""
    token = token or answers(200, json.dumps({"token": TOKEN, "expires_in": 300}).encode(), Content_Type="application/json")

    def make(scene):
        tokens, requests, then = itertools.count(1), itertools.count(1), inner(scene) if inner else lambda handler: False

        def fault(handler):
            if scene.kind(handler) == "token":
                return token(handler, scene, next(tokens))
            if handler.headers.get("Authorization") == "Bearer " + TOKEN and good(scene, next(requests)):
                return then(handler)
            lines = challenge if isinstance(challenge, list) else [challenge]
            handler.send_response(401)
            for line in lines:
                handler.send_header("WWW-Authenticate", line.format(host=scene.host, other=scene.other.host, repo=scene.repo))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True
        return fault
    return make


def basic(scene):
    def fault(handler):
        if registry.user_of(handler) == (USER, hostile.SECRET):
            return False
        return reply(handler, 401, b"", WWW_Authenticate='Basic realm="lab"')
    return fault


# ---- what is looked at afterwards

def at_most(count, *kinds):
    return lambda scene, done: f"{scene.count(*kinds)} requests: {[seen[:3] for seen in scene.seen][:12]}" if scene.count(*kinds) > count else None


def nobody(scene, done):
    """The second origin was not asked."""
    return f"the other host saw {scene.other.seen[:2]}" if scene.other.seen else None


def no_secret(scene, done):
    """The second origin was asked, but nothing that is the first one's."""
    told = [sorted(set(map(str.lower, headers)) & {"authorization", "cookie", "referer"}) for _, _, headers in scene.other.seen]
    return f"the other host saw {told}" if any(told) or not told else None


def no_login(scene, done):
    told = [kind for kind, _, _, headers in scene.seen if "Authorization" in headers]
    return f"credentials were sent for: {told}" if told else None


def resumed(scene, done):
    """The second request of the layer begins where the first answer ended."""
    ranges = [headers.get("Range") for kind, _, _, headers in scene.seen if kind == "layer"]
    half = len(scene.bytes[scene.layer]) // 2
    return None if ranges == [None, f"bytes={half}-"] else f"ranges {ranges}, half is {half}"


def asked_for(text):
    """The second origin was, with this in all paths."""
    return lambda scene, done: f"the mirror was asked for {scene.other.seen[:2]}" if not scene.other.seen or any(text(scene) not in path for _, path, _ in scene.other.seen) else None


# ---- servers of their own

class Port:
    """Takes connections and gives each to `treat(connection)` on a thread. `problem()`: whether anybody did more than begin a handshake."""
    def __init__(self, treat):
        self.treat, self.plain, self.asked, self.connections, self._open = treat, 0, b"", 0, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        self.connections += 1
        with contextlib.suppress(OSError, ValueError):
            connection.settimeout(20)
            if (first := connection.recv(1, socket.MSG_PEEK)) and first != b"\x16":
                self.plain += 1
            self.asked += self.treat(connection) or b""

    def problem(self):
        if not self.connections or self.plain or self.asked:
            return f"{self.connections} connections, {self.plain} of them without TLS; sent after the handshake: {self.asked[:60]!r}"
        return None


class Authority:
    """A certificate authority in a folder, and what it signs, by openssl."""
    def __init__(self, folder, name="root", days=2):
        self.folder, self.name = pathlib.Path(folder), name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cert, self.key = self.sign(name, f"basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n", days, self_signed=True)

    def _openssl(self, *args):
        subprocess.run(["openssl", *args], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def sign(self, name, extensions, days=2, key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), self_signed=False):
        """(certificate, key), PEM; days of -1: it has ended. A second one of a name has the key of the first."""
        made = self.folder / f"{name}.key"
        if not made.exists():
            self._openssl("req", "-newkey", *key, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN=berth lab {name}")
        (self.folder / "ext").write_text(extensions)
        by = ("-signkey", f"{name}.key") if self_signed else ("-CA", f"{self.name}.pem", "-CAkey", f"{self.name}.key", "-CAcreateserial")
        out = f"{name}.pem" if self_signed or name == "server" else f"{name}-by-{self.name}.pem"
        self._openssl("x509", "-req", "-in", f"{name}.csr", *by, "-days", str(days), "-extfile", "ext", "-out", out)
        return (self.folder / out).read_text(), made

    def server(self, host, **more):
        return self.sign("server", f"subjectAltName=DNS:{host}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n", **more)


def context(folder, chain, key, change=lambda made: None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    change(made)
    (folder / "chain.pem").write_text(chain)
    made.load_cert_chain(folder / "chain.pem", key)
    return made


def shaking(made):
    """A Port's treat: the handshake; what comes after it."""
    def treat(connection):
        with made.wrap_socket(connection, server_side=True) as secure:
            return secure.recv(1 << 16)
    return treat


def after_hello(answer=b"", reset_it=False, silent=False):
    """A Port's treat: no handshake."""
    def treat(connection):
        connection.recv(1 << 16)
        if silent:
            while connection.recv(1 << 16):
                pass
        connection.sendall(answer)
        if reset_it:
            ctypes.CDLL(None).connect(connection.fileno(), bytes(16), 16)
        else:
            connection.shutdown(socket.SHUT_RDWR)
    return treat


def secured(host, days=2, root_days=2, trust=True, filler=0, key=None, change=lambda made: None, crossed=None, real=False):
    """A row's `serve`: TLS for the name of the row (host: "") or another one. `crossed`: the server's authority is signed by one that has
    ended, too; "known": it is trusted itself as well. `real`: a registry; else a Port that wants nothing after the handshake."""
    def serve(scene, folder):
        name = host or folder.name.lower() + ".test"
        root = Authority(folder, days=root_days)
        cert, made = root.server(name, days=days, **({"key": key} if key else {}))
        chain, trusted = cert + root.cert * filler, root.cert if trust else Authority(folder / "unknown").cert
        if crossed:
            old = Authority(folder, "old", days=-1)
            chain += old.sign("root", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n")[0]
            trusted = old.cert + (root.cert if crossed == "known" else "")
        (folder / "trusted.pem").write_text(trusted)
        ready = context(folder, chain, made, change)
        return Registry(scene, ready) if real else Port(shaking(ready))
    return serve


class Registry(registry.LayoutRegistry):
    """The scene's image and faults elsewhere: by TLS, at another address."""
    def __init__(self, scene, made=None, **more):
        super().__init__({}, tls=made, **more)
        self.scene = scene

    def answer(self, handler):
        self.layouts = self.scene.server.layouts
        if not self.scene.server.fault(handler):
            self.serve(handler)


def port(treat):
    def serve(scene, folder):
        return Port(treat)
    return serve


class Hole(contextlib.ExitStack):
    """A port that answers no SYN: its queue is full and nobody accepts."""
    def __enter__(self):
        listener = self.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        self.port = listener.getsockname()[1]
        for _ in range(4):
            one = self.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", self.port))
        return super().__enter__()


def all_of(*checks):
    return lambda scene, done: next((problem for check in checks if (problem := check(scene, done))), None)


def rows():
    def bad(id, word, note, make, **more):
        return Row("C-" + id, "reject", word, note, make, **more)

    def good(id, note, make, **more):
        return Row("C-" + id, "safe", "", note, make, **more)
    cdn = lambda scene, handler: scene.other.url + "/cdn" + handler.path  # noqa: E731
    long_ago = "Mon, 01 Jan 2001 00:00:00 GMT"

    def in_chunks(handler, scene, n):
        body, kind = scene.wanted(handler), scene.kind(handler)
        kinds = images.OCI["manifest"] if kind in ("head", "manifest") else "application/octet-stream"
        handler.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kinds}\r\nTransfer-Encoding: chunked\r\nTrailer: X-After\r\n\r\n".encode())
        if kind != "head":
            for at in range(0, len(body), 70_000):
                handler.wfile.write(b"%x;name=value\r\n%s\r\n" % (len(body[at:at + 70_000]), body[at:at + 70_000]))
            handler.wfile.write(b"0\r\nX-After: 1\r\n\r\n")
        return True
    yield good("01-chunked", "chunks with extensions, trailers", on("any", in_chunks))
    yield good("01-length", "no length: the connection's end is the body's", on("config layer", raw(lambda scene, handler: b"HTTP/1.1 200 OK\r\n\r\n" + scene.wanted(handler))))
    yield bad("02", "timeout", "a header byte now and then", on("head manifest", lambda handler, scene, n: slowly(handler, scene)), needs="quick")
    yield bad("03", "timeout", "a body of some bytes a second", on("layer", drips(0.1)), needs="quick")
    yield good("04", "a slow link, and a pause", on("layer", drips(0.02, 1 << 16)), needs="quick")
    yield bad("05-silent", "timeout", "accepted, never answered", on("head manifest", hold), needs="quick")
    yield bad("05-half", "timeout", "half of a blob, then silence", on("layer", serves(1000, hold)), needs="quick")
    yield good("05-resumed", "half of a blob, then silence, once", on("layer", serves(SIZE // 2, hold), times=1), needs="quick")
    yield bad("07-headers", "connection-reset", "reset in the headers, always", on("head manifest", raw(b"HTTP/1.1 200 O", reset)))
    yield good("07-once", "reset in the headers, once of each", on("any", raw(b"HTTP/1.1 200 O", reset), times=1))
    yield bad("07-body", "connection-reset", "reset in the body, always at its beginning", on("layer", raw(
              lambda scene, handler: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(scene.wanted(handler)), reset)), check=at_most(6, "layer"))
    yield good("08", "cut at one half, and resumed there", on("layer", lambda handler, scene, n: serves(len(scene.wanted(handler)) // 2)(handler, scene, n), times=1), check=resumed)
    yield good("09", "100 KiB an answer", on("layer", serves(100 << 10)), check=at_most(12, "layer"))
    yield bad("10", "unexpected-eof", "always cut, ranges ignored", on("layer", lambda handler, scene, n: raw(
              b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(scene.wanted(handler)) + scene.wanted(handler)[:1000])(handler, scene, n)), check=at_most(5, "layer"))
    yield good("11", "a Range answered with 200 and all", on("layer", part("", 200, lambda whole, first: whole)))
    for word, text in (("offset", "bytes {before}-{last}/{size}"), ("garbage", "bytes all"), ("total", "bytes {first}-{last}/9999999"), ("none", "")):
        yield good("12-" + word, "206 of something else: once more from zero", both(on("layer", lambda handler, scene, n: serves(SIZE // 2)(handler, scene, n), times=1),
                   on("layer", part(text), times=1)))
    yield good("12-multipart", "206 in parts", on("layer", part("bytes {first}-{last}/{size}", Content_Type="multipart/byteranges; boundary=x"), times=2))
    yield good("13", "every Range is 416", both(on("layer", serves(SIZE // 2), times=1), lambda scene: lambda handler: "Range" in handler.headers and reply(handler, 416, b"")))
    yield bad("14", "digest-mismatch", "the rest comes from other bytes", on("layer", part("bytes {first}-{last}/{size}", body=lambda whole, first: bytes(len(whole) - first))))
    yield bad("15", "unexpected-status", "206 that nobody asked for", on("layer", answers(206, b"part", Content_Range="bytes 0-3/8")))
    for word, change in (("shorter", lambda body: body[:-1]), ("longer", lambda body: body + b"x")):
        yield bad("16-" + word, "size-mismatch", f"a blob that is {word} than its descriptor says", on("layer", lambda handler, scene, n, change=change: reply(
                  handler, 200, change(scene.wanted(handler)))), check=at_most(5, "layer"))
    yield good("16-keep", "extra bytes on a kept connection", on("config", lambda handler, scene, n: reply(handler, 200, scene.wanted(handler) + b"HTTP/1.1 500 x\r\n\r\n",
               Content_Length=len(scene.wanted(handler)))))
    for word, lines in (("two", "Content-Length: 5\r\nContent-Length: 6\r\n"), ("negative", "Content-Length: -5\r\n"),
                        ("both", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")):
        yield bad("17-" + word, "protocol-error", "lengths that contradict", on("layer", head(lines)))
    for word, body in (("size", b"zz\r\nhello\r\n0\r\n\r\n"), ("2^64-1", b"ffffffffffffffff\r\nhello"), ("last", b"5\r\nhello\r\n")):
        yield bad("18-" + word, "protocol-error", "broken chunks", on("layer", raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)))
    started = lambda more: lambda scene, done: f"{scene.sent >> 20} MiB were taken" if scene.sent > more else None  # noqa: E731
    yield bad("19", "size-mismatch", "an endless blob", on("layer", endless(b"HTTP/1.1 200 OK\r\n\r\n", bytes(1 << 16))), check=started(16 << 20))
    yield bad("20-manifest", "limit-exceeded", "an endless manifest", on("manifest", endless(
              f"HTTP/1.1 200 OK\r\nContent-Type: {images.OCI['manifest']}\r\n\r\n".encode(), b" " * (1 << 16))), check=started(24 << 20))
    yield bad("20-config", "size-mismatch", "an endless config", on("config", endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * (1 << 16))), check=started(16 << 20))
    yield bad("20-error", "not-found", "an endless body of an error", on("manifest", endless(b"HTTP/1.1 404 x\r\n\r\n", b"x" * (1 << 16))), check=started(16 << 20))
    yield bad("20-headers", "protocol-error", "an endless header block", on("manifest", endless(b"HTTP/1.1 200 OK\r\n", b"X-Pad: " + b"p" * 500 + b"\r\n")), check=started(16 << 20))
    for word, lines in (("10M", "X-Big: " + "x" * (10 << 20) + "\r\n"), ("200000", "A:b\r\n" * 200_000), ("cookies", "Set-Cookie: a=b\r\n" * 500), ("nul", "X: a\0b\r\n"),
                        ("cr", "X: a\rb\r\n")):
        yield bad("21-" + word, "protocol-error", "headers beyond what is taken", on("head manifest", lambda handler, scene, n, lines=lines: leniently(head(lines))(handler, scene, n)))
    yield bad("21-1xx", "protocol-error", "300 informational answers", on("head manifest", leniently(raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 300 + b"HTTP/1.1 200 OK\r\n\r\n"))))
    yield good("21-cookie", "a cookie, which never comes back", on("head", lambda handler, scene, n: reply(handler, 405, b"", Set_Cookie="a=b; Path=/")),
               check=lambda scene, done: "a cookie was sent" if any("Cookie" in headers for *_, headers in scene.seen) else None)
    for word, data in (("random", b"\x93\x12\xfe\x00\x7f random \r\n\r\n"), ("0.9", b"<html>old</html>"), ("999", b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n"),
                       ("304", b"HTTP/1.1 304 x\r\n\r\n")):
        yield bad("22-" + word, "protocol-error", "no answer of HTTP", on("head manifest", raw(data)))
    page = b"<!DOCTYPE html><html><body>berth-page-canary: sign in</body></html>"
    quoted = lambda scene, done: "the page is quoted" if "berth-page-canary" in done.stderr + done.stdout else None  # noqa: E731
    yield bad("23-manifest", "invalid-manifest", "a web page for a manifest", on("head manifest", answers(200, page, Content_Type="text/html")), check=quoted)
    yield bad("23-blob", "invalid-manifest", "a web page for a blob", on("layer", answers(200, page, Content_Type="text/html")), check=quoted)
    for word, kind in (("plain", {"Content_Type": "text/plain"}), ("absent", {})):
        yield good("24-" + word, "a manifest of another type, or none", on("head manifest", lambda handler, scene, n, kind=kind: reply(handler, 200, scene.wanted(handler), **kind)))
    yield good("25", "a gzip blob said to be encoded", on("layer", lambda handler, scene, n: reply(handler, 200, scene.wanted(handler), Content_Encoding="gzip")))
    for kind in ("layer", "config", "manifest"):
        yield bad("26-" + kind, "digest-mismatch", "one bit flipped", on(kind, flipped), more={"by digest": True}, check=at_most(5, kind))
        yield good(f"26-{kind}-once", "one bit flipped, once", on(kind, flipped, times=1), more={"by digest": True})
    for word, digest in (("lies", "sha256:" + "a" * 64), ("path", "sha256:../../x")):
        yield good("27-" + word, "a digest in a header that is not the body's, which counts", on("manifest", lambda handler, scene, n, digest=digest: reply(
                  handler, 200, scene.wanted(handler), Content_Type=images.OCI["manifest"], Docker_Content_Digest=digest)))
    yield good("27-head", "HEAD says another digest, of nothing", on("head", lambda handler, scene, n: reply(
              handler, 200, b"", Content_Type=images.OCI["manifest"], Docker_Content_Digest="sha256:" + "a" * 64, Content_Length=len(scene.wanted(handler)))))
    yield good("28-405", "HEAD is not understood", on("head", answers(405)))
    yield good("28-lies", "HEAD says another length", on("head", lambda handler, scene, n: reply(handler, 200, b"", Content_Type=images.OCI["manifest"], Content_Length=7)))
    for status, word in ((404, "not-found"), (410, "not-found"), (418, "unexpected-status")):
        yield bad(f"33-{status}", word, "no manifest", on("head manifest", answers(status)), check=at_most(3, "head", "manifest"))
    yield bad("33-blob", "not-found", "no blob", on("layer", answers(404)), check=at_most(2, "layer"))
    soon = lambda scene: (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)).strftime("%a, %d %b %Y %H:%M:%S GMT")  # noqa: E731
    yield good("34-seconds", "429 once, with seconds", on("any", answers(429, Retry_After="1"), times=1))
    yield good("34-date", "429 once, with a date", on("head", answers(429, Retry_After=soon), times=1))
    for word, value in (("long", "999999999"), ("negative", "-5"), ("word", "soon"), ("float", "1e9")):
        yield bad("35-" + word, "rate-limited", f"429 for ever, Retry-After {value}", on("head manifest", answers(429, Retry_After=value)), check=at_most(12, "head", "manifest"))
    yield good("36-503", "503 once, with Retry-After", on("any", answers(503, Retry_After="1"), times=1))
    yield good("36-second", "every second request is 500", on("any", answers(500), every=2))
    yield good("36-502", "the first answer for each blob is 502", on("layer config", answers(502), times=1))
    yield bad("36-500", "unavailable", "500 for ever", on("head manifest", answers(500)), check=at_most(12, "head", "manifest"))

    def hops(handler):
        step = int(handler.path.partition("hop=")[2] or 0)
        return step < 5 and reply(handler, 307, b"", Location=f"{handler.path.split('?')[0]}?hop={step + 1}")
    yield good("37-hops", "five hops, relative", lambda scene: lambda handler: scene.kind(handler) == "layer" and hops(handler))
    yield good("37-host", "another host", on("layer config", away(cdn)), check=no_secret)
    yield good("38", "a token, then another host", bearer(inner=on("layer config", away(cdn))), login=True, check=no_secret)
    yield good("39", "the manifest is elsewhere", bearer(inner=on("manifest", away(cdn))), login=True, check=no_secret)
    asks = lambda handler: reply(handler, 401, b"", WWW_Authenticate=f'Bearer realm="http://{handler.headers["Host"]}/token",service="thief"')  # noqa: E731
    yield bad("40", "unauthorized", "the storage wants credentials of its own", bearer(inner=on("layer", away(cdn))), login=True, more={"mood": asks},
              check=all_of(no_secret, lambda scene, done: "its token service was asked" if any("/token" in path for _, path, _ in scene.other.seen) else None))
    yield bad("42-loop", "too-many-redirects", "a redirect to itself", on("layer", away(lambda scene, handler: handler.path)), check=at_most(10, "layer"))
    for word, target in (("file", "file:///etc/passwd"), ("gopher", "gopher://127.0.0.1/x"), ("data", "data:,x"), ("empty", ""), ("200k", "/" + "x" * 200_000),
                         ("user", None), ("metadata", "http://169.254.169.254/latest/meta-data/")):
        where = target if target is not None else lambda scene, handler: f"http://{scene.host}@{scene.other.host}{handler.path}"
        yield bad("43-" + word, "policy" if word == "metadata" else "protocol-error", "a redirect to where nobody goes", on("layer", leniently(away(where))), check=nobody)
    yield bad("44-error", "unexpected-status", "an error that quotes the caller", bearer(inner=lambda scene: lambda handler: scene.kind(handler) == "layer" and reply(
              handler, 418, json.dumps({"errors": [{"code": "X", "message": handler.headers.get("Authorization", "") + " http://x/?sig=" + hostile.SECRET}]}).encode(),
              Content_Type="application/json")), login=True)
    yield bad("44-signed", "connection-reset", "a signed redirect, then no connection", on("layer", away(lambda scene, handler: scene.other.url + "/x?X-Signature=" + hostile.SECRET)),
              more={"mood": reset})
    yield good("45-bearer", "Bearer", bearer(), login=True)
    yield good("45-basic", "Basic", basic, login=True)
    yield good("45-both", "both: Bearer it is", bearer(challenge=['Basic realm="lab"', 'Bearer realm="http://{host}/token",service="lab"']), login=True,
               check=lambda scene, done: "Basic was sent to the registry" if any(
                   kind != "token" and headers.get("Authorization", "").startswith("Basic") for kind, _, _, headers in scene.seen) else None)
    yield good("46", "tokens that die in the middle", bearer(good=lambda scene, n: n % 2), login=True)
    yield bad("47", "unauthorized", "always 401 with a good challenge", bearer(good=lambda scene, n: False), login=True, check=at_most(2, "token"))
    yield bad("48", "denied", "403 after a good token", bearer(inner=on("any", answers(403))), login=True, check=at_most(4, "token"))
    for word, line in (("host", 'Bearer realm="http://{other}/token"'), ("user", 'Bearer realm="http://{host}@{other}/token"')):
        yield bad("49-" + word, "untrusted-realm", "a realm of another host", bearer(challenge=line), login=True, check=nobody)
    yield bad("50", "untrusted-realm", "the token service redirects elsewhere", bearer(token=away(lambda scene, handler: scene.other.url + "/token")), login=True, check=nobody)
    yield bad("51", "untrusted-realm", "a realm that is the metadata service", bearer(challenge='Bearer realm="http://169.254.169.254/token"'), login=True)
    challenges = {"bare": "Bearer", "empty": "", "none": [], "realm": 'Bearer service="x"', "relative": 'Bearer realm="/token"', "file": 'Bearer realm="file:///etc/passwd"',
                  "unclosed": 'Bearer realm="unclosed', "commas": "Bearer " + "," * 50_000, "escapes": 'Bearer realm="' + "\\a" * 25_000 + '"', "non-ascii": "Bearer realm=\"http://\xe9/\"",
                  "negotiate": "Negotiate", "unknown": 'Strange realm="x"'}
    for word, line in challenges.items():  # realms that are no URL are a class of their own here; the table has one for all
        yield bad("52-" + word, "untrusted-realm" if word in ("relative", "file") else "unauthorized", "a challenge that cannot be met", bearer(challenge=line), login=True, check=all_of(no_login, at_most(2, "head", "manifest")))
    for status in (401, 403, 500):
        yield bad(f"53-{status}", "token-error", "the token service refuses", bearer(token=answers(status, b"no")), login=True)
    given = json.dumps({"token": TOKEN}).encode()
    yield good("54-429", "the token service is busy once", bearer(token=lambda handler, scene, n: answers(429, Retry_After="1")(handler, scene, n) if n == 1 else reply(handler, 200, given)), login=True)
    yield good("54-both", "both fields", bearer(token=answers(200, json.dumps({"token": TOKEN, "access_token": TOKEN}).encode())), login=True)
    yield good("54-null", "one field is null", bearer(token=answers(200, json.dumps({"token": None, "access_token": TOKEN}).encode())), login=True)
    bodies = {"none": b"{}", "empty": b'{"token":""}', "html": page, "broken": b'{"token":"x', "deep": b"[" * 100_000, "2M": b'{"token":"' + b"a" * (2 << 20) + b'"}'}
    for word, body in bodies.items():
        yield bad("55-" + word, "token-error", "no token in the answer", bearer(token=answers(200, body)), login=True)
    yield bad("55-endless", "token-error", "an endless token", bearer(token=endless(b'HTTP/1.1 200 OK\r\n\r\n{"token":"', b"a" * (1 << 16))), login=True, check=started(16 << 20))
    for word, value in (("crlf", "a\r\nX-Canary: 1"), ("non-ascii", "\xe9"), ("200k", "a" * 200_000)):
        yield bad("56-" + word, "token-error", "a token that is none", bearer(token=answers(200, json.dumps({"token": value}).encode())), login=True,
                  check=lambda scene, done: "a header came of it" if any("X-Canary" in headers for *_, headers in scene.seen) else None)
    for word, more in (("negative", {"expires_in": -5}), ("10^12", {"expires_in": 10**12}), ("1970", {"issued_at": "1970-01-01T00:00:00Z"}), ("absent", {})):
        yield good("57-" + word, "a life of a token", bearer(token=answers(200, json.dumps({"token": TOKEN} | more).encode())), login=True)
    yield from secure_rows()
    yield from mirror_rows()
    yield good("66", "a server whose clock is years off", on("any", lambda handler, scene, n: reply(handler, 200, scene.wanted(handler) if handler.command == "GET" else b"",
               Content_Type=images.OCI["manifest"] if scene.kind(handler) in ("head", "manifest") else "application/octet-stream", Date=long_ago,
               Content_Length=len(scene.wanted(handler)))))


def secure_rows():
    """C-41, C-58, C-59."""
    def bad(id, note, serve, word="tls", **more):
        return Row("C-" + id, "reject", word, note, serve=serve, **more)

    def weak(made):
        made.set_ciphers("ALL:@SECLEVEL=0")

    def old(made):
        weak(made)
        made.minimum_version, made.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    yield Row("C-58-good", "safe", "", "as it should be", serve=secured("", real=True))
    yield bad("58-expired", "a certificate that has ended", secured("", days=-1))
    yield bad("58-host", "a certificate for another host", secured("other.example"))
    yield bad("58-unknown", "an unknown authority", secured("", trust=False))
    yield bad("58-1.1", "TLS 1.1", secured("", change=old))
    yield bad("58-weak", "a key of 1,024 bits", secured("", key=("rsa:1024",), change=weak))
    yield bad("58-plain", "no TLS at this port", port(after_hello(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")))
    yield bad("58-stalled", "a handshake that stalls", port(after_hello(silent=True)), needs="quick")
    yield bad("58-reset", "a reset in the handshake", port(after_hello(reset_it=True)))
    yield bad("58-chain", "a chain of 120 KiB", secured("", filler=280))
    yield bad("58-crossed", "an authority that only a root that has ended vouches for", secured("", crossed="only"))
    yield Row("C-58-crossed-known", "safe", "", "the same, but known itself", serve=secured("", crossed="known", real=True))
    yield Row("C-41", "reject", "insecure-redirect", "from https to http", on("layer", away(lambda scene, handler: scene.other.url + "/cdn" + handler.path)),
              serve=secured("", real=True), check=nobody)


def mirror_rows():
    """C-60 to C-62, C-64, C-06, C-65."""
    def mirrored(id, note, mood, urls=("{other}",), check=no_secret, **more):
        return Row("C-" + id, "safe", "", note, more={"mood": mood, "hosts": list(urls)}, check=check, **more)
    yield mirrored("60-404", "a mirror without it", lambda handler: reply(handler, 404), make=basic, login=True)
    yield mirrored("60-500", "a mirror that fails", lambda handler: reply(handler, 500), make=basic, login=True)
    yield mirrored("60-lies", "a mirror with other bytes", lambda handler: reply(handler, 200, b"x" * 700, Content_Type=images.OCI["manifest"]), make=basic, login=True)
    yield mirrored("60-reset", "a mirror that resets", reset, make=basic, login=True)
    yield mirrored("61", "three dead mirrors", None, ("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"), check=None)
    yield mirrored("62", "the mirror is told whose it is", None, check=asked_for(lambda scene: "ns=" + scene.host.replace(":", "%3A")))
    yield Row("C-64-407", "reject", "unavailable", "the proxy wants another password", needs="proxy", more={"mood": lambda handler: reply(handler, 407)})
    yield Row("C-64-dead", "reject", "unexpected-eof", "the proxy is not one", needs="proxy", more={"mood": lambda handler: cut(handler)})
    # Of addresses that are all of this machine, the resolver leaves the order as it is, but for 127.0.0.1, which it puts first.
    def at(address):
        return lambda scene, folder: Registry(scene, address=address, port=scene.server.port)
    yield Row("C-06-hole", "reject", "timeout", "nobody answers a SYN", needs="quick", serve=lambda scene, folder: Hole())
    yield Row("C-06-nine", "safe", "", "ten addresses, nine dead", needs="names", serve=at("127.6.0.10"), more={
              "addresses": [f"127.6.0.{n}" for n in range(1, 11)]})
    yield Row("C-06-v6", "safe", "", "IPv6 is broken, IPv4 is good", needs="names", serve=at("127.6.1.1"), more={"addresses": ["::1", "127.6.1.1"]})
    yield Row("C-65-200", "safe", "", "200 addresses", needs="names", serve=at("127.65.0.1"), more={"addresses": [f"127.65.0.{n}" for n in range(1, 201)]})


def leniently(respond):
    """The client may be gone before all is written."""
    def answer(handler, scene, n):
        try:
            return respond(handler, scene, n)
        except OSError:
            return cut(handler)
    return answer


def slowly(handler, scene):
    try:
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000:
            handler.wfile.write(bytes([byte]))
            if scene.over.wait(0.05):
                break
    except OSError:
        pass
    return cut(handler)
