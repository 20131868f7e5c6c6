"""lab/registry.py: registries on loopback for tests and measurements.

Registry: Debian's docker-registry, on a free port, its storage in a temporary folder, plain or TLS, with or without a
password. LayoutRegistry: serves OCI layouts byte for byte, for documents that a real registry refuses to store. Gate: several
tenants' passwords in front of a Registry.

    with Registry(tls=True, users={"demo": password}) as registry:
        images.push(layout, registry.url, "shop/web", "v1", ("demo", password), registry.ca)
        registry.requests()        # Counter of (method, path, status)
"""
import base64
import collections
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

_ACCESS = re.compile(r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d+)')
_BCRYPT = 'my ($p, $s) = map { chomp; $_ } <STDIN>; print crypt($p, "\\$2y\\$05\\$$s")'


def bcrypt(password):
    """A bcrypt hash by perl's crypt (the password goes through a pipe, not through arguments)."""
    salt = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(21)) + "u"
    made = subprocess.run(["perl", "-e", _BCRYPT], input=f"{password}\n{salt}\n", capture_output=True, text=True, check=True).stdout
    if not made.startswith("$2y$"):
        raise RuntimeError("perl's crypt has no bcrypt")
    return made


def mint(folder, hosts=("localhost", "lab.test", "127.0.0.1", "::1")):
    """A certificate authority (ca.pem) and a server certificate for `hosts` (server.pem, server.key) in `folder`."""
    folder = pathlib.Path(folder)
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)
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
        self.ca = self._process = None

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-registry-"))
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
        self._process = subprocess.Popen(["docker-registry", "serve", str(self.folder / "config.yml")], env=clean,
                                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
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
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            for reader in self._readers:
                reader.join()
            self._process.stdout.close()
            self._process.stderr.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def requests(self):
        """Counter of (method, path without query, status) seen so far."""
        found = (_ACCESS.search(line) for line in list(self._access))
        return collections.Counter((m["method"], m["path"].split("?")[0], int(m["status"])) for m in found if m)

    def log(self):
        return "".join(self._log)


class LayoutRegistry:
    """Serves {repository: folder of an OCI layout} read-only over plain HTTP, checking nothing. A manifest's Content-Type
    is what index.json (or a served index) says. `requests` is a Counter as of Registry.requests(); `before(path)` may hold an
    answer back; `fault(handler)` may answer in its own way and says whether it did; `tls`: a context, for https."""
    def __init__(self, layouts, before=lambda path: None, fault=None, tls=None, port=0):
        self.layouts, self.requests = {repo: pathlib.Path(folder) for repo, folder in layouts.items()}, collections.Counter()
        self.before, self.fault, self.tls, self.port = before, fault, tls, port

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

    def __enter__(self):
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if registry.fault and registry.fault(self):
                    return
                path = self.path.split("?")[0]
                blob, media_type = registry._find(path)
                status = 200 if path == "/v2/" or (blob and blob.is_file()) else 404
                registry.requests[(self.command, path, status)] += 1
                registry.before(path)
                size = blob.stat().st_size if status == 200 and blob else 2
                self.send_response(status)
                self.send_header("Docker-Distribution-API-Version", "registry/2.0")
                self.send_header("Content-Type", media_type or "application/json")
                if "/manifests/" in path and status == 200:
                    self.send_header("Docker-Content-Digest", f"{blob.parent.name}:{blob.name}")
                self.send_header("Content-Length", str(size))
                self.end_headers()
                if self.command == "GET":
                    if status == 200 and blob:
                        with open(blob, "rb") as file:
                            shutil.copyfileobj(file, self.wfile, 1 << 20)
                    else:
                        self.wfile.write(b"{}")

            do_HEAD = do_POST = do_GET

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def get_request(self):
                connection, address = super().get_request()
                if registry.tls:  # the handshake is the thread's that serves it
                    connection = registry.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                return connection, address

            def handle_error(self, *_):  # a client that hangs up early is what hostile layers are about
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if self.tls else 'http'}://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Gate:
    """One host for several tenants, in front of a Registry without passwords. `users`: {name: [password, prefixes of repositories that
    the user may read]}, to be changed at will; what begins with a prefix of `public` is everybody's. A wrong password is a 401, a
    repository of somebody else's a 403. `before_blob(user, digest)` runs in the middle of a blob and may wait, or raise to cut the
    connection. `asked` lists (user, method, path, status) in order."""
    def __init__(self, backend, users, public=("public/",)):
        self.backend, self.users, self.public = backend, users, tuple(public)
        self.before_blob, self.asked, self._lock = None, [], threading.Lock()

    def _verdict(self, header, path):
        """The user ("" for nobody), and 200, 401 or 403."""
        user, known = "", None
        if header.startswith("Basic "):
            user, _, password = base64.b64decode(header[6:]).decode(errors="replace").partition(":")
            known = self.users.get(user)
            if not known or known[0] != password:
                return user, 401
        if path.startswith(tuple("/v2/" + prefix for prefix in self.public)):
            return user, 200
        if not known:
            return user, 401
        return user, 200 if path == "/v2/" or path.startswith(tuple("/v2/" + prefix for prefix in known[1])) else 403

    def tell(self, *what):
        with self._lock:
            self.asked.append(what)

    def blobs(self, user=None, below=""):
        """Digests of the blobs of repositories that begin with `below` whose bytes were sent (to `user`)."""
        with self._lock:
            return [path.rsplit("/", 1)[1] for who, method, path, status in self.asked
                    if method == "GET" and "/blobs/" in path and path.startswith("/v2/" + below) and status in (200, 206) and user in (None, who)]

    def __enter__(self):
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                user, status = gate._verdict(self.headers.get("Authorization", ""), self.path)
                if status != 200:
                    gate.tell(user, self.command, self.path, status)
                    code = "UNAUTHORIZED" if status == 401 else "DENIED"
                    body = json.dumps({"errors": [{"code": code, "message": "no"}]}).encode()
                    self.send_response(status)
                    if status == 401:
                        self.send_header("WWW-Authenticate", 'Basic realm="gate"')
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body if self.command == "GET" else b"")
                    return
                behind = http.client.HTTPConnection("127.0.0.1", gate.backend.port, timeout=60)
                try:
                    wanted = {k: v for k, v in self.headers.items() if k.lower() in ("accept", "range", "if-none-match", "if-range")}
                    behind.request(self.command, self.path, headers=wanted)
                    answer = behind.getresponse()
                    body = answer.read()
                finally:
                    behind.close()
                gate.tell(user, self.command, self.path, answer.status)
                self.send_response(answer.status)
                for key in ("Content-Type", "Docker-Content-Digest", "Content-Range", "ETag", "Accept-Ranges"):
                    if answer.getheader(key):
                        self.send_header(key, answer.getheader(key))
                self.send_header("Content-Length", answer.getheader("Content-Length") if self.command == "HEAD" else str(len(body)))
                self.end_headers()
                if self.command == "HEAD":
                    return
                half = len(body) // 2
                self.wfile.write(body[:half])
                if gate.before_blob and "/blobs/" in self.path:
                    self.wfile.flush()
                    try:
                        gate.before_blob(user, self.path.rsplit("/", 1)[1])
                    except ConnectionError:
                        self.close_connection = True
                        self.connection.shutdown(socket.SHUT_RDWR)
                        return
                self.wfile.write(body[half:])

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
