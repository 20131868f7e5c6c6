"""lab/registry.py: registries on loopback for tests and measurements.

Registry: Debian's docker-registry, on a free port, its storage in a temporary folder, plain or TLS, with or without a
password. LayoutRegistry: serves OCI layouts byte for byte, for documents that a real registry refuses to store, and with faults.
TokenRegistry: one with a token service. Gate: several tenants' passwords in front of a Registry. Proxy: for https, with a password.
What a test asks those of ours for was written down under a lock.

    with Registry(tls=True, users={"demo": password}) as registry:
        images.push(layout, registry.url, "shop/web", "v1", ("demo", password), registry.ca)
        registry.requests()        # Counter of (method, path, status)
"""
import atexit
import base64
import collections
import contextlib
import http.client
import http.server
import json
import os
import pathlib
import re
import secrets
import shutil
import socket
import string
import subprocess
import tempfile
import threading
import urllib.parse

import daemon

_ACCESS = re.compile(r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d+)')
_BCRYPT = 'my ($p, $s) = map { chomp; $_ } <STDIN>; print crypt($p, "\\$2y\\$05\\$$s")'


def bcrypt(password):
    """A bcrypt hash by perl's crypt (the password goes through a pipe, not through arguments)."""
    salt = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(21)) + "u"
    made = subprocess.run(["perl", "-e", _BCRYPT], input=f"{password}\n{salt}\n", capture_output=True, text=True, check=True, timeout=60).stdout
    if not made.startswith("$2y$"):
        raise RuntimeError("perl's crypt has no bcrypt")
    return made


def mint(folder, hosts=("localhost", "lab.test", "127.0.0.1", "::1")):
    """A certificate authority (ca.pem) and a server certificate for `hosts` (server.pem, server.key) in `folder`."""
    folder = pathlib.Path(folder)
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True, timeout=60)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=berth lab CA", "-days", "2",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    names = ",".join(("IP:" if re.fullmatch(r"[\d.]+|.*:.*", host) else "DNS:") + host for host in hosts)
    (folder / "san").write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=berth lab registry")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "san", "-out", "server.pem")
    return folder / "ca.pem"


class Registry:
    """Debian's docker-registry. `storage`: a folder to keep (default: temporary, removed). Attributes once entered: url,
    host ("127.0.0.1:port"), port, ca (path or None), pid, folder (temporary)."""
    def __init__(self, tls=False, users=None, delete=True, storage=None, hosts=("localhost", "lab.test", "127.0.0.1", "::1")):
        self.tls, self.users, self.delete, self.storage, self.hosts = tls, users, delete, storage, hosts
        for user, password in (users or {}).items():
            daemon.secret(password, user)
        self.ca = self._process = None

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-registry-"))
        atexit.register(self.__exit__)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        config = {"version": 0.1, "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": False}},
                  "storage": {"filesystem": {"rootdirectory": str(self.storage or self.folder / "storage")},
                              "delete": {"enabled": self.delete}, "cache": {"blobdescriptor": "inmemory"},
                              "maintenance": {"uploadpurging": {"enabled": False}}},
                  "http": {"addr": "127.0.0.1:0", "secret": secrets.token_hex(16)}}
        if self.tls:
            self.ca = mint(self.folder, self.hosts)
            config["http"]["tls"] = {"certificate": str(self.folder / "server.pem"), "key": str(self.folder / "server.key")}
        if self.users:
            lines = [f"{user}:{bcrypt(password)}\n" for user, password in self.users.items()]
            (self.folder / "htpasswd").write_text("".join(lines))
            config["auth"] = {"htpasswd": {"realm": "berth lab", "path": str(self.folder / "htpasswd")}}
        (self.folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        os.chmod(self.folder / "config.yml", 0o600)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")} | {"OTEL_TRACES_EXPORTER": "none"}
        self._process = daemon.spawn(["docker-registry", "serve", self.folder / "config.yml"], env=clean, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
        self.pid, self._access, self._log = self._process.pid, [], []
        self._listening, self.port = threading.Event(), None
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in
                         ((self._process.stdout, self._access), (self._process.stderr, self._log))]
        for reader in self._readers:
            reader.start()
        self._listening.wait(30)
        if not self.port:
            raise RuntimeError("docker-registry did not start: " + "".join(self._log[-3:]))
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if self.tls else 'http'}://{self.host}"
        socket.create_connection(("127.0.0.1", self.port), 10).close()

    def _read(self, stream, lines):
        for line in stream:  # the port was asked for as 0: its log names the one it got
            lines.append(line)
            if not self._listening.is_set() and (found := re.search(r"listening on 127\.0\.0\.1:(\d+)", line)):
                self.port = int(found[1])
                self._listening.set()
        self._listening.set()

    def __exit__(self, *_):
        atexit.unregister(self.__exit__)
        if self._process:
            daemon.end(self._process, 10)
            for reader in self._readers:
                reader.join(10)
            self._process.stdout.close()
            self._process.stderr.close()
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def requests(self):
        """Counter of (method, path without query, status) seen so far."""
        found = (_ACCESS.search(line) for line in list(self._access))
        return collections.Counter((m["method"], m["path"].split("?")[0], int(m["status"])) for m in found if m)

    def log(self):
        return "".join(self._log)


def reply(handler, status, body=b"{}", **headers):
    """An answer; says that it is one, as a fault has to. A header's name has _ for -."""
    handler.send_response(status)
    for name, value in ({"Content_Length": len(body)} | headers).items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
    return True


def cut(handler):
    """The connection ends here; as reply()."""
    handler.close_connection = True
    with contextlib.suppress(OSError):  # it may have ended
        handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def user_of(handler):
    """(user, password) of a request with a login, else ("", "")."""
    kind, _, text = handler.headers.get("Authorization", "").partition(" ")
    user, _, password = (base64.b64decode(text).decode(errors="replace") if kind == "Basic" else "").partition(":")
    return user, password


class Served:
    """A server on loopback; what derives from it says by answer(handler) what it does with a request, on a thread of the connection.
    `tls`: a context, for https; `port`, `address`: those that are wanted. Attributes once entered: url, host ("127.0.0.1:port"), port. `malformed`:
    requests so far that were none of HTTP, or of a method that nobody here has."""
    def __init__(self, tls=None, port=0, address="127.0.0.1"):
        self.tls, self.port, self.address, self._lock, self.malformed = tls, port, address, threading.Lock(), 0

    def answer(self, handler):
        raise NotImplementedError

    def __enter__(self):
        served = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                served.answer(self)

            do_HEAD = do_POST = do_CONNECT = do_GET

            def log_message(self, *_):
                pass

            def send_error(self, *args):  # of http.server itself, whom no request of HTTP gets to say this
                served.malformed += 1
                super().send_error(*args)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True  # one that holds an answer back holds up nobody's end

            def get_request(self):
                connection, address = super().get_request()
                if served.tls:  # the handshake is the thread's that serves it
                    connection = served.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                return connection, address

            def shutdown_request(self, request):  # what the client still sends is read first: a reset would overtake the last answer or alert
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(request.fileno())) as raw:
                    raw.settimeout(5)
                    raw.shutdown(socket.SHUT_WR)
                    while raw.recv(1 << 16):
                        pass
                super().shutdown_request(request)

            def handle_error(self, *_):  # a client that hangs up early is what hostile layers are about
                pass

        self._server = Server((self.address, self.port), Handler)
        self.port = self._server.server_address[1]
        self.host = f"{self.address}:{self.port}"
        self.url = f"{'https' if self.tls else 'http'}://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join(30)
        self._server.server_close()


class LayoutRegistry(Served):
    """Serves {repository: folder of an OCI layout} read-only over plain HTTP, checking nothing. A manifest's Content-Type
    is what index.json (or a served index) says; blobs are served from a first byte on, when one is asked for. `before(path)` may hold an
    answer back; `fault(handler)` may answer in its own way (reply, cut, serve) and says whether it did."""
    def __init__(self, layouts, before=lambda path: None, fault=None, tls=None, port=0, address="127.0.0.1"):
        super().__init__(tls, port, address)
        self.layouts, self.before, self.fault = {repo: pathlib.Path(folder) for repo, folder in layouts.items()}, before, fault
        self._requests, self._ranges, self._sent = collections.Counter(), [], collections.Counter()

    @property
    def requests(self):
        """Counter as of Registry.requests()."""
        with self._lock:
            return self._requests.copy()

    @property
    def ranges(self):
        """(path, first byte asked for) of the requests for a part, in order."""
        with self._lock:
            return list(self._ranges)

    @property
    def sent(self):
        """{path: bytes of bodies that were sent}, whatever the status."""
        with self._lock:
            return self._sent.copy()

    def size(self, path):
        """Of what is there; 0: nothing."""
        blob, _ = self._find(path)
        return blob.stat().st_size if blob and blob.is_file() else 0

    def _find(self, path):
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path)
        if not match or match[1] not in self.layouts:
            return None, None
        folder, kind, ref = self.layouts[match[1]], match[2], match[3]
        known = json.loads((folder / "index.json").read_text())["manifests"]
        for entry in known if kind == "manifests" else []:
            if ref in (entry["digest"], entry.get("annotations", {}).get("org.opencontainers.image.ref.name")):
                return folder / "blobs" / entry["digest"].replace(":", "/"), entry["mediaType"]
        if not re.fullmatch(r"[a-z0-9]+:[0-9a-f]+", ref):
            return None, None
        blob = folder / "blobs" / ref.replace(":", "/")
        media_type = "application/octet-stream"
        if kind == "manifests":
            try:
                media_type = json.loads(blob.read_bytes()[:8 << 20])["mediaType"]
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                media_type = "application/vnd.oci.image.manifest.v1+json"
        return blob, media_type

    def answer(self, handler):
        if not (self.fault and self.fault(handler)):
            self.serve(handler)

    def serve(self, handler, most=None):
        """The right answer, or only the first bytes of its body. True, as reply()."""
        path = handler.path.split("?")[0]
        blob, media_type = self._find(path)
        found = bool(blob and blob.is_file())
        size = blob.stat().st_size if found else 2
        part = re.match(r"bytes=(\d+)-$", handler.headers.get("Range", "")) if found and "/blobs/" in path else None
        first = int(part[1]) if part and int(part[1]) < size else 0
        status = 206 if first else 200 if path == "/v2/" or found else 404
        with self._lock:
            self._requests[handler.command, path, status] += 1
            self._ranges += [(path, int(part[1]))] if part else []
        self.before(path)
        headers = {"Docker_Distribution_API_Version": "registry/2.0", "Content_Type": media_type or "application/json", "Content_Length": size - first}
        if "/manifests/" in path and found:
            headers["Docker_Content_Digest"] = f"{blob.parent.name}:{blob.name}"
        if first:
            headers["Content_Range"] = f"bytes {first}-{size - 1}/{size}"
        if not found or handler.command == "HEAD":
            return reply(handler, status, **headers)
        reply(handler, status, b"", **headers)
        left = size - first if most is None else min(most, size - first)
        with open(blob, "rb") as file:
            file.seek(first)
            while left and (data := file.read(min(left, 1 << 20))):
                with self._lock:
                    self._sent[path] += len(data)
                handler.wfile.write(data)
                left -= len(data)
        return True


class TokenRegistry(LayoutRegistry):
    """A LayoutRegistry that wants a token for everything, of the service that it has at /token: for a password of `users`
    ({name: password}; as Basic login, or in a form), or for a refresh token of `refresh`. All that it gives are secrets of daemon.secret().
    `issued`: {token: its scopes}."""
    def __init__(self, layouts, users, refresh=(), **more):
        super().__init__(layouts, **more)
        self.users, self.refresh, self._issued = users, [daemon.secret(token) for token in refresh], {}
        for user, password in users.items():
            daemon.secret(password, user)

    @property
    def issued(self):
        with self._lock:
            return dict(self._issued)

    def issue(self, *scopes):
        token = daemon.secret("canary-token-" + secrets.token_urlsafe(24))
        with self._lock:
            self._issued[token] = scopes
        return token

    def answer(self, handler):
        path, _, query = handler.path.partition("?")
        if path == "/token":
            return self._token(handler, query)
        found = re.match(r"/v2/(.+)/(?:manifests|blobs)/", path)
        scope = f"repository:{found[1]}:pull" if found else ""
        kind, _, token = handler.headers.get("Authorization", "").partition(" ")
        if kind == "Bearer" and (scopes := self.issued.get(token)) is not None and (not scope or scope in scopes):
            return super().answer(handler)
        realm = f"{'https' if self.tls else 'http'}://{handler.headers['Host']}/token"  # by the name that we were asked for
        return reply(handler, 401, b'{"errors": [{"code": "UNAUTHORIZED"}]}',
                     WWW_Authenticate=f'Bearer realm="{realm}",service="lab"' + (f',scope="{scope}"' if scope else ""))

    def _token(self, handler, query):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0))).decode()
        form = {key: values[0].split() if key == "scope" and body else values for key, values in urllib.parse.parse_qs(body or query).items()}
        user, password = user_of(handler)
        if form.get("grant_type") == ["refresh_token"]:
            known = form["refresh_token"][0] in self.refresh
        else:
            known = self.users.get(form.get("username", [user])[0]) == form.get("password", [password])[0]
        if not known:
            return reply(handler, 401, b'{"errors": [{"code": "UNAUTHORIZED"}]}')
        token = self.issue(*form.get("scope", []))
        more = daemon.secret("canary-refresh-" + secrets.token_urlsafe(24))
        self.refresh.append(more)
        return reply(handler, 200, json.dumps({"token": token, "access_token": token, "refresh_token": more, "expires_in": 300}).encode())


class Proxy(Served):
    """A proxy for https, to one port of this machine whatever is asked for, for who has the password. `tunnels`: what it was asked for."""
    def __init__(self, port_behind, user, password):
        super().__init__()
        self.behind, self.login, self.tunnels = port_behind, base64.b64encode(f"{user}:{password}".encode()).decode(), []
        daemon.secret(password, user)

    def answer(self, handler):
        if handler.command != "CONNECT" or handler.headers.get("Proxy-Authorization") != f"Basic {self.login}":
            return reply(handler, 407, Proxy_Authenticate='Basic realm="lab"')
        with self._lock:
            self.tunnels.append(handler.path)
        handler.close_connection = True
        with socket.create_connection(("127.0.0.1", self.behind), 60) as there:
            reply(handler, 200, b"")
            handler.wfile.flush()

            def pump(source, target):
                with contextlib.suppress(OSError):
                    while data := source.recv(1 << 16):
                        target.sendall(data)
                for side in (source, target):
                    with contextlib.suppress(OSError):
                        side.shutdown(socket.SHUT_RDWR)
            back = threading.Thread(target=pump, args=(there, handler.connection), daemon=True)
            back.start()
            pump(handler.connection, there)
            back.join(60)
        return True


class Gate(Served):
    """One host for several tenants, in front of a Registry without passwords. `users`: {name: [password, prefixes of repositories that
    the user may read]}, to be changed at will; what begins with a prefix of `public` is everybody's. A wrong password is a 401, a
    repository of somebody else's a 403. `before_blob(user, digest)` runs in the middle of a blob and may wait, or raise to cut the
    connection. `asked` lists (user, method, path, status) in order."""
    def __init__(self, backend, users, public=("public/",)):
        super().__init__()
        self.backend, self.users, self.public = backend, users, tuple(public)
        for user, (password, _) in users.items():
            daemon.secret(password, user)
        self.before_blob, self._asked = None, []

    def _verdict(self, handler):
        """The user ("" for nobody), and 200, 401 or 403."""
        (user, password), path, known = user_of(handler), handler.path, None
        if user:
            known = self.users.get(user)
            if not known or known[0] != password:
                return user, 401
        if path.startswith(tuple("/v2/" + prefix for prefix in self.public)):
            return user, 200
        if not known:
            return user, 401
        return user, 200 if path == "/v2/" or path.startswith(tuple("/v2/" + prefix for prefix in known[1])) else 403

    @property
    def asked(self):
        with self._lock:
            return list(self._asked)

    def _tell(self, *what):
        with self._lock:
            self._asked.append(what)

    def blobs(self, user=None, below=""):
        """Digests of the blobs of repositories that begin with `below` whose bytes were sent (to `user`)."""
        return [path.rsplit("/", 1)[1] for who, method, path, status in self.asked
                if method == "GET" and "/blobs/" in path and path.startswith("/v2/" + below) and status in (200, 206) and user in (None, who)]

    def answer(self, handler):
        user, status = self._verdict(handler)
        if status != 200:
            self._tell(user, handler.command, handler.path, status)
            body = json.dumps({"errors": [{"code": "UNAUTHORIZED" if status == 401 else "DENIED", "message": "no"}]}).encode()
            return reply(handler, status, body, **{"Content_Type": "application/json"} | ({"WWW_Authenticate": 'Basic realm="gate"'} if status == 401 else {}))
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.backend.port, timeout=60)) as behind:
            wanted = {k: v for k, v in handler.headers.items() if k.lower() in ("accept", "range", "if-none-match", "if-range")}
            behind.request(handler.command, handler.path, headers=wanted)
            there = behind.getresponse()
            body = there.read()
        self._tell(user, handler.command, handler.path, there.status)
        kept = {key.replace("-", "_"): there.getheader(key) for key in ("Content-Type", "Docker-Content-Digest", "Content-Range", "ETag", "Accept-Ranges")}
        length = there.getheader("Content-Length") if handler.command == "HEAD" else len(body)
        half = len(body) // 2
        reply(handler, there.status, body[:half], **{key: value for key, value in kept.items() if value}, Content_Length=length)
        if handler.command == "HEAD":
            return
        if self.before_blob and "/blobs/" in handler.path:
            handler.wfile.flush()
            try:
                self.before_blob(user, handler.path.rsplit("/", 1)[1])
            except ConnectionError:
                return cut(handler)
        handler.wfile.write(body[half:])
