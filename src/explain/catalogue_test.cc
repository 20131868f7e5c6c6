// The catalogue of failures: each is made for real (a broken registry, certificate, plug-in, secret, …), explained, and where the
// next step is something a test can do, it is done, and the same question then has nothing wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "explain/testing/bench.h"
#include "result/testing/dirs.h"

namespace berth::explain {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using policy::PullPolicy;
using testing::Bench;
using testing::Ca;
using testing::FakeRegistry;
using testing::ProxyServer;
using testing::Reply;
using testing::ServerRequest;
using Do = std::function<void(Bench&)>;
using AskHow = std::function<Report(Bench&)>;

const AskHow kImage = [](Bench& b) { return b.Ask(); };
const AskHow kFile = [](Bench& b) { return b.AskFile(b.yaml); };

struct Failure {
  std::string name;    // of the test; the cause unless two rows lead to one
  std::string code;
  Do breaks;
  AskHow ask = kImage;
  std::string says;    // part of sentence or next step
  Do cures = nullptr;  // the next step as written
  std::string cause = name;
};
void PrintTo(const Failure& f, std::ostream* out) { *out << f.name; }

Do Answers(Reply reply, const std::string& match = "") {
  return [reply, match](Bench& b) { b.Serve().On(match, [reply](const ServerRequest&) { return reply; }); };
}
Do Named(const std::string& tail, bool whole = false) {
  return [tail, whole](Bench& b) {
    b.Serve();
    b.image_name = whole ? tail : b.host + "/" + tail;
  };
}
AskHow Past(Reason reason, const std::string& message, const std::string& next = "") {
  return [=](Bench& b) {
    b.Journal("reg.test/team/app:v1", Error(reason, message).Next(next),
              {{.host = "https://reg.test", .method = "GET", .what = "blob sha256:aa", .credential = "secret shop/regcred (alice)", .reason = reason, .took = std::chrono::milliseconds(5)}});
    return b.AskLast("reg.test/team/app:v1");
  };
}
// A pull that verification ended. (verify/ makes each cause; here it is told.)
AskHow Refused(verify::Cause cause) {
  return [=](Bench& b) {
    const verify::Verdict verdict{.cause = cause, .rule = "ours", .reason = "so it is (rule \"ours\")", .next = "use another image"};
    b.Journal("reg.test/team/app:v1", verdict.Refusal(), {}, verdict);
    return b.AskLast("reg.test/team/app:v1");
  };
}
Do kNothing = [](Bench&) {};
Do Corrected(const std::string& tail) {
  return [tail](Bench& b) { b.image_name = b.host + "/" + tail; };
}
Do Private(const std::string& yaml_secret = "regcred", const std::string& ns = "shop", const std::string& type = "kubernetes.io/dockerconfigjson") {
  return [=](Bench& b) {
    b.Serve().RequireBasic("alice", "pass-canary");
    b.yaml = Bench::SecretYaml(ns, yaml_secret, b.host, testing::kPassword, type) + b.PodYaml("regcred");
  };
}
Do RightSecret = [](Bench& b) { b.yaml = Bench::SecretYaml("shop", "regcred", b.host) + b.PodYaml("regcred"); };
Do PrivateWithKey(std::function<std::string(const Bench&)> key, credentials::Profile profile = credentials::Profile::kDocumented) {
  return [=](Bench& b) {
    b.options.profile = profile;
    b.Serve().RequireBasic("alice", "pass-canary");
    b.Login(key(b));
  };
}
Do RightKey = [](Bench& b) { b.Login(b.host); };
Do Plugged(const std::string& script) {
  return [script](Bench& b) {
    b.Serve().RequireBasic("alice", "pass-canary");
    b.Plugin(script);
  };
}
Do GoodPlugin = [](Bench& b) { b.Plugin(Bench::GoodAnswer(b.host)); };

std::vector<Failure> Table() {
  const auto tls = [](std::vector<std::string> names, Ca::Fault fault, bool trust) {
    return [=](Bench& b) { b.ServeTls(names, fault, trust); };
  };
  return {
      // the name
      {"name-scheme", "E-NAME", Named("https://reg.example/team/app:v1", true), kImage, "\"reg.example/team/app:v1\""},
      {"name-blank", "E-NAME", Named("team/app:v1 "), kImage, "no blanks", Corrected("team/app:v1")},
      {"name-upper-case", "E-NAME", Named("Team/App:v1"), kImage, "team/app:v1", Corrected("team/app:v1")},
      {"name-invalid", "E-NAME", Named("team/-app:v1"), kImage, "berth name", Corrected("team/app:v1")},
      // the rules for images
      {"denied-by-rule", "E-VERIFY", kNothing, Refused(verify::Cause::kDeniedByRule), "another image"},
      {"no-rule", "E-VERIFY", kNothing, Refused(verify::Cause::kNoRule), "another image"},
      {"digest-not-listed", "E-VERIFY", kNothing, Refused(verify::Cause::kDigestNotListed), "another image"},
      {"unsigned", "E-VERIFY", kNothing, Refused(verify::Cause::kUnsigned), "another image"},
      {"bad-signature", "E-VERIFY", kNothing, Refused(verify::Cause::kMalformed), "another image"},
      {"wrong-key", "E-VERIFY", kNothing, Refused(verify::Cause::kWrongKey), "another image"},
      {"wrong-digest", "E-VERIFY", kNothing, Refused(verify::Cause::kWrongDigest), "another image"},
      {"wrong-identity", "E-VERIFY", kNothing, Refused(verify::Cause::kWrongIdentity), "another image"},
      {"out-of-date", "E-VERIFY", kNothing, Refused(verify::Cause::kOutOfDate), "another image"},
      {"too-few-keys", "E-VERIFY", kNothing, Refused(verify::Cause::kTooFewKeys), "another image"},
      {"signature-unreachable", "E-VERIFY", kNothing, Refused(verify::Cause::kUnreachable), "another image"},
      {"program-refused", "E-VERIFY", kNothing, Refused(verify::Cause::kProgramRefused), "another image"},
      {"program-failed", "E-VERIFY", kNothing, Refused(verify::Cause::kProgramFailed), "another image"},
      // the Pod
      {"signature-refused", "E-VERIFY", [](Bench& b) { b.Serve(); },
       [](Bench& b) {
         return b.Ask(Question{
             .image = b.name(), .ns = "shop", .pod = "web", .container = "web", .waiting_reason = "SignatureValidationFailed"});
       },
       "sign"},
      {"policy-never", "E-NEVER",
       [](Bench& b) {
         b.Serve();
         b.policy = PullPolicy::kNever;
       },
       kImage, "berth pull", [](Bench& b) { b.Publish(); }},
      {"never-not-proven", "E-NOT-PROVEN",
       [](Bench& b) {
         b.Serve();
         b.Publish();
         b.records = *policy::Records::Open(
             b.scratch.dir(), {.policy = policy::VerificationPolicy::kAlwaysVerify, .allow_list = {}}, time::SystemClock());
         b.policy = PullPolicy::kNever;
       },
       kImage, "IfNotPresent", [](Bench& b) { b.policy = PullPolicy::kIfNotPresent; }},
      // secrets
      {"secret-malformed", "E-CREDS",
       [](Bench& b) {
         b.Serve().RequireBasic("alice", "pass-canary");
         b.yaml = "apiVersion: v1\nkind: Secret\nmetadata: {name: regcred, namespace: shop}\ntype: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '{\"auths\":{\"x\":{\"auth\":\"pass-canary\"}}}'}\n---\n" +
                  b.PodYaml("regcred");
       },
       kFile, "berth secret create docker-registry regcred -n shop", RightSecret},
      {"secret-elsewhere", "E-AUTH-401", Private("regcred", "billing"), kFile, "namespace: shop/' | berth apply -f -", RightSecret},
      {"secret-misnamed", "E-AUTH-401", Private("regcreds"), kFile, "imagePullSecrets: [{name: regcreds}]",
       [](Bench& b) { b.yaml = Bench::SecretYaml("shop", "regcreds", b.host) + b.PodYaml("regcreds"); }},
      {"secret-missing", "E-AUTH-401", Private("another-one-altogether"), kFile,
       "berth secret create docker-registry regcred -n shop", RightSecret},
      {"secret-type", "E-AUTH-401", Private("regcred", "shop", "Opaque"), kFile, "type", RightSecret},
      // plug-ins
      {"plugin-missing", "E-AUTH-401",
       [](Bench& b) {
         Plugged("exit 0\n")(b);
         BERTH_CHECK(b.scratch.dir().OpenDir("bin")->Unlink("plug").has_value());
       },
       kImage, "install the program", GoodPlugin},
      {"plugin-hangs", "E-AUTH-401",
       [](Bench& b) {
         b.plugin_limit = std::chrono::milliseconds(100);
         Plugged("exec 3<>\"$0.fifo\"; read -r line <&3\n")(b);
         BERTH_CHECK(::mkfifo(b.scratch.path("bin/plug.fifo").c_str(), 0600) == 0);
         Plugged("read -r request; read -r line < " + b.scratch.path("bin/plug.fifo") + "\n")(b);
       },
       kImage, "did not answer",
       [](Bench& b) {
         b.plugin_limit = std::chrono::minutes(1);
         GoodPlugin(b);
       }},
      {"plugin-crashes", "E-AUTH-401", Plugged("echo token=pass-canary >&2; exit 3\n"), kImage, "failed", GoodPlugin},
      {"plugin-lies", "E-AUTH-401", Plugged("echo '{\"kind\":\"Lie\"}'\n"), kImage, "apiVersion", GoodPlugin},
      {"mirror-credential", "E-AUTH-401",
       [](Bench& b) {
         b.Serve().RequireBasic("alice", "pass-canary");
         b.image_name = "other.test/team/app:v1";
         b.Hosts("server = \"http://" + b.host + "\"\n", "other.test");
       },
       kImage, "logins for other.test are not shown to it", RightKey},
      {"mirror-credential-token", "E-TOKEN",
       [](Bench& b) {
         b.Serve().RequireBearer("alice", "pass-canary");
         b.image_name = "other.test/team/app:v1";
         b.Hosts("server = \"" + b.registry().server().url("") + "\"\n", "other.test");
       },
       kImage, "logins for other.test are not shown to it",
       [](Bench& b) { b.Login("127.0.0.1:" + std::to_string(b.registry().server().port())); }, "mirror-credential"},
      // entries that nearly match
      {"entry-port", "E-AUTH-401", PrivateWithKey([](const Bench&) { return "reg.test"; }), kImage, "port: entry has none",
       RightKey},
      {"entry-path", "E-AUTH-401", PrivateWithKey([](const Bench& b) { return b.host + "/teamx"; }), kImage, "teamx",
       [](Bench& b) { b.Login(b.host + "/team/app"); }},
      {"entry-case", "E-AUTH-401",
       PrivateWithKey([](const Bench& b) { return "R" + b.host.substr(1); }, credentials::Profile::kKubelet), kImage, "case",
       RightKey},
      {"entry-labels", "E-AUTH-401", PrivateWithKey([](const Bench& b) { return "*." + b.host; }, credentials::Profile::kKubelet),
       kImage, "3 host labels", RightKey},
      {"entry-never", "E-AUTH-401",
       PrivateWithKey([](const Bench& b) { return "reg[0-9]" + b.host.substr(3); }, credentials::Profile::kKubelet), kImage,
       "never matches", RightKey},
      // this machine
      {"disk-full", "E-ENOSPC", kNothing, Past(Reason::kNoSpace, "write layer data: no space left"), "berth reclaim"},
      {"store-damaged", "E-CORRUPT", kNothing, Past(Reason::kCorrupt, "layer sha256:aa is damaged"), "berth fsck --repair"},
      {"hosts-config", "E-CONFIG",
       [](Bench& b) {
         b.Serve();
         b.Hosts("server = \"http://");
       },
       kImage, "certs.d", [](Bench& b) { b.Hosts("server = \"http://" + b.host + "\"\n"); }},
      {"always-unreachable", "E-REFUSED",
       [](Bench& b) {
         b.Serve();
         b.Publish();
         b.policy = PullPolicy::kAlways;
         b.options.registry.overrides[0].to_port = 1;
       },
       kImage, "IfNotPresent", [](Bench& b) { b.policy = PullPolicy::kIfNotPresent; }},
      // TLS and scheme
      {"tls-name", "E-TLS-NAME", tls({"other.test", "more.test"}, Ca::Fault::kNone, true), kImage, ": other.test, more.test",
       [](Bench& b) { b.ServeTls(); }},
      {"tls-not-yet", "E-TLS-EXPIRED", tls({"reg.test"}, Ca::Fault::kNotYetValid, true), kImage, "timedatectl"},
      {"tls-expired", "E-TLS-EXPIRED", tls({"reg.test"}, Ca::Fault::kExpired, true), kImage, "renew",
       [](Bench& b) { b.ServeTls(); }},
      {"tls-ca", "E-TLS-CA", tls({"reg.test"}, Ca::Fault::kNone, false), kImage, "/ca.crt", [](Bench& b) { b.TrustCa(); }},
      {"http-on-https", "E-HTTP-ON-HTTPS", [](Bench& b) { b.Serve({}, false); }, kImage, "hosts.toml",
       [](Bench& b) { b.Hosts("server = \"http://" + b.host + "\"\n"); }},
      {"https-on-http", "E-",
       [](Bench& b) {
         b.ServeTls();
         b.Hosts("server = \"http://" + b.host + "\"\n");
       },
       kImage, "https:// instead",
       [](Bench& b) { b.Hosts("server = \"https://" + b.host + "\"\nca = \"" + b.ca.file() + "\"\n"); }},
      {"plain-http", "E-PLAIN-HTTP", kNothing, Past(Reason::kPlainHttp, "plain HTTP is not allowed for reg.test"), "hosts.toml"},
      {"tls-client-certificate", "E-TLS", [](Bench& b) { b.ServeTls({"reg.test"}, Ca::Fault::kNone, true, b.ca.file()); }, kImage,
       "client.key",
       [](Bench& b) {
         const auto leaf = b.ca.IssueClient("node-7");
         b.Write("certs.d/" + b.host + "/client.cert", Bench::Read(leaf.cert_file));
         b.Write("certs.d/" + b.host + "/client.key", Bench::Read(leaf.key_file), 0600);
       }},
      {"tls-other", "E-TLS",
       [](Bench& b) {
         b.Serve({.tls = testing::ServerTls{.leaf = b.ca.Issue({"reg.test"}), .client_ca = "", .only_tls11 = true}});
         b.TrustCa();
       },
       kImage, "berth probe", [](Bench& b) { b.ServeTls(); }},
      {"redirect-insecure", "E-REDIRECT-HTTP",
       [](Bench& b) {
         b.ServeTls().On("HEAD", [](const ServerRequest&) { return Reply::Redirect(307, "http://storage.test/x?sig=canary"); });
       },
       kImage, "https"},
      // the network
      {"proxy", "E-UNAVAILABLE",
       [](Bench& b) {
         b.ServeTls();
         b.proxy = std::make_unique<ProxyServer>("", ProxyServer::Mood::kBadGateway);
         b.proxies = std::make_shared<http::ProxyRules>(*http::ProxyRules::Make(b.proxy->url(), "", ""));
       },
       kImage, "NO_PROXY",
       [](Bench& b) { b.proxies = std::make_shared<http::ProxyRules>(*http::ProxyRules::Make(b.proxy->url(), "", "reg.test")); }},
      {"dns", "E-DNS", Named("no-such-name.invalid/team/app:v1", true), kImage, "getent hosts no-such-name.invalid"},
      {"refused", "E-REFUSED",
       [](Bench& b) {
         b.Serve();
         b.options.registry.overrides[0].to_port = 1;
       },
       kImage, "berth probe reg.test", [](Bench& b) { b.options.registry.overrides[0].to_port = 0; }},
      {"no-route", "E-UNAVAILABLE", kNothing, Past(Reason::kUnavailable, "there is no route to reg.test"), "firewall"},
      {"timeout-connect", "E-TIMEOUT", kNothing, Past(Reason::kTimeout, "no connection to reg.test within 10 s (connect)"),
       "firewall"},
      {"slow", "E-TIMEOUT", Answers(Reply::Silence()), kImage, "hangs"},
      {"stalled", "E-STALLED", kNothing,
       Past(Reason::kStalled, "the body from reg.test came slower than 1024 bytes/s over 60 s (min_rate)"), "berth pull"},
      {"cut", "E-RESET", Answers(Reply::Reset()), kImage, "cuts connections"},
      {"rate-limited", "E-429", Answers(Reply::Text(429, "", {{"Retry-After", "30"}})), kImage, "log in"},
      {"rate-limited-user", "E-429",
       [](Bench& b) {
         Answers(Reply::Text(429, "", {{"Retry-After", "30"}}))(b);
         b.Login(b.host);
       },
       kImage, "wait 30s", nullptr, "rate-limited"},
      {"server-error", "E-5XX", Answers(Reply::Text(503, "body-canary")), kImage, "operator"},
      {"token-service", "E-TOKEN",
       [](Bench& b) {
         b.Serve().RequireBearer("alice", "pass-canary");
         b.registry().SetRealm("http://" + b.host + "/token");
         b.Login(b.host);
         b.registry().On("GET /token", [](const ServerRequest&) { return Reply::Text(503, ""); });
         b.registry().On("POST /token", [](const ServerRequest&) { return Reply::Text(503, ""); });
       },
       kImage, "token service"},
      {"redirects", "E-REDIRECTS",
       [](Bench& b) {
         b.Serve();
         const std::string url = "http://" + b.host;
         b.registry().On("HEAD", [url](const ServerRequest& r) { return Reply::Redirect(307, url + r.path() + "x"); });
       },
       kImage, "external URL"},
      {"protocol", "E-STATUS", Answers(Reply::Text(418, "")), kImage, "berth probe"},
      // access
      {"untrusted-realm", "E-REALM",
       [](Bench& b) {
         b.ServeTls().RequireBearer("alice", "pass-canary");
         b.registry().SetRealm("https://evil.example/token?x=canary");
         b.Login(b.host);
       },
       kImage, "trustedRealms"},
      {"token-expired", "E-AUTH-401",
       [](Bench& b) {
         b.Serve().RequireBasic("AWS", "pass-canary");
         b.Login(b.host, "AWS", "old-canary");
       },
       kImage, "too old", [](Bench& b) { b.Login(b.host, "AWS"); }},
      {"token-expired-403", "E-AUTH-403",
       [](Bench& b) {
         b.Serve().RequireBasic("AWS", "pass-canary");
         b.Login(b.host, "AWS");
         for (const char* method : {"HEAD", "GET /v2/team"})
           b.registry().On(method, [](const ServerRequest& r) {
             return r.has("authorization") ? Reply::Text(403, "") : Reply::Json(401, "{}", {{"WWW-Authenticate", "Basic realm=\"fake\""}});
           });
       },
       kImage, "if it is new", {}, "token-expired"},
      {"password-rejected", "E-AUTH-401",
       [](Bench& b) {
         b.Serve().RequireBasic("alice", "pass-canary");
         b.Login(b.host, "alice", "wrong-canary");
       },
       kImage, "berth creds test --username alice --password-stdin", RightKey},
      {"password-rejected-token", "E-TOKEN",
       [](Bench& b) {
         b.Serve().RequireBearer("alice", "pass-canary");
         b.registry().SetRealm("http://" + b.host + "/token");
         b.Login(b.host, "alice", "wrong-canary");
       },
       kImage, "berth creds test", RightKey, "password-rejected"},
      {"denied", "E-AUTH-403",
       [](Bench& b) {
         b.Serve().RequireBasic("alice", "pass-canary");
         b.Login(b.host);
         for (const char* method : {"HEAD", "GET /v2/team"})
           b.registry().On(method, [](const ServerRequest& r) {
             return r.has("authorization") ? Reply::Json(403, R"({"errors":[{"code":"DENIED","message":"canary"}]})")
                                           : Reply::Json(401, "{}", {{"WWW-Authenticate", "Basic realm=\"fake\""}});
           });
       },
       kImage, "have the owner"},
      {"hub-private", "E-AUTH-401",
       [](Bench& b) {
         b.ServeTls({"registry-1.docker.io"}).RequireBasic("alice", "pass-canary");
         b.TrustCa("docker.io");
         b.options.registry.overrides = {
             {.host = "registry-1.docker.io", .port = 443, .address = "127.0.0.1", .to_port = b.registry().server().port()}};
         b.image_name = "nobody/nothing:v1";
       },
       kImage, "private"},
      {"no-credential", "E-AUTH-401", [](Bench& b) { b.Serve().RequireBasic("alice", "pass-canary"); }, kImage,
       "berth pull --creds USER", RightKey},
      // content
      {"wrong-name", "E-REPO-404",
       [](Bench& b) {
         Named("team/other:v1")(b);
         b.registry().On("GET /v2/team/other/", [](const ServerRequest&) { return Reply::Json(404, R"({"errors":[{"code":"NAME_UNKNOWN","message":"canary"}]})"); });
       },
       kImage, "no repository team/other", Corrected("team/app:v1")},
      {"missing-tag", "E-MANIFEST-404", Named("team/app:v2"), kImage, "no tag \"v2\"", Corrected("team/app:v1")},
      {"missing-tag-latest", "E-MANIFEST-404", Named("team/app"), kImage, "none means latest", Corrected("team/app:v1"),
       "missing-tag"},
      {"missing-digest", "E-MANIFEST-404", Named("team/app@sha256:" + std::string(64, 'a')), kImage, "no digest sha256:aaaa",
       Corrected("team/app:v1")},
      {"blob-missing", "E-BLOB-404",
       [](Bench& b) {
         b.Serve();
         b.registry().Remove("team/app", b.image().config.digest);
       },
       kImage, "push the image"},
      {"platform", "E-PLATFORM",
       [](Bench& b) {
         b.Serve().PutImage("team/app", "arm", {"layer"}, "arm64");
         b.image_name = b.name("team/app:arm");
       },
       kImage, "kubernetes.io/arch: arm64", [](Bench& b) { b.registry().PutImage("team/app", "arm", {"layer"}); }},
      {"lying-host", "E-DIGEST",
       [](Bench& b) {
         b.Serve();
         b.registry().Corrupt("team/app", b.image().manifest.digest, b.image().manifest_bytes + " ");
       },
       kImage, "storage"},
      {"no-image", "E-BAD-MANIFEST", Answers(Reply::Text(200, "<html>canary</html>", {{"Content-Type", "text/html"}})), kImage,
       "login page"},
      {"limit", "E-LIMIT",
       [](Bench& b) {
         b.Serve();
         b.options.registry.document_bytes = 64;
       },
       kImage, "config.yaml", [](Bench& b) { b.options.registry.document_bytes = 4u << 20; }},
      {"other", "E-IN-USE", kNothing, Past(Reason::kInUse, "the image is in use", "unmount it"), "unmount it"},
      // nothing fails any more
      {"back-off", "E-BACKOFF", [](Bench& b) { b.Serve(); },
       [](Bench& b) {
         Question q{.image = b.name(), .ns = "shop", .pod = "web", .container = "web"};
         q.backoff = policy::Backoff::State{.failures = 5, .delay = std::chrono::seconds(160), .remaining = std::chrono::seconds(140)};
         return b.Ask(std::move(q));
       },
       "berth delete pod web -n shop"},
  };
}

class Catalogue : public ::testing::TestWithParam<Failure> {};

TEST_P(Catalogue, NamesTheCauseAndItsNextStepCures) {
  Bench bench;
  GetParam().breaks(bench);
  const Report report = GetParam().ask(bench);
  const Verdict& v = report.verdict;
  const std::string text = ToText(report, time::SystemClock().WallNow()), json = ToJson(report);
  EXPECT_EQ(v.cause, GetParam().cause) << text;
  EXPECT_THAT(v.code, ::testing::StartsWith(GetParam().code)) << text;
  EXPECT_NE(v.exit_status, 0);
  EXPECT_THAT(v.sentence + " " + v.next.text + " " + v.next.command, HasSubstr(GetParam().says)) << text;
  EXPECT_THAT(text, HasSubstr("NEXT  "));
  EXPECT_THAT(text + json, Not(HasSubstr("canary")));
  EXPECT_TRUE(json::Document::Parse(json, Reason::kInternal));
  if (!GetParam().cures) return;
  GetParam().cures(bench);
  const Report again = GetParam().ask(bench);
  EXPECT_TRUE(again.verdict.ok()) << "after the cure of " << v.cause << ":\n" << ToText(again, time::SystemClock().WallNow());
}

INSTANTIATE_TEST_SUITE_P(Failures, Catalogue, ::testing::ValuesIn(Table()), [](const auto& row) {
  std::string name = row.param.name;
  std::ranges::replace(name, '-', '_');
  return name;
});

TEST(Causes, EachIsMadeByAFailureOfTheTable) {
  std::set<std::string> made{"mirror-down"};  // below: nothing fails there
  for (const auto& failure : Table()) made.insert(failure.cause);
  for (const auto& cause : Causes()) EXPECT_TRUE(made.contains(std::string(cause.cause))) << cause.cause;
  EXPECT_EQ(made.size(), Causes().size());
  EXPECT_GE(made.size(), 60u);
}

TEST(Causes, AreAllInTheDocumentation) {
  const std::string page = Bench::Read(std::string(berth::result::testing::kSourceDir) + "/docs/causes.md");
  for (const auto& cause : Causes()) {
    const std::string code = cause.code.empty() ? "-" : "`" + std::string(cause.code) + "`";
    EXPECT_THAT(page, HasSubstr("| `" + std::string(cause.cause) + "` | " + code + " | " + std::string(cause.title) + " |\n"));
  }
}

TEST(Causes, AMirrorThatIsDownIsNamedAlthoughTheImageCanBePulled) {
  Bench b;
  b.Serve();
  b.Hosts("server = \"http://" + b.host + "\"\n[host.\"http://127.0.0.1:1\"]\n");
  const Report report = b.Ask();
  EXPECT_TRUE(report.verdict.ok());
  EXPECT_EQ(report.verdict.cause, "mirror-down");
  EXPECT_THAT(report.verdict.next.text, HasSubstr("http://127.0.0.1:1"));
  ASSERT_EQ(report.facts.hosts.size(), 2u);
  EXPECT_TRUE(report.facts.hosts[0].mirror);
  b.Hosts("server = \"http://" + b.host + "\"\n");
  EXPECT_EQ(b.Ask().verdict.cause, "");
}

// The journal keeps the words of a failure, not the index: they name the platforms.
TEST(Explainer, TheLastPullsPlatformsAreThoseOfItsWords) {
  struct Row { const char* words; const char* sentence; const char* next; };
  for (const Row& row : {Row{"the image has no manifest for linux/amd64; there are: linux/arm64/v8, linux/s390x and 2 more", "no image for linux/amd64; there is linux/arm64/v8, linux/s390x",
                             "push an image for linux/amd64 to this tag, or run the Pod on a node with nodeSelector kubernetes.io/arch: arm64"},
                         Row{"the image is for linux/amd64, not linux/arm64", "no image for linux/arm64; there is linux/amd64",
                             "push an image for linux/arm64 to this tag, or run the Pod on a node with nodeSelector kubernetes.io/arch: amd64"},
                         Row{"the image has no manifest for linux/s390x; there are: none", "no image for linux/s390x", "push an image for linux/s390x to this tag"},
                         Row{"said in other words", "no image for linux/amd64", "push an image for linux/amd64 to this tag"}}) {
    Bench b;
    b.options.host = *oci::Platform::Parse("linux/amd64");
    b.Journal("reg.test/team/app:v1", Error(Reason::kNoMatch, row.words));
    const Report report = b.AskLast("reg.test/team/app:v1");
    EXPECT_EQ(report.verdict.code, "E-PLATFORM") << row.words;
    EXPECT_EQ(report.verdict.sentence, row.sentence) << row.words;
    EXPECT_THAT(report.verdict.next.text, ::testing::EndsWith(row.next)) << row.words;
  }
}

TEST(Explainer, NeverAsksForALayer) {
  Bench b;
  b.Serve();
  EXPECT_EQ(b.Ask().verdict.headline, "CAN PULL");
  const std::string layer = b.image().layers[0].digest.ToString();
  for (const auto& line : b.registry().log()) EXPECT_THAT(line, Not(HasSubstr(layer)));
  EXPECT_THAT(b.registry().violations(), IsEmpty());
}

TEST(Explainer, CountsWhatAPullWouldFetchAlsoThroughAnIndex) {
  Bench b;
  b.Serve();
  const auto arm = b.registry().PutImage("team/app", "", {"another layer"}, "arm64");
  const auto entry = [](const oci::Descriptor& d, const std::string& architecture) {
    return R"({"mediaType":")" + d.media_type + R"(","digest":")" + d.digest.ToString() + R"(","size":)" + std::to_string(d.size) +
           R"(,"platform":{"os":"linux","architecture":")" + architecture + R"("}})";
  };
  b.registry().PutManifest("team/app", R"({"schemaVersion":2,"mediaType":")" + std::string(oci::kOciIndex) + R"(","manifests":[)" +
                                           entry(arm.manifest, "arm64") + "," + entry(b.image().manifest, "amd64") + "]}",
                           std::string(oci::kOciIndex), "many");
  for (const std::string tag : {"v1", "many"}) {
    const Report report = b.Ask(Question{.image = b.name("team/app:" + tag)});
    ASSERT_TRUE(report.verdict.ok() && report.facts.resolved) << tag;
    EXPECT_EQ(report.facts.resolved->chosen, "linux/amd64");
    EXPECT_EQ(report.facts.resolved->layers, 1u);
    EXPECT_EQ(report.facts.resolved->fetch_bytes, 5u);
    EXPECT_THAT(ToText(report, time::SystemClock().WallNow()), HasSubstr("0 of 1 layers here, 5 B to fetch  -> pull needed"));
  }
}

TEST(Admission, ShowsWhatItWouldChange) {
  Bench b;
  b.Serve();
  auto questions = AskAboutFile(Bench::SecretYaml("shop", "regcred", b.host) + b.PodYaml("regcred", ", imagePullPolicy: IfNotPresent"), "f", "default", nullptr);
  ASSERT_TRUE(questions);
  Question& q = questions->at(0);
  ASSERT_TRUE(Admit("AlwaysPullImages", q) && Admit("digest", q));
  EXPECT_EQ(Admit("Other", q).error().reason(), Reason::kUsage);
  const Report report = b.Ask(std::move(q));
  EXPECT_EQ(report.facts.policy.value, PullPolicy::kAlways);
  EXPECT_THAT(report.facts.notes, ::testing::ElementsAre("admission AlwaysPullImages sets imagePullPolicy: Always (it is IfNotPresent)",
                                                         "admission digest writes " + b.name() + "@" + b.image().manifest.digest.ToString()));
}

TEST(Explainer, AsksNobodyWhenNothingHasToBePulled) {
  Bench b;
  b.Serve();
  b.Publish();
  EXPECT_EQ(b.Ask().verdict.headline, "PRESENT");
  EXPECT_THAT(b.registry().log(), IsEmpty());
  b.policy = PullPolicy::kAlways;
  EXPECT_EQ(b.Ask().verdict.headline, "PRESENT");
  EXPECT_GT(b.registry().Count("HEAD"), 0);
}

// As the node does it: the best of those that are here, not the first.
TEST(Explainer, OfSeveralImagesTheOneForTheMachineIsThePresentOne) {
  Bench b;
  b.Serve();
  const auto record = [](const FakeRegistry::Image& image, const char* platform) {
    return catalog::ImageRecord{.manifest = image.manifest.digest, .config = image.config.digest, .platform = platform};
  };
  const auto i386 = b.registry().PutImage("team/app", "", {"another layer"}, "386");
  ASSERT_TRUE(b.catalog->PublishImage({.name = reference::Reference::Parse(b.name())->Canonical(),
                                       .target = i386.manifest.digest,
                                       .documents = {{i386.manifest.digest, 7}, {i386.config.digest, 8},
                                                     {b.image().manifest.digest, 7}, {b.image().config.digest, 8}},
                                       .images = {record(i386, "linux/386"), record(b.image(), "linux/amd64")},
                                       .journal = "{}"}));
  b.records = *policy::Records::Open(
      b.scratch.dir(), {.policy = policy::VerificationPolicy::kAlwaysVerify, .allow_list = {}}, time::SystemClock());
  ASSERT_TRUE(b.records->Begin(b.name()).Succeeded(b.image().config.digest.ToString(), {}));
  const Report report = b.Ask();
  EXPECT_EQ(report.facts.present.platform, "linux/amd64");
  EXPECT_FALSE(report.facts.present.must_prove) << report.facts.present.access;
}

TEST(Explainer, CredentialsAreTriedInOrderAndToldWithWhatTheyGot) {
  Bench b;
  b.Serve().RequireBasic("alice", "pass-canary");
  b.Write("config.json", R"({"auths":{")" + b.host + R"(/team":{"username":"ci","password":"x-canary"},")" + b.host +
                             R"(":{"username":"alice","password":"pass-canary"},"reg.test":{"username":"u","password":"p"}}})");
  const Report report = b.Ask();
  EXPECT_TRUE(report.verdict.ok());
  const std::string text = ToText(report, time::SystemClock().WallNow());
  EXPECT_THAT(text, HasSubstr(" 4 creds     2 of 3 entries match; tried in this order"));
  EXPECT_THAT(text, ::testing::ContainsRegex("#1 +config.json .*ci +#[0-9a-f]+ +401"));
  EXPECT_THAT(text, ::testing::ContainsRegex("#2 +config.json .*alice +#[0-9a-f]+ +200"));
  EXPECT_THAT(text, HasSubstr("port: entry has none"));
}

TEST(Explainer, TheNetworkStepShowsTheCertificate) {
  Bench b;
  b.ServeTls({"reg.test", "127.0.0.1"});
  const Report report = b.Ask();
  ASSERT_EQ(report.facts.network.size(), 1u);
  const NetworkFacts& n = report.facts.network[0];
  EXPECT_EQ(n.address, "127.0.0.1");
  EXPECT_THAT(n.tls_version, ::testing::StartsWith("TLSv1."));
  EXPECT_THAT(n.names, ::testing::Contains("DNS:reg.test"));
  EXPECT_TRUE(n.not_after && *n.not_after > time::SystemClock().WallNow());
  EXPECT_EQ(n.status, 200);
  EXPECT_GT(n.tls, time::Duration::zero());
}

TEST(Explainer, AnExpiredCertificateIsLookedAtWithoutTrustingIt) {
  Bench b;
  b.ServeTls({"reg.test"}, Ca::Fault::kExpired);
  b.Login(b.host);
  const Report report = b.Ask();
  ASSERT_EQ(report.facts.network.size(), 1u);
  EXPECT_TRUE(report.facts.network[0].not_after && *report.facts.network[0].not_after < time::SystemClock().WallNow());
  EXPECT_THAT(ToText(report, time::SystemClock().WallNow()), HasSubstr(", expired "));
  EXPECT_THAT(b.registry().server().received(), Not(HasSubstr("uthorization")));
}

TEST(Explainer, ProbesARegistry) {
  Bench b;
  b.ServeTls().RequireBearer("alice", "x");
  const Report good = b.Probe(b.host);
  EXPECT_TRUE(good.verdict.ok());
  EXPECT_THAT(ProbeText(good, time::SystemClock().WallNow()), ::testing::AllOf(HasSubstr("ANSWERS  https://reg.test"), HasSubstr("asks for Bearer"), HasSubstr("DNS:reg.test")));
  b.options.registry.overrides[0].to_port = 1;
  EXPECT_EQ(b.Probe(b.host).verdict.cause, "refused");
}

}  // namespace
}  // namespace berth::explain
