"""Failures and their next steps, live: python3 lab/test_steps.py [-v]; BERTH_BIN as for the demo. Root, docker-registry, crun or runc.

Each row of the table makes one failure with real daemons and registries, `berth explain` names its cause, its NEXT is carried out as it was
printed, and then the same pull works (the same Pod runs) and explain says so:

    @row("missing-tag", r'correct the tag in "(.*)", or push the image with this tag')
    def missing_tag(t):
        step = yield Ask(t.private("web", tag="v2"))   # broken; back comes what the text of NEXT named (a match of the pattern)
        t.push("web", "v2")                            # what a person does who reads it
                                                       # (return Ask(…): what is pulled then is named otherwise)

A command that is printed is run by a shell afterwards, with nothing but the words in capitals that Ask.fill knows put in. The pattern has to
match the whole text: who changes the text sees here whether it can still be carried out.
"""
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import cases
import images
import registry
from pods import pod
from registry import cut, reply, user_of
from test_plugins import Plugins, answer, say
from test_verify_signatures import Key, Signer

USER = "demo"
DOCKERCONFIG = "kubernetes.io/dockerconfigjson"


@dataclasses.dataclass
class Ask:
    image: str
    args: tuple = ()        # of explain and of pull: a login
    policy: str = ""        # of explain
    pod: dict | None = None
    last: bool = False      # the failure shows in the pull only
    node: object = None     # another daemon
    stdin: str = ""         # what the printed command asks for
    fill: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Row:
    cause: str
    text: str
    make: object
    name: str


ROWS = []


def row(cause, text):
    def add(function):
        ROWS.append(Row(cause, text, function, function.__name__))
        return function
    return add


# ---- names

@row("name-scheme", r'write "(.*)" instead')
def name_scheme(t):
    step = yield Ask("https://" + t.public())
    return Ask(step[1])


@row("name-upper-case", r'write "(.*)" instead')
def name_upper_case(t):
    step = yield Ask(t.public().replace("shop", "Shop"))
    return Ask(step[1])


@row("name-blank", r'write "(.*)" instead')
def name_blank(t):
    step = yield Ask(t.public() + " ")
    return Ask(step[1])


@row("dns", r"correct the host in the image's name, or make it resolve on this node \(until `getent hosts nowhere.invalid` finds it\)")
def wrong_host(t):
    right = t.public()
    yield Ask("nowhere.invalid/" + right.split("/", 1)[1])
    return Ask(right)


@row("missing-tag", r'correct the tag in "(.*):v2", or push the image with this tag')
def missing_tag(t):
    step = yield Ask(t.public(tag="v2"))
    return Ask(step[1] + ":v1")


@row("missing-tag", r'name a tag \(none means latest\) in "(.*)", or push the image with this tag')
def no_tag(t):
    step = yield Ask(t.public().removesuffix(":v1"))
    return Ask(step[1] + ":v1")


@row("wrong-name", r'correct the name "(.*)" where it is written, or push the image there')
def wrong_name(t):
    shop = t.faulty(lambda h: "/v2/team/other/" in h.path and reply(h, 404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}'))
    step = yield Ask(f"{shop.host}/team/other:plain")
    return Ask(step[1].replace("other", "app") + ":plain")


@row("missing-digest", r"name a digest that is there \(pull a tag of (\S+) to learn one\), or push that image again")
def missing_digest(t):
    step = yield Ask(t.public().replace(":v1", "@sha256:" + "a" * 64))
    t.node.berthd.berth("pull", step[1] + ":v1", check=True)
    listed = t.node.berthd.json("images")["images"]
    digest = next(image["manifest"] for image in listed if step[1] + ":v1" in image["names"])
    return Ask(f"{step[1]}@{digest}")


# ---- what is under the name

@row("platform", r"push an image for linux/amd64 to this tag, or run the Pod on a node with nodeSelector kubernetes.io/arch: arm64")
def platform(t):
    layer = t.layout.layer(images.entries(("a", "arm")))
    t.layout.tag("arm", t.layout.image([layer], arch="arm64"))
    image = t.public(push=False)
    t.push(t.open, image.split("/", 1)[1].removesuffix(":v1"), ref="arm")
    yield Ask(image)
    t.push(t.open, image.split("/", 1)[1].removesuffix(":v1"))


@row("blob-missing", r"push the image to (\S+) again: it is incomplete there")
def blob_missing(t):
    t.variant("blob-missing", "blob missing")
    config = t.layout.manifest("blob-missing")["config"]["digest"]
    shop = t.faulty(lambda h: config in h.path and reply(h, 404, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}'))
    step = yield Ask(f"{shop.host}/team/app:blob-missing")
    t.equal(step[1], f"{shop.host}/team/app")
    shop.fault = None


@row("lying-host", r"push the image again, and have the registry's operator check its storage")
def lies(t):
    shop = t.faulty(lambda h: "/manifests/sha256:" in h.path and h.command == "GET" and reply(h, 200, b"{ }", Content_Type=images.OCI["manifest"]))
    yield Ask(f"{shop.host}/team/app:plain")
    shop.fault = None


@row("no-image", r"correct the host in the image's name: a web server or login page answers there")
def web_page(t):
    shop = t.faulty(lambda h: reply(h, 200, b"<html>log in</html>", Content_Type="text/html"))
    yield Ask(f"{shop.host}/team/app:plain")
    return Ask(f"{t.faulty(None).host}/team/app:plain")


@row("limit", r"make the image smaller, or raise the limit that is named in brackets in /etc/berth/config.yaml and restart berthd")
def limit(t):
    t.layout.tag("five", t.layout.image([t.layout.layer(images.entries((f"file{n}", str(n)))) for n in range(5)]))
    image = f"{t.faulty(None).host}/team/app:five"
    yield Ask(image, node=t.small, last=True)
    t.small.berthd.settings["limits.layers"] = 5
    t.small.restart()
    return Ask(image, node=t.small)


# ---- logins

@row("no-credential", r"pull it with a login; Pods need a secret of their own, or the node's config.json \(USER: yours there; the password is read from stdin\)")
def no_login(t):
    yield Ask(t.private(), stdin=t.password, fill={"USER": USER})


@row("hub-private", r"correct the name, or log in \(USER: yours there; the password is read from stdin\)")
def hub(t):
    yield Ask(t.private_at_the_hub(), stdin=t.password, fill={"USER": USER})


@row("hub-private", r"correct the name, or log in \(.*\)")
def hub_config(t):
    yield Ask(t.private_at_the_hub(), stdin=t.password, fill={"USER": USER})
    t.login(t.node, "https://index.docker.io/v1/")  # for all that comes
    return Ask(t.private_at_the_hub())


@row("password-rejected", r"the password in file (\S+) is not accepted for user demo\. Test a new one before you store it")
def password(t):
    config = t.config(t.server.host, "old")
    step = yield Ask(t.private(), ("--authfile", config), stdin=t.password)
    t.equal(step[1], str(config))
    t.config(t.server.host, t.password, config)


@row("denied", r"have the owner of (\S+) let user demo pull it, or use a secret of a user who may")
def denied(t):
    shop = t.faulty(lambda h: reply(h, 403, b'{"errors":[{"code":"DENIED"}]}') if user_of(h)[0] else reply(h, 401, WWW_Authenticate='Basic realm="x"'))
    step = yield Ask(f"{shop.host}/team/app:plain", ("--authfile", t.config(shop.host, "any")))
    t.equal(step[1], f"{shop.host}/team/app")
    shop.fault = None


@row("untrusted-realm", r'if (?:it does|that is right), add "(\S+=\S+)" to trustedRealms')
def realm(t):
    tokens = t.faulty(lambda h: reply(h, 200, b'{"token":"t"}', Content_Type="application/json"))
    place = f"http://{tokens.host}/token"
    shop = t.faulty(lambda h: not h.headers.get("Authorization", "").startswith("Bearer") and
                    reply(h, 401, WWW_Authenticate=f'Bearer realm="{place}",service="x"'))
    image = f"{shop.host}/team/app:plain"
    config = ("--authfile", t.config(shop.host, "any"))
    step = yield Ask(image, config, node=t.small)
    t.small.berthd.settings["trustedRealms"] = [step[1]]
    t.small.restart()
    return Ask(image, config, node=t.small)


@row("token-service", r"the operator of the token service has to mend it; then")
def token_service(t):
    broken = [True]

    def fault(h):
        if h.path.startswith("/token"):
            return reply(h, 503) if broken else reply(h, 200, b'{"token":"t"}', Content_Type="application/json")
        return not h.headers.get("Authorization", "").startswith("Bearer") and reply(
            h, 401, WWW_Authenticate=f'Bearer realm="http://{h.headers["Host"]}/token",service="x"')
    shop = t.faulty(fault)
    yield Ask(f"{shop.host}/team/app:plain")
    broken.clear()


# ---- entries that nearly match: "write the key as "K" in FILE"

def near(t, key, node=None, host=""):
    node, image = node or t.node, t.private()
    if host:
        image = image.replace("127.0.0.1", host)
    path = t.login(node, key(image))
    step = yield Ask(image, node=node)
    t.equal(step[2], str(path))
    t.login(node, step[1])


@row("entry-port", r'write the key as "(\S+)" in config\.json (\S+)')
def other_port(t):
    return (yield from near(t, lambda image: "127.0.0.1:1"))


@row("entry-path", r'write the key as "(\S+)" \(or "\S+" for all of the registry\) in config\.json (\S+)')
def other_path(t):
    return (yield from near(t, lambda image: image.split("/")[0] + "/another"))


@row("entry-case", r'write the key as "(\S+)" in config\.json (\S+)')
def other_case(t):
    return (yield from near(t, lambda image: image.split("/")[0].upper(), t.small, "localhost"))


@row("entry-labels", r'write the key as "(\S+)" in config\.json (\S+)')
def other_labels(t):
    return (yield from near(t, lambda image: "*." + image.split("/")[0], t.small, "localhost"))


@row("entry-never", r'write the key as "(\S+)" in config\.json (\S+)')
def never_matches(t):
    return (yield from near(t, lambda image: "localhos[0-9]:" + image.split("/")[0].split(":")[1], t.small, "localhost"))


# ---- the way there

@row("refused", r"start the registry, or correct the port in the image's name; then")
def refused(t):
    with socket.socket() as held:  # bound and not listening: refused, and nobody else gets the port
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        yield Ask(f"127.0.0.1:{port}/team/app:plain")
    t.faulty(None, port=port)


@row("always-unreachable", r"use --policy IfNotPresent")
def always(t):
    shop = t.faulty(None)
    image = f"{shop.host}/team/app:plain"
    t.node.berthd.berth("pull", image, check=True)
    shop.fault = cut
    yield Ask(image, policy="Always")
    return Ask(image, policy="IfNotPresent")


@row("slow", r"the registry is overloaded or hangs: have its operator look; then")
def slow(t):
    go = threading.Event()
    t.case.addCleanup(go.set)
    shop = t.faulty(lambda h: not go.wait(60))
    yield Ask(f"{shop.host}/team/app:plain")
    go.set()


@row("cut", r"what was fetched stays: pull again; if it stays like this, a proxy or firewall cuts connections")
def cuts(t):
    shop = t.faulty(cut)
    yield Ask(f"{shop.host}/team/app:plain")
    shop.fault = None


@row("stalled", r"what was fetched stays: pull again, it goes on from there")
def stalled(t):
    go = threading.Event()
    t.case.addCleanup(go.set)
    t.variant("stalled", "stalled")
    layer = t.layout.manifest("stalled")["layers"][1]

    def fault(h):
        if layer["digest"] not in h.path or go.is_set():
            return False
        shop.serve(h, 0)
        h.wfile.flush()
        go.wait(60)
        return cut(h)
    shop = t.faulty(fault)
    yield Ask(f"{shop.host}/team/app:stalled", last=True)
    go.set()


@row("rate-limited", r"wait 2\.0s, or set up a mirror in (\S+)")
def rate_user(t):
    shop, mirror = t.faulty(lambda h: reply(h, 429, Retry_After="2")), t.faulty(None)
    step = yield Ask(f"{shop.host}/team/app:plain", ("--authfile", t.config(shop.host, "any")))
    t.equal(step[1], str(t.certs / shop.host / "hosts.toml"))
    t.hosts(shop.host, f'server = "http://{shop.host}"\n[host."http://{mirror.host}"]\n')


@row("server-error", r"the registry's operator has to mend it; then")
def server_error(t):
    shop = t.faulty(lambda h: reply(h, 503))
    yield Ask(f"{shop.host}/team/app:plain")
    shop.fault = None


@row("redirects", r"correct the redirect of (\S+): its external URL points to itself")
def redirects(t):
    shop = t.faulty(lambda h: reply(h, 307, Location=h.path))
    step = yield Ask(f"{shop.host}/team/app:plain")
    t.check(shop.host in step[1])
    shop.fault = None


@row("protocol", r"correct the host or the port in the image's name, or start the registry there \(`berth probe (\S+)` shows what answers now\)")
def teapot(t):
    shop = t.faulty(lambda h: reply(h, 418))
    step = yield Ask(f"{shop.host}/team/app:plain")
    t.equal(step[1], shop.host)
    shop.fault = None


@row("mirror-down", r"mend the mirror (\S+), or take it out of (\S+): every pull waits for it first")
def mirror_down(t):
    shop = t.faulty(None)
    t.hosts(shop.host, f'server = "http://{shop.host}"\n[host."http://127.0.0.1:1"]\n')
    step = yield Ask(f"{shop.host}/team/app:plain")
    path = pathlib.Path(step[2])
    path.write_text(path.read_text().replace(f'[host."{step[1]}"]\n', ""))


@row("mirror-credential", r'put a login under the key "(\S+)" into the node\'s config.json, or let the mirror serve anonymous users')
def private_mirror(t):
    t.hosts("shop.test", f'server = "{t.server.url}"\n')
    t.push(t.server, "team/app", auth=(USER, t.password))
    step = yield Ask("shop.test/team/app:v1")
    t.equal(step[1], t.server.host)
    t.login(t.node, step[1])


@row("hosts-config", r"correct that file in (\S+) \(or the folder named\); it is read again at the next pull")
def hosts_config(t):
    shop = t.faulty(None)
    t.hosts(shop.host, 'server = "http://')
    step = yield Ask(f"{shop.host}/team/app:plain")
    (pathlib.Path(step[1]) / "hosts.toml").write_text(f'server = "http://{shop.host}"\n')


# ---- TLS

@row("tls-ca", r"trust its CA for this registry \(CA.pem: the certificate of the CA, from its operator\)")
def tls_ca(t):
    yield Ask(f"{t.tls.host}/shop/web:v1", fill={"CA.pem": t.tls.ca})


@row("tls-ca", r'trust its CA for this registry \(CA.pem: the certificate of the CA, from its operator\): in (\S+), for this host, write ca = "/PATH/CA.pem"')
def tls_ca_in_hosts(t):
    shop, folder = t.secure()
    t.hosts(shop.host, f'server = "https://{shop.host}"\n')
    step = yield Ask(f"{shop.host}/team/app:plain")
    with open(step[1], "a") as file:
        file.write(f'ca = "{folder}/ca.pem"\n')


@row("tls-name", r"use one of those names in the image, or give the server a certificate for (\S+)")
def tls_name(t):
    shop, folder = t.secure("localhost")
    for name in ("127.0.0.1", "localhost"):
        t.trust(f"{name}:{shop.port}", folder)
    yield Ask(f"{shop.host}/team/app:plain")
    return Ask(f"localhost:{shop.port}/team/app:plain")


@row("tls-expired", r"renew the certificate of (\S+); if it should be valid, check this node's clock")
def tls_expired(t):
    shop, folder = t.secure()
    t.trust(shop.host, folder)
    good = shop.tls
    shop.tls = t.certificate(folder, "old", "20200101000000Z", "20200201000000Z")
    yield Ask(f"{shop.host}/team/app:plain")
    shop.tls = good


@row("tls-client-certificate", r"give it one \(CLIENT.cert, CLIENT.key: PEM files from its operator\)")
def tls_client(t):
    shop, folder = t.secure()
    t.trust(shop.host, folder)
    shop.tls.verify_mode = ssl.CERT_REQUIRED
    shop.tls.load_verify_locations(folder / "ca.pem")
    t.certificate(folder, "client", usage="clientAuth")
    yield Ask(f"{shop.host}/team/app:plain", fill={"CLIENT.cert": folder / "client.pem", "CLIENT.key": folder / "client.key"})


@row("http-on-https", r"if it is a plain HTTP registry on a network you trust, say so")
def http_on_https(t):
    yield Ask(f"plain.test:{t.plain.port}/team/app:plain")


@row("redirect-insecure", r"set the external URL of (\S+) \(its storage or proxy setting\) to https")
def redirect_insecure(t):
    shop, folder = t.secure()
    t.trust(shop.host, folder)
    shop.fault = lambda h: "/manifests/" in h.path and reply(h, 307, Location="http://storage.test/x")
    yield Ask(f"{shop.host}/team/app:plain")
    shop.fault = None


# ---- this machine

@row("policy-never", r"pull it by hand")
def never(t):
    yield Ask(t.public(), policy="Never")


@row("disk-full", r"free some: images nobody needs go with rm, their layers with reclaim")
def disk_full(t):
    shop = t.faulty(None)
    for name in ("big", "bigger"):
        t.layout.tag(name, t.layout.image([t.layout.layer(images.entries((name, secrets.token_bytes(20 << 20))))]))
    old, new = (f"{shop.host}/team/app:{name}" for name in ("big", "bigger"))
    t.small.berthd.berth("pull", old, check=True)
    yield Ask(new, last=True, node=t.small)
    t.small.berthd.berth("rm", old, check=True)


# ---- Pods and their secrets

@row("secret-missing", r"create it; the Pod finds it at its next try \(USER: yours there; the password is read from stdin\)")
def secret_missing(t):
    image = t.private()
    yield Ask(image, pod=t.pod(image, ["regcred"]), stdin=t.password, fill={"USER": USER})


@row("secret-elsewhere", r"copy it into namespace (\S+)")
def secret_elsewhere(t):
    image = t.private()
    t.namespace("theirs")
    t.secret("theirs", "shared", t.good())
    yield Ask(image, pod=t.pod(image, ["shared"]))


@row("secret-misnamed", r"set imagePullSecrets: \[\{name: (\S+)\}\] in the Pod, delete it and apply it again")
def secret_misnamed(t):
    image = t.private()
    made = t.pod(image, ["regcrde"])
    t.secret(made["metadata"]["namespace"], "regcred", t.good())
    step = yield Ask(image, pod=made)
    made["spec"]["imagePullSecrets"] = [{"name": step[1]}]


@row("secret-malformed", r"make the secret anew: one that is malformed fails every pull of the Pod \(USER: yours there; the password is read from stdin\)")
def secret_malformed(t):
    image = t.private()
    made = t.pod(image, ["regcred"])
    t.secret(made["metadata"]["namespace"], "regcred", '{"auths":{"x":{"auth":"canary"}}}')
    yield Ask(image, pod=made, stdin=t.password, fill={"USER": USER})


@row("secret-type", r"delete it and make it anew with the right type: the type of a secret cannot be changed \(USER: yours there; the password is read from stdin\)")
def secret_type(t):
    image = t.private()
    made = t.pod(image, ["regcred"])
    t.secret(made["metadata"]["namespace"], "regcred", t.good(), "Opaque")
    yield Ask(image, pod=made, stdin=t.password, fill={"USER": USER})


@row("no-credential", r"create a pull secret and list it in the Pod: imagePullSecrets: \[\{name: (\S+)\}\] \(USER: yours there; the password is read from stdin\)")
def pod_without_secret(t, image=None):
    image = image or t.private()
    made = t.pod(image)
    step = yield Ask(image, pod=made, stdin=t.password, fill={"USER": USER})
    made["spec"]["imagePullSecrets"] = [{"name": step[1]}]


@row("hub-private", r"correct the name, or log in and list the secret in the Pod: imagePullSecrets: \[\{name: (\S+)\}\] \(USER: yours there; the password is read from stdin\)")
def pod_of_the_hub(t):
    return pod_without_secret(t, t.private_at_the_hub())


@row("token-expired", r"put a fresh one into the secret \(better: a credential plug-in, which renews it\) \(the password is read from stdin\)")
def token_expired(t):
    image = t.private()
    made = t.pod(image, ["cloud"])
    t.secret(made["metadata"]["namespace"], "cloud", json.dumps({"auths": {t.server.host: {"username": "AWS", "password": "canary-old"}}}))
    yield Ask(image, pod=made, stdin=t.password)


@row("password-rejected", r"the password in secret (\S+)/(\S+) is not accepted for user demo\. Test a new one before you store it")
def secret_password(t):
    image = t.private()
    made = t.pod(image, ["regcred"])
    t.secret(made["metadata"]["namespace"], "regcred", t.good().replace(t.password, "canary-old"))
    step = yield Ask(image, pod=made, stdin=t.password)
    t.secret(step[1], step[2], t.good())


@row("never-not-proven", r"set imagePullPolicy: IfNotPresent, and list a pull secret for (\S+) in the Pod")
def never_not_proven(t):
    image = t.private()
    t.strict.berthd.berth("pull", "--creds", f"{USER}:{t.password}", image, check=True)
    made = t.pod(image, node=t.strict)
    made["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    step = yield Ask(image, pod=made, node=t.strict)
    t.secret(made["metadata"]["namespace"], "regcred", t.good(step[1]), node=t.strict)
    made["spec"]["imagePullSecrets"] = [{"name": "regcred"}]
    made["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"


# ---- credential plug-ins

def plugin(t, name, script):
    image = t.private()
    t.plugins.add(name, [image.removesuffix(":v1")], script)
    t.node.berthd.reload()
    return image


@row("plugin-missing", r"install the program \(mode 0755, owned by root\) in the folder of plug-ins, or take it out of CredentialProviderConfig")
def plugin_missing(t):
    image = plugin(t, "absent", "exit 0")
    (t.plugins.folder / "bin/absent").unlink()
    yield Ask(image)
    t.plugins.script("absent", t.plugin_answer())


@row("plugin-crashes", r"run it by hand with a request on stdin and mend what it complains about")
def plugin_crashes(t):
    yield Ask(plugin(t, "crashes", "kill -SEGV $$"))
    t.plugins.script("crashes", t.plugin_answer())


@row("plugin-lies", r"set the plug-in's apiVersion in CredentialProviderConfig to the one it speaks, or install a version of it that speaks that one")
def plugin_lies(t):
    beta = "credentialprovider.kubelet.k8s.io/v1beta1"
    yield Ask(plugin(t, "lies", t.plugin_answer(version=beta)))
    t.plugins.providers[-1]["apiVersion"] = beta
    t.plugins.write()
    t.node.berthd.reload()


@row("plugin-hangs", r"find what it waits for \(mostly its cloud's metadata service, 169\.254\.169\.254\): run it by hand with a request on stdin")
def plugin_hangs(t):
    yield Ask(t.hanging)
    t.plugins.script("hangs", t.plugin_answer())


# ---- rules for images

@row("denied-by-rule", r'use an image that the rules allow, or change rule "(\S+)"')
def denied_by_rule(t):
    image = t.ruled(action="Deny")
    step = yield Ask(image, node=t.strict)
    t.change(step[1], action="Allow")


@row("no-rule", r"add a rule for its repository to `verification` in berthd's configuration, and send SIGHUP")
def no_rule(t):
    image = t.public()
    yield Ask(image, node=t.strict)
    t.rule(image, action="Allow")


@row("digest-not-listed", r'add the digest to `digests` of rule "(\S+)", or use an image that is in it')
def digest_not_listed(t):
    image = t.ruled(action="Allow", digests=["sha256:" + "a" * 64])
    step = yield Ask(image, node=t.strict)
    t.change(step[1], digests=[t.digest])


@row("unsigned", r"sign it")
def unsigned(t):
    yield Ask(t.ruled(action="RequireSignature", keys=[t.trusted(t.key)]), node=t.strict, fill={"KEY": t.key.private})


@row("wrong-digest", r"sign this digest")
def wrong_digest(t):
    image = t.ruled(action="RequireSignature", keys=[t.trusted(t.key)])
    t.signer(image).simple(t.key, t.digest, signed="sha256:" + "a" * 64)
    yield Ask(image, node=t.strict, fill={"KEY": t.key.private})


@row("wrong-key", r'sign it with a key of the rule, or add the public key of its signer to rule "(\S+)"')
def wrong_key(t):
    image = t.ruled(action="RequireSignature", keys=[t.trusted(t.key)])
    t.signer(image).simple(t.other, t.digest)
    step = yield Ask(image, node=t.strict)
    t.change(step[1], keys=[t.trusted(t.key), t.trusted(t.other)])


@row("wrong-identity", r'sign it under this name, or list the repository in signedAs of rule "(\S+)"')
def wrong_identity(t):
    image = t.ruled(action="RequireSignature", keys=[t.trusted(t.key)])
    t.signer(image).simple(t.key, t.digest, reference="registry.example/team/app")
    step = yield Ask(image, node=t.strict)
    t.change(step[1], signedAs=["registry.example/team/app"])


@row("out-of-date", r"sign it anew with a key that is valid")
def out_of_date(t):
    image = t.ruled(action="RequireSignature", keys=[t.trusted(t.other) | {"notAfter": "2020-01-01T00:00:00Z"}, t.trusted(t.key)])
    t.signer(image).simple(t.other, t.digest)
    yield Ask(image, node=t.strict, fill={"KEY": t.key.private})


@row("program-refused", r"use an image that this verifier accepts")
def program_refused(t):
    image = t.ruled(action="RequireSignature", programs=True)
    good = t.ruled(action="RequireSignature", programs=True)
    t.program(f'[ "$2" = {good} ]')
    yield Ask(image, node=t.strict)
    return Ask(good, node=t.strict)


@row("program-failed", r"mend the verifier programs; run them by hand with -name, -digest and a descriptor on stdin")
def program_failed(t):
    image = t.ruled(action="RequireSignature", programs=True)
    t.program("kill -SEGV $$")
    yield Ask(image, node=t.strict)
    t.program("exit 0")


class Tools:
    """What rows have at hand."""
    def __init__(self, case):
        self.case, self.layout, self.folder = case, case.layout, case.folder
        self.password, self.count = "canary" + secrets.token_hex(8), 0
        self.certs = self.folder / "certs.d"
        self.certs.mkdir()
        self.variant = case.variant
        self.equal, self.check = case.assertEqual, case.assertTrue
        self.variant("plain", "plain")
        enter = case.enterContext
        self.server = enter(registry.Registry(users={USER: self.password, "AWS": self.password}))
        self.open, self.tls = enter(registry.Registry()), enter(registry.Registry(tls=True))
        self.push(self.tls, "shop/web", ca=self.tls.ca)
        self.plain = self.faulty(None)
        self.hub, self.hub_folder = self.secure("registry-1.docker.io", "auth.docker.io")
        self.hub.fault = self.answer_of_the_hub
        self.trust("docker.io", self.hub_folder)
        self.plugins = Plugins(pathlib.Path(tempfile.mkdtemp(prefix="berth-steps-")))
        case.addCleanup(shutil.rmtree, self.plugins.folder, True)
        self.row = "hangs"
        self.hanging = self.private()
        self.plugins.add("hangs", [self.hanging.removesuffix(":v1")], "trap '' TERM; while :; do sleep 1000; done")
        # A failure is tried twice, and three seconds are slow.
        fast = {"hostsDirs": [str(self.certs)], "retry.rounds": 2, "retry.base": "10ms", "limits.headers": "3s", "limits.stall_window": "2s",
                "resolve": [f"plain.test:{self.plain.port}=127.0.0.1:{self.plain.port}"] +
                           [f"{name}.docker.io:443={self.hub.host}" for name in ("registry-1", "auth")]}
        self.node = case.node(fast | self.plugins.settings())
        disk = self.folder / "disk"
        disk.mkdir()
        # 16 MiB of it are the reserve.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=72m,mode=755", "tmpfs", disk], check=True)
        case.addCleanup(subprocess.run, ["umount", "-l", disk], check=True)
        self.small = cases.Node(case, disk / "node", fast | {"credentials.profile": "Kubelet", "limits.layers": 4}, {})
        case.addCleanup(self.small.close)
        self.verifiers = pathlib.Path(tempfile.mkdtemp(prefix="berth-steps-"))
        case.addCleanup(shutil.rmtree, self.verifiers, True)
        self.program("exit 0")
        self.rules = [{"name": "tenants", "match": [self.server.host], "action": "Allow"}]
        self.strict = case.node(fast | {"verification": self.verification()}, {"imagePullCredentialsVerificationPolicy": "AlwaysVerify"})
        self.key, self.other = Key(self.folder, "release"), Key(self.folder, "other")
        (self.folder / "bin").mkdir()
        cosign = self.folder / "bin/cosign"  # is not in Debian: what `cosign sign` puts into the registry is made here
        cosign.write_text(f'#!/bin/sh\nexec {sys.executable} {pathlib.Path(__file__).resolve()} --cosign "$@"\n')
        cosign.chmod(0o755)

    def private(self, tag="v1"):
        return self.made(self.server, tag, (USER, self.password))

    def public(self, tag="v1", push=True):
        return self.made(self.open, tag, push=push)

    def made(self, server, tag, auth=None, push=True):
        self.count += 1
        repo = f"shop/{self.row}{self.count}"
        if push:
            self.push(server, repo, auth=auth)
        return f"{server.host}/{repo}:{tag}"

    def push(self, server, repo, auth=None, ca=None, ref="v1"):
        self.digest = images.push(self.layout, server.url, repo, "v1", auth, ca, ref)

    def faulty(self, fault, tls=None, port=0):
        return self.case.enterContext(registry.LayoutRegistry({"team/app": self.layout.folder}, fault=fault, tls=tls, port=port))

    def secure(self, *names):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        registry.mint(folder, names or ("127.0.0.1", "localhost"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        return self.faulty(None, context), folder

    def answer_of_the_hub(self, h):
        """Its token service gives everybody a token; to what is private, that of an anonymous user opens nothing."""
        kind, _, token = h.headers.get("Authorization", "").partition(" ")
        if h.path.startswith("/token"):
            user, password = user_of(h)
            if user and (user, password) != (USER, self.password):
                return reply(h, 401)
            return reply(h, 200, json.dumps({"token": f"of-{user}", "expires_in": 300}).encode(), Content_Type="application/json")
        if kind == "Bearer" and token == f"of-{USER}":
            return False
        scope = re.sub(r"/v2/(.*)/(manifests|blobs)/.*", r"repository:\1:pull", h.path)
        return reply(h, 401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', WWW_Authenticate=f'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
                     f'scope="{scope}"' + (',error="insufficient_scope"' if kind else ""))

    def private_at_the_hub(self):
        self.count += 1
        repo = f"team/hub{self.count}"
        self.hub.layouts[repo] = self.layout.folder
        return f"{repo}:v1"

    def certificate(self, folder, name, begin=None, end=None, usage="serverAuth"):
        """A certificate of the CA in `folder`, as server context."""
        def openssl(*args):
            subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "index.txt").write_text("")
        (folder / "ca.cnf").write_text("[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy=p\n"
                                       f"[p]\ncommonName=supplied\n[x]\nsubjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\n")
        dates = ("-startdate", begin, "-enddate", end) if begin else ("-days", "2")
        openssl("ca", "-batch", "-config", "ca.cnf", "-rand_serial", "-in", f"{name}.csr", "-out", f"{name}.pem", "-cert", "ca.pem", "-keyfile", "ca.key",
                "-extensions", "x", "-notext", *dates)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        return context

    def trust(self, host, folder):
        (self.certs / host).mkdir(exist_ok=True)
        shutil.copy(folder / "ca.pem", self.certs / host / "ca.crt")

    def hosts(self, host, text):
        (self.certs / host).mkdir(exist_ok=True)
        (self.certs / host / "hosts.toml").write_text(text)

    def config(self, key, password, path=None):
        self.count += 1
        path = path or self.folder / f"config{self.count}.json"
        path.write_text(json.dumps({"auths": {key: {"username": USER, "password": password}}}))
        return path

    def login(self, node, key):
        """The node's own config.json, with this key."""
        path = node.berthd.folder / "none/config.json"
        path.parent.mkdir(exist_ok=True)
        self.config(key, self.password, path)
        node.berthd.reload()
        return path

    def logout(self):
        for node in (self.node, self.small, self.strict):
            path = node.berthd.folder / "none/config.json"
            if path.exists():
                path.unlink()
                node.berthd.reload()

    def good(self, host=None):
        return json.dumps({"auths": {host or self.server.host: {"username": USER, "password": self.password}}})

    def namespace(self, name, node=None):
        (node or self.node).namespace(name)
        return name

    def pod(self, image, pull_secrets=(), node=None):
        name = self.row.replace("_", "-")
        return pod(name, image, cases.SLEEP, namespace=self.namespace(name, node), secrets=pull_secrets)

    def secret(self, namespace, name, text, kind=DOCKERCONFIG, node=None):
        (node or self.node).pods.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "type": kind,
                                        "stringData": {".dockerconfigjson": text}})

    def plugin_answer(self, **more):
        return say(answer({self.server.host: (USER, self.password)}, **more))

    # rules
    def verification(self):
        return {"default": "Deny", "programs": {"dir": str(self.verifiers)}, "rules": self.rules}

    def apply_rules(self):
        self.strict.berthd.reload(verification=self.verification())

    def rule(self, image, **more):
        self.rules.append({"name": f"rule{len(self.rules)}", "match": [image.removesuffix(":v1")]} | more)
        self.apply_rules()

    def ruled(self, **more):
        image = self.public()
        self.rule(image, **more)
        return image

    def change(self, name, **more):
        next(rule for rule in self.rules if rule["name"] == name).update(more)
        self.apply_rules()

    def trusted(self, key):
        return {"name": key.public.stem, "file": str(key.public)}

    def signer(self, image):
        return Signer(self.open, image.split("/", 1)[1].removesuffix(":v1"), self.folder)

    def program(self, script):
        path = self.verifiers / "verify"
        path.with_suffix(".new").write_text(f"#!/bin/sh\n{script}\n")
        path.with_suffix(".new").chmod(0o755)
        path.with_suffix(".new").rename(path)


class Steps(cases.NodeCase):
    seconds = 840

    def explain(self, ask, node):
        what = [f"pod/{ask.pod['metadata']['name']}", "-n", ask.pod["metadata"]["namespace"]] if ask.pod else [ask.image, *ask.args]
        what += ["--policy", ask.policy] * bool(ask.policy) + ["--last"] * ask.last
        report = node.explain(*what)
        self.assertNotIn("canary", json.dumps(report))
        return report

    def shell(self, command, ask, node):
        """Runs what NEXT printed as a person would paste it."""
        for word, value in ask.fill.items():
            self.assertIn(word, command)
            command = command.replace(word, str(value))
        self.assertNotRegex(command, r"(?<![/\w=])[A-Z]{3,}\b")
        env = os.environ | {"PATH": f"{pathlib.Path(node.berthd.command()[0]).parent}:{self.folder}/bin:{os.environ['PATH']}",
                            "BERTH_SOCKET": str(node.berthd.socket)}
        done = subprocess.run(["sh", "-c", command], input=ask.stdin, env=env, capture_output=True, text=True, timeout=100)
        self.assertEqual(done.returncode, 0, (command, done.stdout, done.stderr))

    def works(self, ask, node):
        """The pull, or the Pod, and what explain says of it."""
        if not ask.pod:
            if ask.policy != "IfNotPresent":
                done = node.berthd.berth("pull", *ask.args, ask.image)
                self.assertEqual(done.returncode, 0, done.stderr)
            elif ask.policy:
                node.berthd.berth("inspect", ask.image, check=True)
        else:
            name, namespace = (ask.pod["metadata"][key] for key in ("name", "namespace"))
            report = self.explain(ask, node)
            if report["verdict"]["cause"] == "back-off":
                self.assertEqual(report["next"]["text"], "wait, or make the Pod anew: it does not wait")
                self.shell(report["next"]["command"], dataclasses.replace(ask, fill={}), node)
                self.steps.append("back-off")
            elif node.pods.status(name, namespace) != "Running":
                node.delete(name, namespace)
            node.pods.apply(ask.pod)
            node.pods.until(name, "Running", namespace=namespace)
        report = self.explain(ask, node)  # of the last pull, where that had shown it
        self.assertEqual((report["verdict"]["code"], report["verdict"]["cause"]), ("", ""), report)

    def carry_out(self, row):
        self.tools.row = row.name
        self.tools.logout()
        todo = row.make(self.tools)
        ask = next(todo)
        node = ask.node or self.tools.node
        if ask.pod:
            self.tools.namespace(ask.pod["metadata"]["namespace"], node)
            node.pods.apply(ask.pod)
            name, namespace = (ask.pod["metadata"][key] for key in ("name", "namespace"))
            # A malformed secret's error is the reason for which a Pod waits, as it is the kubelet's.
            node.pods.wait(f"{name} has failed", lambda: node.pods.status(name, namespace) not in ("", "Pending", "ContainerCreating"))
        if ask.last:
            self.assertNotEqual(node.berthd.berth("pull", ask.image).returncode, 0)
        report = self.hanging.result() if row.name == "plugin_hangs" else self.explain(ask, node)
        self.assertEqual(report["verdict"]["cause"], row.cause, report)
        text, command = report["next"]["text"], report["next"]["command"]
        named = re.fullmatch(row.text, text)
        self.assertTrue(named, f"the text of NEXT is another now, can it be carried out? {text!r}")
        after = ask
        try:
            todo.send(named)
            self.fail("a row has one step")
        except StopIteration as end:
            after = end.value or ask
        if command:
            self.shell(command, ask, node)
        self.works(after, after.node or node)
        self.steps.append(row.name)

    def test_every_step_fixes_what_it_is_for(self):
        self.tools, self.steps = Tools(self), []
        rows = [row for row in ROWS if not os.environ.get("ROWS") or re.search(os.environ["ROWS"], row.name)]
        hangs = any(row.name == "plugin_hangs" for row in rows)
        with concurrent.futures.ThreadPoolExecutor(1) as waits:  # for a minute
            self.hanging = waits.submit(self.explain, Ask(self.tools.hanging), self.tools.node) if hangs else None
            for row in sorted(rows, key=lambda row: row.name == "plugin_hangs"):
                with self.subTest(row.name):
                    began = time.monotonic()
                    try:
                        self.carry_out(row)
                    finally:
                        if os.environ.get("ROWS"):
                            print(row.name, round(time.monotonic() - began, 2), repr(sys.exc_info()[1])[:1500], file=sys.stderr)
        self.assertEqual([row.name for row in rows if row.name not in self.steps], [], "whose step was not carried out")
        self.assertGreaterEqual(len({row.cause for row in rows}), 30 if len(rows) == len(ROWS) else 0)
        self.tools.node.berthd.berth("version", check=True)
        for node in (self.tools.node, self.tools.small, self.tools.strict):
            self.assertNotIn("canary", node.berthd.log_path.read_text(errors="replace"))


def cosign(verb, option, key, image):
    """Of `cosign sign --key FILE HOST/REPOSITORY@DIGEST` what it does to a registry."""
    name, digest = image.split("@")
    host, repo = name.split("/", 1)
    if (verb, option) != ("sign", "--key"):
        raise SystemExit(2)
    made, server = Key.__new__(Key), registry.Registry()
    made.private, made.raw, server.url, server.host = pathlib.Path(key), False, f"http://{host}", host
    with tempfile.TemporaryDirectory() as folder:
        Signer(server, repo, pathlib.Path(folder)).simple(made, digest)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cosign"]:
        cosign(*sys.argv[2:])
    else:
        unittest.main()
