#include "explain/advise.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "bytes/text.h"
#include "explain/words.h"

namespace berth::explain {
namespace {

using credentials::MatchReport;
using policy::PullPolicy;
using Kind = MatchReport::Verdict;
using F = Facts;

// ---- what rows ask

bool Failed(const F& f, Reason reason) { return f.failure && f.failure->reason() == reason; }
bool Unverified(const F& f, verify::Cause cause) {
  return f.verification && !f.verification->admitted() && f.verification->cause == cause;
}
bool FailedAny(const F& f, std::initializer_list<Reason> reasons) {
  return f.failure && std::ranges::find(reasons, f.failure->reason()) != reasons.end();
}
// The failure's own words: fixed texts of ours, by which one reason splits into several causes.
bool Says(const F& f, std::string_view words) { return f.failure && f.failure->Text().find(words) != std::string::npos; }
bool BadName(const F& f) { return Failed(f, Reason::kInvalidReference); }
bool Network(const F& f) {
  return f.failure && (f.failure->info().exit_status == 5 || f.failure->info().exit_status == 6 || f.failure->info().exit_status == 10);
}
// Somebody who may not see an image is told so, or that it does not exist.
bool Refused(const F& f) {
  return FailedAny(f, {Reason::kUnauthorized, Reason::kDenied, Reason::kTokenError, Reason::kRepositoryNotFound, Reason::kNotFound});
}
// 403 to a login that may be over.
bool NewLogin(const F& f) { return Failed(f, Reason::kDenied) && f.failure->next_step().starts_with("get a new login"); }
bool Unauthorized(const F& f) { return FailedAny(f, {Reason::kUnauthorized, Reason::kTokenError}); }
const MatchReport* Entry(const F& f, Kind kind, std::string_view words = "", std::string_view source = "") {
  for (const auto& e : f.entries)
    if (e.verdict == kind && e.reason.find(words) != std::string::npos && e.source.starts_with(source)) return &e;
  return nullptr;
}
const MatchReport* Matched(const F& f) { return Entry(f, Kind::kMatched); }
const MatchReport* Plugin(const F& f, std::span<const std::string_view> words) {
  for (const auto word : words)
    for (const auto* source : {"plug-in", "plugin", "helper"})
      if (const auto* e = Entry(f, Kind::kFailed, word, source)) return e;
  return nullptr;
}
constexpr std::array<std::string_view, 6> kPluginMissing{"there is no", "did not exist", "is not executable", "No such file", "no regular file", "ENOENT"};
constexpr std::array<std::string_view, 1> kPluginHangs{"no answer within"};
constexpr std::array<std::string_view, 6> kPluginLies{"reading GVK", "did not match expected apiVersion", "decoding credential provider",
                                                      "valid cacheKeyType", "returned the service account token", "more than"};
constexpr std::array<std::string_view, 1> kPluginAny{""};
// An entry that is for this registry but for something of it (port, path, …); only when nothing matched. What a plug-in is for
// is no key that anybody mistyped: the neighbour's plug-in is not why there is no credential here.
const MatchReport* NearMiss(const F& f, std::string_view words) {
  if (Matched(f)) return nullptr;
  for (const auto& e : f.entries)
    if (e.verdict == Kind::kNoMatch && e.reason.find(words) != std::string::npos && !e.source.starts_with("plug-in")) return &e;
  return nullptr;
}
bool MirrorFailed(const F& f) {
  return std::ranges::any_of(f.attempts, [](const auto& a) { return a.mirror && a.reason && *a.reason != Reason::kUnauthorized; });
}
const registry::Attempt* FailedMirror(const F& f) {
  for (const auto& a : f.attempts)
    if (a.mirror && a.reason && *a.reason != Reason::kUnauthorized) return &a;
  return nullptr;
}
// The mirror that had the last word, and wants to know who asks.
const registry::Attempt* PrivateMirror(const F& f) {
  const registry::Attempt* last = nullptr;
  bool elsewhere = false;  // where a redirect led: no login is for that
  for (const auto& a : f.attempts) {
    const bool token = a.what == "token" && (a.status == 401 || a.status == 403);  // of the mirror that was asked just before
    if (a.reason && !token) last = elsewhere ? nullptr : &a;
    elsewhere = a.next.starts_with("redirect to ");
  }
  return last && last->mirror && (*last->reason == Reason::kUnauthorized || *last->reason == Reason::kDenied) ? last : nullptr;
}

// ---- what rows say

std::string Registry(const F& f) { return f.reference ? f.reference->domain() : f.image; }
std::string Repository(const F& f) { return f.reference ? f.reference->Repository() : f.image; }
std::string Where(const F& f) {  // who was asked last
  for (auto a = f.attempts.rbegin(); a != f.attempts.rend(); ++a)
    if (!a->host.empty() && a->reason) return a->host;
  return Registry(f);
}
// "https://mirror.example:5000" -> "mirror.example:5000": the key of a credential
std::string HostOf(std::string_view origin) { return std::string(origin.substr(origin.find("://") == origin.npos ? 0 : origin.find("://") + 3)); }
std::string Object(const F& f) {
  if (!f.reference) return "the image";
  return f.reference->digest() ? "digest " + f.reference->digest()->ToString().substr(0, 19) : "tag " + Quoted(f.reference->tag().value_or("latest"));
}
std::string Flags(const F& f) { return f.ns.empty() ? "" : " -n " + Shell(f.ns); }
// "secret shop/regcred" -> "regcred"
std::string SecretName(std::string_view source) { return std::string(source.substr(std::min(source.rfind('/') + 1, source.size()))); }
std::string LastTried(const F& f) {
  for (auto a = f.attempts.rbegin(); a != f.attempts.rend(); ++a)
    if (a->reason && !a->credential.empty() && a->credential != "anonymous") return a->credential;
  const auto* m = Matched(f);
  return m ? m->source : "the credential";
}
// The one to change: all were refused, and the first is the one that was meant.
const MatchReport* Tried(const F& f) { return Matched(f); }
std::string User(const F& f) {
  const auto* e = Tried(f);
  return e && !e->username.empty() ? e->username : "USER";
}
// What only the reader knows is said: the user, where none is known, and the password, which no command line may have.
std::string FillIn(const F& f) { return std::string(User(f) == "USER" ? "USER: yours there; " : "") + "the password is read from stdin"; }
enum class Anew : bool { kNo, kYes };  // kYes: one of this name may be there
Next CreateSecret(const F& f, const std::string& text, const std::string& name = "regcred", Anew anew = Anew::kNo) {
  const std::string ns = " -n " + Shell(f.ns.empty() ? "default" : f.ns);
  return {text + " (" + FillIn(f) + ")", (anew == Anew::kYes ? "berth delete secret " + Shell(name) + ns + "; " : "") +
                                             "berth secret create docker-registry " + Shell(name) + ns + " --docker-server=" +
                                             Shell(Registry(f)) + " --docker-username=" + Shell(User(f)) + " --docker-password-stdin"};
}
// For a Pod a secret that it lists; for an image that nobody in particular pulls, a pull with a login.
Next LogIn(const F& f, const std::string& for_pod, const std::string& for_nobody) {
  if (!f.pod.empty()) return CreateSecret(f, for_pod);
  return {for_nobody + " (" + FillIn(f) + ")", "berth pull --creds " + Shell(User(f)) + " " + Shell(f.image)};
}
Next TestCredentials(const F& f, std::string text) {
  return {std::move(text), "berth creds test" + Flags(f) + " --username " + Shell(User(f)) + " --password-stdin " + Shell(f.image)};
}
Next Again(const F& f, std::string text) { return {std::move(text), "berth explain " + Shell(f.image)}; }
Next Probe(const F& f, std::string text) { return {std::move(text), "berth probe " + Shell(Registry(f))}; }
Next Edit(std::string text) { return {std::move(text), ""}; }
std::string Own(const F& f) { return f.failure ? Innermost(*f.failure) : ""; }
const NetworkFacts* Seen(const F& f) {
  for (const auto& n : f.network)
    if (!n.subject.empty() || n.error) return &n;
  return nullptr;
}
std::string CertsDir(const F& f) { return f.certs_dir.empty() ? "/etc/berth/certs.d/" + Registry(f) : f.certs_dir; }
// A hosts.toml that is there is not written over: its certificates stand in it.
Next ConfigureHost(const F& f, std::string text, const std::string& lines, std::string command) {
  if (f.hosts_file) return Edit(text + ": in " + CertsDir(f) + "/hosts.toml, for this host, " + lines);
  return {std::move(text), std::move(command)};
}
Next SpeakPlain(const F& f, std::string text) {
  return ConfigureHost(f, std::move(text), "write http:// instead of https://",
                       "mkdir -p " + Shell(CertsDir(f)) + " && printf 'server = \"http://%s\"\\n' " + Shell(Registry(f)) + " > " +
                           Shell(CertsDir(f) + "/hosts.toml"));
}

// A name that differs in nothing but what the grammar refuses.
std::string Corrected(const F& f) {
  std::string text = f.image;
  for (const std::string_view scheme : {"https://", "http://", "docker://", "oci://"})
    if (text.starts_with(scheme)) text.erase(0, scheme.size());
  std::erase_if(text, [](unsigned char c) { return c <= ' ' || c == 0x7f; });
  // The tag keeps its case.
  const auto at = std::min(text.find('@'), text.size());
  const auto slash = text.rfind('/', at), colon = text.rfind(':', at);
  const auto end = colon != text.npos && (slash == text.npos || colon > slash) && colon < at ? colon : at;
  text = bytes::Lower(text.substr(0, end)) + text.substr(end);
  while (text.ends_with('/') || text.ends_with(':')) text.pop_back();
  return reference::Reference::Parse(text) ? text : "";
}
bool CorrectedIs(const F& f, bool (*how)(const std::string&)) { return BadName(f) && how(f.image) && !Corrected(f).empty(); }
Next UseCorrected(const F& f) {
  return {"write " + Quoted(Corrected(f)) + " instead", "berth explain " + Shell(Corrected(f))};
}

// ---- the table

struct Row {
  CauseInfo info;
  bool (*applies)(const F&);
  std::string (*sentence)(const F&);
  Next (*next)(const F&);
};

#define BERTH_SAY(...) [](const F& f) -> std::string { (void)f; return __VA_ARGS__; }
#define BERTH_DO(...) [](const F& f) -> Next { (void)f; return __VA_ARGS__; }
#define BERTH_IF(...) [](const F& f) -> bool { return __VA_ARGS__; }

// "sign it: cosign sign …": the part behind ": " is for a shell.
Next Mend(const F& f) {
  const std::string& next = f.verification->next;
  const auto command = next.find(": cosign ");
  return command == next.npos ? Edit(next) : Next{next.substr(0, command), next.substr(command + 2)};
}

// A verdict has its own words.
template <verify::Cause kCause>
constexpr Row VerdictRow(std::string_view id, std::string_view summary) {
  return {{id, "E-VERIFY", summary}, BERTH_IF(Unverified(f, kCause)), BERTH_SAY(f.verification->reason), BERTH_DO(Mend(f))};
}

constexpr std::array kRows{
    // the name
    Row{{"name-scheme", "E-NAME", "an image name begins with a URL scheme"},
        BERTH_IF(CorrectedIs(f, [](const std::string& t) { return t.find("://") != t.npos; })),
        BERTH_SAY("an image name has no scheme: " + Quoted(f.image)),
        UseCorrected},
    Row{{"name-blank", "E-NAME", "an image name holds blanks or line breaks"},
        BERTH_IF(
            CorrectedIs(f, [](const std::string& t) { return std::ranges::any_of(t, [](unsigned char c) { return c <= ' '; }); })),
        BERTH_SAY("an image name holds no blanks: " + Quoted(f.image)),
        UseCorrected},
    Row{{"name-upper-case", "E-NAME", "a repository name has upper-case letters"},
        BERTH_IF(CorrectedIs(
            f, [](const std::string& t) { return std::ranges::any_of(t, [](unsigned char c) { return std::isupper(c); }); })),
        BERTH_SAY("repository names are lower case: " + Quoted(f.image)),
        UseCorrected},
    Row{{"name-invalid", "E-NAME", "an image name does not follow the grammar"},
        BadName,
        BERTH_SAY(Own(f)),
        BERTH_DO((Next{"correct the name: [HOST[:PORT]/]PATH[:TAG][@sha256:64 HEX DIGITS]", "berth name " + Shell(f.image)}))},

    // the rules for images (docs/verification.md)
    VerdictRow<verify::Cause::kDeniedByRule>("denied-by-rule", "a rule of `verification` denies the image"),
    VerdictRow<verify::Cause::kNoRule>("no-rule", "no rule of `verification` is for the image, and the default is Deny"),
    VerdictRow<verify::Cause::kDigestNotListed>("digest-not-listed", "a rule of `verification` lists the digests it allows, and this one is not listed"),
    VerdictRow<verify::Cause::kUnsigned>("unsigned", "the image has no signature, and a rule wants one"),
    VerdictRow<verify::Cause::kMalformed>("bad-signature", "what is there as a signature cannot be read, or is too much"),
    VerdictRow<verify::Cause::kWrongKey>("wrong-key", "the image is signed, but not with a key of the rule"),
    VerdictRow<verify::Cause::kWrongDigest>("wrong-digest", "the signature is for another image"),
    VerdictRow<verify::Cause::kWrongIdentity>("wrong-identity", "the signature is for another repository or tag"),
    VerdictRow<verify::Cause::kOutOfDate>("out-of-date", "the key or the signature is too old, or not valid yet"),
    VerdictRow<verify::Cause::kTooFewKeys>("too-few-keys", "fewer keys have signed than the rule wants"),
    VerdictRow<verify::Cause::kUnreachable>("signature-unreachable", "the registry cannot be asked for signatures"),
    VerdictRow<verify::Cause::kProgramRefused>("program-refused", "a verifier program refuses the image"),
    VerdictRow<verify::Cause::kProgramFailed>("program-failed", "a verifier program crashes, hangs or is missing"),

    // what the Pod says
    Row{{"signature-refused", "E-VERIFY", "the image's signature was not accepted"},
        BERTH_IF(Failed(f, Reason::kSignature) || f.waiting_reason == "SignatureValidationFailed"),
        BERTH_SAY("the signature of the image was not accepted"),
        BERTH_DO(
            Edit("sign the image with a key that the verifier of this node trusts, or name a signed digest of " + Repository(f)))},
    Row{{"policy-never", "E-NEVER", "imagePullPolicy is Never and the image is absent"},
        BERTH_IF((f.policy.value == PullPolicy::kNever && f.present.state == PresenceFacts::State::kAbsent) ||
                 Failed(f, Reason::kNever)),
        BERTH_SAY("imagePullPolicy is Never and the image is not on this node"),
        BERTH_DO((Next{f.pod.empty() ? "pull it by hand" : "pull it by hand, or set imagePullPolicy: IfNotPresent",
                       "berth pull " + Shell(f.image)}))},
    Row{{"never-not-proven", "E-NOT-PROVEN", "imagePullPolicy is Never and the Pod has not proven that it may use the image"},
        BERTH_IF(f.policy.value == PullPolicy::kNever && f.present.must_prove),
        BERTH_SAY("the image is here, and this Pod has not proven that it may use it, which Never forbids it to do"),
        BERTH_DO(Edit("set imagePullPolicy: IfNotPresent, and list a pull secret for " + Registry(f) + " in the Pod"))},

    // its secrets
    Row{{"secret-malformed", "E-CREDS", "a pull secret holds no valid docker config"},
        BERTH_IF(f.credential_error.has_value()),
        BERTH_SAY(Innermost(*f.credential_error)),
        BERTH_DO(CreateSecret(f, "make the secret anew: one that is malformed fails every pull of the Pod",
                              SecretOf(f.credential_error->Text()), Anew::kYes))},
    Row{{"mirror-credential", "", "a mirror wants a login, and the node has none for it"},
        BERTH_IF(Refused(f) && PrivateMirror(f)),
        BERTH_SAY("the mirror " + PrivateMirror(f)->host + " does not let " +
                  (PrivateMirror(f)->credential.empty() ? "anonymous" : PrivateMirror(f)->credential) + " pull " + Repository(f) +
                  "; logins for " + Registry(f) + " are not shown to it"),
        BERTH_DO(Edit("put a login under the key " + Quoted(HostOf(PrivateMirror(f)->host)) +
                      " into the node's config.json, or let the mirror serve anonymous users"))},
    Row{{"secret-elsewhere", "E-AUTH-401", "a Pod lists a secret that is in another namespace"},
        BERTH_IF(Refused(f) && !Matched(f) && std::ranges::any_of(f.missing, [](const auto& m) { return !m.elsewhere.empty(); })),
        BERTH_SAY("secret " + Elsewhere(f).name + " is in namespace " + Elsewhere(f).elsewhere[0] +
                  ", and secrets count in the Pod's own only"),
        BERTH_DO(
            (Next{"copy it into namespace " + Elsewhere(f).ns,
                  "berth get secret " + Shell(Elsewhere(f).name) + " -n " + Shell(Elsewhere(f).elsewhere[0]) +
                      " -o yaml | sed '/^  \\(uid\\|resourceVersion\\|creationTimestamp\\):/d; s/^  namespace: .*/  namespace: " +
                      Elsewhere(f).ns + "/' | berth apply -f -"}))},
    Row{{"secret-misnamed", "E-AUTH-401", "a Pod lists a secret whose name is nearly that of another"},
        BERTH_IF(Refused(f) && !Matched(f) && std::ranges::any_of(f.missing, [](const auto& m) { return !m.similar.empty(); })),
        BERTH_SAY("the Pod lists secret " + Quoted(Misnamed(f).name) + ", which does not exist; there is " +
                  Quoted(Misnamed(f).similar)),
        BERTH_DO(Edit("set imagePullSecrets: [{name: " + Misnamed(f).similar + "}] in the Pod, delete it and apply it again"))},
    Row{{"secret-missing", "E-AUTH-401", "a Pod lists a secret that does not exist"},
        BERTH_IF(Refused(f) && !Matched(f) && !f.missing.empty()),
        BERTH_SAY("the Pod lists secret " + f.missing[0].ns + "/" + f.missing[0].name + ", which does not exist"),
        BERTH_DO(CreateSecret(f, "create it; the Pod finds it at its next try", f.missing[0].name))},
    Row{{"secret-type", "E-AUTH-401", "a pull secret has another type than it needs"},
        BERTH_IF(Refused(f) && Entry(f, Kind::kUnusable, "", "secret ") != nullptr && !Matched(f)),
        BERTH_SAY(Entry(f, Kind::kUnusable, "", "secret ")->source +
                  " does not count: " + Entry(f, Kind::kUnusable, "", "secret ")->reason),
        BERTH_DO(CreateSecret(f, "delete it and make it anew with the right type: the type of a secret cannot be changed",
                              SecretName(Entry(f, Kind::kUnusable, "", "secret ")->source), Anew::kYes))},

    // plug-ins, when nothing else gave a credential
    Row{{"plugin-missing", "E-AUTH-401", "a credential plug-in is not installed or not executable"},
        BERTH_IF(Refused(f) && !Matched(f) && Plugin(f, kPluginMissing)),
        BERTH_SAY(Plugin(f, kPluginMissing)->source + " cannot be started"),
        BERTH_DO(Edit("install the program (mode 0755, owned by root) in the folder of plug-ins, or take it out of "
                      "CredentialProviderConfig"))},
    Row{{"plugin-hangs", "E-AUTH-401", "a credential plug-in does not answer"},
        BERTH_IF(Refused(f) && !Matched(f) && Plugin(f, kPluginHangs)),
        BERTH_SAY(Plugin(f, kPluginHangs)->source + " did not answer in time"),
        BERTH_DO(Edit("find what it waits for (mostly its cloud's metadata service, 169.254.169.254): run it by hand with a "
                      "request on stdin"))},
    Row{{"plugin-lies", "E-AUTH-401", "a credential plug-in answers something else than the protocol wants"},
        BERTH_IF(Refused(f) && !Matched(f) && Plugin(f, kPluginLies)),
        BERTH_SAY(Plugin(f, kPluginLies)->source +
                  " answered what is no CredentialProviderResponse of the version that is configured"),
        BERTH_DO(Edit("set the plug-in's apiVersion in CredentialProviderConfig to the one it speaks, or install a version of it "
                      "that speaks that one"))},
    Row{{"plugin-crashes", "E-AUTH-401", "a credential plug-in fails"},
        BERTH_IF(Refused(f) && !Matched(f) && Plugin(f, kPluginAny)),
        BERTH_SAY(Plugin(f, kPluginAny)->source + " failed, so there is no credential for " + Registry(f)),
        BERTH_DO(Edit("run it by hand with a request on stdin and mend what it complains about"))},

    // entries that nearly match
    Row{{"entry-port", "E-AUTH-401", "a credential is for another port of this host"},
        BERTH_IF(Refused(f) && NearMiss(f, "port:")),
        BERTH_SAY("the entry " + Quoted(NearMiss(f, "port:")->pattern) + " of " + NearMiss(f, "port:")->source +
                  " does not match: " + NearMiss(f, "port:")->reason),
        BERTH_DO(Edit("write the key as " + Quoted(Registry(f)) + " in " + NearMiss(f, "port:")->source))},
    Row{{"entry-path", "E-AUTH-401", "a credential is for another path of this registry"},
        BERTH_IF(Refused(f) && NearMiss(f, "path ")),
        BERTH_SAY("the entry " + Quoted(NearMiss(f, "path ")->pattern) + " of " + NearMiss(f, "path ")->source +
                  " does not match: " + NearMiss(f, "path ")->reason),
        BERTH_DO(Edit("write the key as " + Quoted(Repository(f)) + " (or " + Quoted(Registry(f)) +
                      " for all of the registry) in " + NearMiss(f, "path ")->source))},
    Row{{"entry-case", "E-AUTH-401", "a credential's host is written with other letters"},
        BERTH_IF(Refused(f) && NearMiss(f, "with their case")),
        BERTH_SAY("the entry " + Quoted(NearMiss(f, "with their case")->pattern) +
                  " does not match: hosts are compared with their case"),
        BERTH_DO(Edit("write the key as " + Quoted(Registry(f)) + " in " + NearMiss(f, "with their case")->source))},
    Row{{"entry-labels", "E-AUTH-401", "a credential's glob stands for another number of host labels"},
        BERTH_IF(Refused(f) && NearMiss(f, "host label")),
        BERTH_SAY("the entry " + Quoted(NearMiss(f, "host label")->pattern) +
                  " does not match: " + NearMiss(f, "host label")->reason),
        BERTH_DO(Edit("write the key as " + Quoted(Registry(f)) + " in " + NearMiss(f, "host label")->source))},
    Row{{"entry-never", "E-AUTH-401", "a credential's key matches nothing"},
        BERTH_IF(Refused(f) && !Matched(f) && NeverMatches(f)),
        BERTH_SAY("the entry " + Quoted(NeverMatches(f)->pattern) + " of " + NeverMatches(f)->source + " " +
                  NeverMatches(f)->reason),
        BERTH_DO(Edit("write the key as " + Quoted(Registry(f)) + " in " + NeverMatches(f)->source))},

    // this machine
    Row{{"disk-full", "E-ENOSPC", "the disk is full"},
        BERTH_IF(Failed(f, Reason::kNoSpace)),
        BERTH_SAY("there is no space left for the image on this node"),
        BERTH_DO((Next{"free some: images nobody needs go with rm, their layers with reclaim", "berth reclaim && berth df -v"}))},
    Row{{"store-damaged", "", "the store cannot be read or written"},
        BERTH_IF(FailedAny(f, {Reason::kIo, Reason::kCorrupt})),
        BERTH_SAY(Own(f)),
        BERTH_DO((Next{"check the disk and mend the store", "berth fsck --repair"}))},
    Row{{"hosts-config", "E-CONFIG", "hosts.toml or a certificate file cannot be used"},
        BERTH_IF(Failed(f, Reason::kConfig)),
        BERTH_SAY(Own(f)),
        BERTH_DO(Edit("correct that file in " + CertsDir(f) + " (or the folder named); it is read again at the next pull"))},

    // a policy that asks although there is no need to
    Row{{"always-unreachable", "", "imagePullPolicy is Always, the image is here, the registry cannot be asked"},
        BERTH_IF(f.policy.value == PullPolicy::kAlways && f.present.state == PresenceFacts::State::kPresent &&
                 !f.present.must_prove && Network(f)),
        BERTH_SAY("the image is here, and Always wants to ask the registry, which fails: " + Own(f)),
        BERTH_DO(Edit(f.pod.empty() ? "use --policy IfNotPresent"
                                    : "set imagePullPolicy: IfNotPresent in the Pod, delete it and apply it again"))},

    // TLS and scheme
    Row{{"tls-name", "E-TLS-NAME", "the certificate is for other names"},
        BERTH_IF(Failed(f, Reason::kTlsName)),
        BERTH_SAY("the certificate of " + Where(f) + " is for other names" + NamesOf(Seen(f))),
        BERTH_DO(Edit("use one of those names in the image, or give the server a certificate for " + Registry(f)))},
    Row{{"tls-not-yet", "E-TLS-EXPIRED", "the certificate is not valid yet, or this clock is wrong"},
        BERTH_IF(Failed(f, Reason::kTlsExpired) && Says(f, "not valid yet")),
        BERTH_SAY(Own(f)),
        BERTH_DO((Next{"set this node's clock", "timedatectl set-ntp true && date -u"}))},
    Row{{"tls-expired", "E-TLS-EXPIRED", "the certificate has expired"},
        BERTH_IF(Failed(f, Reason::kTlsExpired)),
        BERTH_SAY(Own(f)),
        BERTH_DO(Edit("renew the certificate of " + Where(f) + "; if it should be valid, check this node's clock"))},
    Row{{"tls-ca", "E-TLS-CA", "the certificate is signed by an unknown authority"},
        BERTH_IF(Failed(f, Reason::kTlsCa)),
        BERTH_SAY(Own(f)),
        BERTH_DO(ConfigureHost(f, "trust its CA for this registry (CA.pem: the certificate of the CA, from its operator)",
                               "write ca = \"/PATH/CA.pem\"", "install -D -m 0644 CA.pem " + Shell(CertsDir(f) + "/ca.crt")))},
    Row{{"http-on-https", "E-HTTP-ON-HTTPS", "the registry speaks plain HTTP, and we TLS"},
        BERTH_IF(Failed(f, Reason::kHttpOnHttps)),
        BERTH_SAY(Where(f) + " does not speak TLS on this port"),
        BERTH_DO(SpeakPlain(f, "if it is a plain HTTP registry on a network you trust, say so"))},
    Row{{"https-on-http", "E-STATUS", "the registry speaks TLS, and we plain HTTP"},
        BERTH_IF(
            FailedAny(f, {Reason::kUnexpectedStatus, Reason::kProtocolError, Reason::kUnexpectedEof, Reason::kConnectionReset}) &&
            SpeaksTls(f)),
        BERTH_SAY(Where(f) + " is asked in plain HTTP and speaks TLS"),
        BERTH_DO(Edit("write https:// instead of http:// for this host in hosts.toml (" + CertsDir(f) +
                      ") or take it out of plainHttp"))},
    Row{{"plain-http", "E-PLAIN-HTTP", "plain HTTP is not allowed for this host"},
        BERTH_IF(Failed(f, Reason::kPlainHttp)),
        BERTH_SAY(Own(f)),
        BERTH_DO(SpeakPlain(f, "if that is meant, configure it"))},
    Row{{"tls-client-certificate", "E-TLS", "the registry wants a client certificate"},
        BERTH_IF(Failed(f, Reason::kTls) && Says(f, "client certificate")),
        BERTH_SAY(Own(f)),
        BERTH_DO(ConfigureHost(f, "give it one (CLIENT.cert, CLIENT.key: PEM files from its operator)",
                               "write client = [[\"/PATH/CLIENT.cert\", \"/PATH/CLIENT.key\"]]",
                               "install -D -m 0644 CLIENT.cert " + Shell(CertsDir(f) + "/client.cert") +
                                   " && install -m 0600 CLIENT.key " + Shell(CertsDir(f) + "/client.key")))},
    Row{{"tls-other", "E-TLS", "the TLS handshake fails"},
        BERTH_IF(Failed(f, Reason::kTls)),
        BERTH_SAY(Own(f)),
        BERTH_DO(Probe(f, "TLS 1.2 or 1.3 with a key that is not too weak is needed; this shows what the server offers"))},
    Row{{"redirect-insecure", "E-REDIRECT-HTTP", "the registry redirects from https to http"},
        BERTH_IF(Failed(f, Reason::kInsecureRedirect)),
        BERTH_SAY(Own(f)),
        BERTH_DO(Edit("set the external URL of " + Where(f) + " (its storage or proxy setting) to https"))},

    // the network
    Row{{"proxy", "", "the proxy does not open the way"},
        BERTH_IF(f.failure&& Says(f, "the proxy ")),
        BERTH_SAY(Own(f)),
        BERTH_DO(Edit("correct HTTPS_PROXY in berthd's environment, or add " + Registry(f) + " to NO_PROXY, and restart berthd"))},
    Row{{"dns", "E-DNS", "the registry's name does not resolve"},
        BERTH_IF(Failed(f, Reason::kDns)),
        BERTH_SAY("the name of " + Where(f) + " does not resolve"),
        // No command: it would ask for the wrong name again.
        BERTH_DO(Edit("correct the host in the image's name, or make it resolve on this node (until `getent hosts " +
                      Shell(HostOf(Registry(f))) + "` finds it)"))},
    Row{{"refused", "E-REFUSED", "nothing listens at the registry's address"},
        BERTH_IF(Failed(f, Reason::kRefused)),
        BERTH_SAY(Where(f) + " refuses connections"),
        BERTH_DO(Probe(f, "start the registry, or correct the port in the image's name; then"))},
    Row{{"no-route", "E-UNAVAILABLE", "there is no way to the registry"},
        BERTH_IF(Failed(f, Reason::kUnavailable)),
        BERTH_SAY(Own(f)),
        BERTH_DO(Probe(f, "mend the route or the firewall between this node and " + HostOf(Registry(f)) + "; then"))},
    Row{{"timeout-connect", "E-TIMEOUT", "connections to the registry do not come about"},
        BERTH_IF(Failed(f, Reason::kTimeout) && Says(f, "no connection")),
        BERTH_SAY(Own(f)),
        BERTH_DO(Probe(f, "a firewall drops packets to " + Registry(f) + ", or the address is wrong: open the way; then"))},
    Row{{"slow", "E-TIMEOUT", "the registry takes too long to answer"},
        BERTH_IF(Failed(f, Reason::kTimeout)),
        BERTH_SAY(Own(f)),
        BERTH_DO(Again(f, "the registry is overloaded or hangs: have its operator look; then"))},
    Row{{"stalled", "E-STALLED", "data comes too slowly"},
        BERTH_IF(Failed(f, Reason::kStalled)),
        BERTH_SAY(Own(f)),
        BERTH_DO((Next{"what was fetched stays: pull again, it goes on from there", "berth pull " + Shell(f.image)}))},
    Row{{"cut", "", "connections are cut"},
        BERTH_IF(FailedAny(f, {Reason::kConnectionReset, Reason::kUnexpectedEof, Reason::kRange})),
        BERTH_SAY(Own(f)),
        BERTH_DO((Next{"what was fetched stays: pull again; if it stays like this, a proxy or firewall cuts connections",
                       "berth pull " + Shell(f.image)}))},
    Row{{"rate-limited", "E-429", "the registry limits the rate of requests"},
        BERTH_IF(Failed(f, Reason::kRateLimited)),
        BERTH_SAY(Where(f) + " limits the rate of requests (429)" + (Matched(f) ? "" : "; anonymous users get the lowest limit")),
        BERTH_DO(Matched(f) ? Edit("wait" + Wait(f) + ", or set up a mirror in " + CertsDir(f) + "/hosts.toml")
                            : LogIn(f, "log in: known users get more; list the secret in the Pod: imagePullSecrets: [{name: regcred}]",
                                    "log in: known users get more"))},
    Row{{"server-error", "E-5XX", "the registry fails"},
        BERTH_IF(Failed(f, Reason::kServerError)),
        BERTH_SAY(Own(f)),
        BERTH_DO(Again(f, "the registry's operator has to mend it; then"))},
    Row{{"token-service", "", "the token service fails"},
        BERTH_IF(Failed(f, Reason::kTokenError) && f.failure->transient()),
        BERTH_SAY(Own(f)),
        BERTH_DO(Again(f, "the operator of the token service has to mend it; then"))},
    Row{{"redirects", "E-REDIRECTS", "the registry redirects without end"},
        BERTH_IF(Failed(f, Reason::kTooManyRedirects)),
        BERTH_SAY(Own(f)),
        BERTH_DO(Edit("correct the redirect of " + Where(f) + ": its external URL points to itself"))},
    Row{{"protocol", "", "what answers is no registry, or a broken one"},
        BERTH_IF(FailedAny(f, {Reason::kProtocolError, Reason::kUnexpectedStatus})),
        BERTH_SAY(Own(f)),
        BERTH_DO(Edit("correct the host or the port in the image's name, or start the registry there (`berth probe " +
                      Shell(Registry(f)) + "` shows what answers now)"))},

    // access
    Row{{"untrusted-realm", "E-REALM", "the token service is not one that this registry's credentials may go to"},
        BERTH_IF(Failed(f, Reason::kUntrustedRealm)),
        BERTH_SAY(Own(f)),
        BERTH_DO(Edit(f.failure->next_step()))},
    Row{{"token-expired", "E-AUTH-401", "a token that lives for some hours has expired"},
        BERTH_IF(Tried(f) && (NewLogin(f) || (Unauthorized(f) && ShortLived(*Tried(f))))),
        BERTH_SAY("the token of " + LastTried(f) + " is not accepted" +
                  (NewLogin(f) ? " (403): such tokens live for some hours; if it is new, its user may not pull " + Repository(f)
                               : ": such tokens live for some hours, and it is too old")),
        BERTH_DO(Tried(f)->source.starts_with("secret ")
                     ? CreateSecret(f, "put a fresh one into the secret (better: a credential plug-in, which renews it)",
                                    SecretName(Tried(f)->source), Anew::kYes)
                     : TestCredentials(f, "get a fresh one and test it before you store it"))},
    Row{{"password-rejected", "E-AUTH-401", "the registry does not accept user and password"},
        BERTH_IF(Unauthorized(f) && Matched(f)),
        BERTH_SAY("the registry rejected " + CountMatched(f) + " (401)"),
        BERTH_DO(TestCredentials(f, "the password in " + Tried(f)->source + " is not accepted for user " + User(f) +
                                        ". Test a new one before you store it"))},
    Row{{"denied", "E-AUTH-403", "the user is known and may not pull this image"},
        BERTH_IF(Failed(f, Reason::kDenied) && Matched(f)),
        BERTH_SAY(Where(f) + " knows " + LastTried(f) + ", who may not pull " + Repository(f) + " (403)"),
        BERTH_DO(
            Edit("have the owner of " + Repository(f) + " let user " + User(f) + " pull it, or use a secret of a user who may"))},
    Row{{"hub-private", "", "the image does not exist at Docker Hub, or is private"},
        BERTH_IF(f.reference&& f.reference->domain() == "docker.io" &&
                 FailedAny(f, {Reason::kUnauthorized, Reason::kDenied, Reason::kTokenError})),
        BERTH_SAY("docker.io has no public repository " + f.reference->path() + ": it does not exist, or is private"),
        BERTH_DO(LogIn(f, "correct the name, or log in and list the secret in the Pod: imagePullSecrets: [{name: regcred}]",
                       "correct the name, or log in"))},
    Row{{"no-credential", "", "the registry wants a login and nothing gives one"},
        BERTH_IF(Unauthorized(f) || Failed(f, Reason::kDenied)),
        BERTH_SAY(Where(f) + " refuses anonymous access to " + Repository(f) + ", and no credential matches"),
        BERTH_DO(LogIn(f, "create a pull secret and list it in the Pod: imagePullSecrets: [{name: regcred}]",
                       "pull it with a login; Pods need a secret of their own, or the node's config.json"))},

    // content
    Row{{"wrong-name", "E-REPO-404", "there is no such repository"},
        BERTH_IF(Failed(f, Reason::kRepositoryNotFound)),
        BERTH_SAY(Where(f) + " has no repository " + (f.reference ? f.reference->path() : "") + OrPrivate(f)),
        BERTH_DO(Edit("correct the name " + Quoted(Repository(f)) + " where it is written, or push the image there"))},
    Row{{"missing-digest", "E-MANIFEST-404", "there is no such digest"},
        BERTH_IF(Failed(f, Reason::kNotFound) && f.reference && f.reference->digest()),
        BERTH_SAY(Repository(f) + " has no " + Object(f) + ": it was deleted, or never pushed there"),
        BERTH_DO(Edit("name a digest that is there (pull a tag of " + Repository(f) + " to learn one), or push that image again"))},
    Row{{"missing-tag", "E-MANIFEST-404", "there is no such tag"},
        BERTH_IF(Failed(f, Reason::kNotFound)),
        BERTH_SAY(Repository(f) + " has no " + Object(f) + OrPrivate(f)),
        BERTH_DO(Edit((f.reference && f.image.find(f.reference->tag().value_or("latest")) == std::string::npos
                           ? "name a tag (none means latest)"
                           : "correct the tag") +
                      std::string(" in ") + Quoted(f.image) + ", or push the image with this tag"))},
    Row{{"blob-missing", "E-BLOB-404", "a part of the image is missing in the registry"},
        BERTH_IF(Failed(f, Reason::kBlobNotFound)),
        BERTH_SAY(Own(f)),
        BERTH_DO(Edit("push the image to " + Repository(f) + " again: it is incomplete there"))},
    Row{{"platform", "E-PLATFORM", "there is no image for this node's platform"},
        BERTH_IF(Failed(f, Reason::kNoMatch)),
        BERTH_SAY("no image for " + PlatformsOf(f).wanted +
                  (PlatformsOf(f).offered.empty() ? "" : "; there is " + Join(PlatformsOf(f).offered, ", "))),
        BERTH_DO(Edit("push an image for " + PlatformsOf(f).wanted + " to this tag" +
                      (PlatformsOf(f).offered.empty()
                           ? ""
                           : ", or run the Pod on a node with nodeSelector kubernetes.io/arch: " + ArchOf(PlatformsOf(f).offered[0]))))},
    Row{{"lying-host", "", "what was sent does not have the digest that was asked for"},
        BERTH_IF(FailedAny(f, {Reason::kDigestMismatch, Reason::kSizeMismatch})),
        BERTH_SAY(Own(f)),
        BERTH_DO(Edit(MirrorFailed(f)
                          ? "take the mirror out of " + CertsDir(f) + "/hosts.toml: it serves other bytes than the registry"
                          : "push the image again, and have the registry's operator check its storage"))},
    Row{{"no-image", "", "what the name stands for is no image that can be run"},
        BERTH_IF(FailedAny(f, {Reason::kInvalidManifest, Reason::kInvalidConfig, Reason::kInvalidDigest, Reason::kInvalidLayer,
                               Reason::kUnsupported})),
        BERTH_SAY(Own(f)),
        BERTH_DO(Edit(Says(f, "not a registry answer")
                          ? "correct the host in the image's name: a web server or login page answers there"
                          : "name an OCI or Docker v2 image: build and push this one again with a current tool"))},
    Row{{"limit", "E-LIMIT", "the image is beyond a limit of this node"},
        BERTH_IF(Failed(f, Reason::kLimitExceeded)),
        BERTH_SAY(Own(f)),
        BERTH_DO(Edit(
            "make the image smaller, or raise the limit that is named in brackets in /etc/berth/config.yaml and restart berthd"))},
    Row{{"other", "", "something else"},
        BERTH_IF(f.failure.has_value()),
        BERTH_SAY(Own(f)),
        BERTH_DO(f.failure->next_step().empty() ? Again(f, "try again with the daemon's log at hand; then")
                                                : Edit(f.failure->next_step()))},

    // nothing fails (any more)
    Row{{"back-off", "E-BACKOFF", "the cause is gone, and the Pod still waits"},
        BERTH_IF(f.backoff&& f.backoff->remaining > time::Duration::zero() && !f.running),
        BERTH_SAY("the last try failed, the image can be pulled now, and the next try is in " + Short(f.backoff->remaining)),
        BERTH_DO(f.pod.empty()
                     ? Edit("wait, or delete the Pod and apply it again: a new Pod does not wait")
                     : Next{"wait, or make the Pod anew: it does not wait", "berth delete pod " + Shell(f.pod) + Flags(f)})},
};
#undef BERTH_SAY
#undef BERTH_DO
#undef BERTH_IF

int StatusOf(std::string_view code, const F& f) {
  if (code == "E-BACKOFF") return 11;
  if (code == "E-NOT-PROVEN" || code == "E-VERIFY") return 8;
  const auto* info = result::FindByCode(code);
  return info ? info->exit_status : f.failure ? f.failure->info().exit_status : 1;
}

Verdict Fine(const F& f) {
  Verdict v;
  if (f.past) {
    v.headline = "PULLED";
    v.sentence = (f.at ? "at " + Clock(*f.at) + " " : "") + "in " +
                 Short(std::chrono::duration_cast<time::Duration>(std::chrono::duration<double>(f.seconds))) +
                 (MirrorFailed(f) ? " (fallback used)" : "");
  } else if (f.present.state == PresenceFacts::State::kPresent && f.present.must_prove) {
    v.headline = "WOULD PULL AGAIN";
    v.sentence = "present, but " + (f.present.access.empty() ? "each new credential must prove itself once" : f.present.access);
  } else if (f.present.state == PresenceFacts::State::kPresent &&
             (!f.pull_needed || !f.resolved || f.resolved->digest == f.present.digest)) {
    v.headline = "PRESENT";
    v.sentence = f.pull_needed ? "the registry has the same digest: nothing would be fetched" : "the image on this node is used, the registry is not asked";
  } else {
    v.headline = "CAN PULL";
    v.sentence = f.present.state == PresenceFacts::State::kPresent ? "the registry has a newer image under this name" : "nothing stands in the way";
  }
  if (const auto* mirror = FailedMirror(f)) {
    v.cause = "mirror-down";
    v.next = Edit("mend the mirror " + mirror->host + ", or take it out of " + CertsDir(f) + "/hosts.toml: every pull waits for it first");
  } else if (!f.past && f.running) {
    v.next = Edit("nothing to do: the container runs");
  } else if (f.past || v.headline == "PRESENT") {
    v.next = Next{"nothing to do; to look at it", "berth inspect " + Shell(f.image)};
  } else {
    v.next = Next{"nothing to do; to fetch it now", "berth pull " + Shell(f.image)};
  }
  return v;
}

}  // namespace

Verdict Advise(const Facts& facts) {
  for (const Row& row : kRows) {
    if (!row.applies(facts)) continue;
    Verdict v;
    v.headline = row.info.code == "E-BACKOFF" ? "WAITING" : facts.past ? "COULD NOT PULL" : "CANNOT PULL";
    v.cause = row.info.cause;
    // What the registry said leads: a missing secret shows as 401 at one, as 404 at another.
    v.code = row.info.code;
    if (v.code.empty() || v.code == "E-AUTH-401")
      v.code = facts.failure            ? facts.failure->info().code
               : facts.credential_error ? facts.credential_error->info().code
                                        : "E-INTERNAL";
    v.exit_status = StatusOf(v.code, facts);
    v.sentence = row.sentence(facts);
    v.next = row.next(facts);
    if (v.next.text.empty()) v.next.text = "look into the daemon's log: journalctl -u berthd";
    return v;
  }
  return Fine(facts);
}

std::span<const CauseInfo> Causes() {
  static constexpr auto kInfos = [] {
    std::array<CauseInfo, kRows.size() + 1> infos{};
    for (std::size_t i = 0; i < kRows.size(); ++i) infos[i] = kRows[i].info;
    infos.back() = {"mirror-down", "", "a mirror fails and another host serves the image"};
    return infos;
  }();
  return kInfos;
}

}  // namespace berth::explain
