#include "registry/client.h"

#include <algorithm>
#include <mutex>
#include <set>

#include "registry/blob_stream.h"
#include "registry/engine.h"
#include "registry/route.h"
#include "registry/session.h"

namespace berth::registry {
namespace {

constexpr std::string_view kHtml = "text/html";

bool IsImageDocument(std::string_view media_type) { return oci::IsIndexType(media_type) || oci::IsManifestType(media_type); }

// A tag or a digest, safe to become part of a path.
struct Object {
  std::string text;
  std::optional<digest::Digest> digest;

  static Result<Object> Parse(std::string_view text) {
    if (text.find(':') != std::string_view::npos) {
      ASSIGN_OR_RETURN(const digest::Digest digest, digest::Digest::Parse(text));
      return Object{digest.ToString(), digest};
    }
    const auto word = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; };
    if (text.empty() || text.size() > 128 || !word(text[0]) ||
        !std::all_of(text.begin(), text.end(), [&](char c) { return word(c) || c == '.' || c == '-'; }))
      return Error(Reason::kInvalidReference, Quoted(text) + " is neither a tag nor a digest");
    return Object{std::string(text), std::nullopt};
  }
};

// What all views of one repository know.
struct Known {
  std::mutex mutex;                     // guards all below
  std::optional<FetchedManifest> kept;  // the last one, so that no tag is asked for twice
  std::set<digest::Digest> poisoned;    // the next OpenBlob starts at zero
};

class RepositoryImpl final : public Repository {
 public:
  explicit RepositoryImpl(std::shared_ptr<Session> session, std::shared_ptr<Known> known = std::make_shared<Known>(),
                          Standby* standby = nullptr)
      : session_(std::move(session)), known_(std::move(known)), standby_(standby) {}

  Result<Resolved> Resolve(const task::Context& ctx) override {
    const reference::Reference& ref = session_->reference;
    const Object object{ref.digest() ? ref.digest()->ToString() : ref.tag().value_or("latest"), ref.digest()};
    return Walk<Resolved>(ctx, object.digest ? Need::kPull : Need::kResolve, object.digest, "manifest " + object.text,
                          [&](Host& host) { return ResolveAt(ctx, host, object); });
  }

  Result<FetchedManifest> FetchManifest(const task::Context& ctx, std::string_view tag_or_digest, std::string_view expected) override {
    ASSIGN_OR_RETURN(const Object object, Object::Parse(tag_or_digest));
    if (object.digest) {
      std::lock_guard lock(known_->mutex);
      if (known_->kept && known_->kept->digest == *object.digest) return *known_->kept;
    }
    const std::string accept = expected.empty() ? std::string(oci::ManifestAccept()) : std::string(expected) + ", */*";
    return Walk<FetchedManifest>(ctx, object.digest ? Need::kPull : Need::kResolve, object.digest, "manifest " + object.text,
                                 [&](Host& host) { return ManifestAt(ctx, host, object, accept, expected); });
  }

  Result<std::string> FetchDocument(const task::Context& ctx, const oci::Descriptor& descriptor) override {
    const bool manifest = IsImageDocument(descriptor.media_type);
    const std::string kind = manifest ? "manifest " : "blob ", what = kind + descriptor.digest.ToString();
    const std::size_t limit = session_->engine.options.document_bytes;
    if (descriptor.size > limit)
      return Error(Reason::kLimitExceeded, what + " has " + std::to_string(descriptor.size) + " bytes; the limit is " +
                                               std::to_string(limit) + " (document_bytes)");
    if (manifest) {
      std::lock_guard lock(known_->mutex);
      if (known_->kept && known_->kept->digest == descriptor.digest && known_->kept->bytes.size() == descriptor.size) return known_->kept->bytes;
    }
    const Ask ask{.method = http::Method::kGet, .path = (manifest ? "manifests/" : "blobs/") + descriptor.digest.ToString(),
                  .what = what, .accept = manifest ? descriptor.media_type + ", */*" : "*/*"};
    return Walk<std::string>(ctx, Need::kPull, descriptor.digest, what, [&](Host& host) -> Tried<std::string> {
      Tried<Document> got = Get(ctx, host, ask, static_cast<std::size_t>(descriptor.size), Reason::kSizeMismatch);
      if (!got.result) return {std::move(got.result).error(), std::move(got.record)};
      Document document = *std::move(got.result);
      if (document.bytes.size() != descriptor.size)
        return {Lie(host, document, Reason::kSizeMismatch, descriptor.digest, what), std::move(got.record)};
      if (digest::Digest::Of(bytes::AsView(document.bytes), descriptor.digest.algorithm()) != descriptor.digest)
        return {Lie(host, document, Reason::kDigestMismatch, descriptor.digest, what), std::move(got.record)};
      return {std::move(document.bytes), std::move(got.record)};
    });
  }

  Result<std::unique_ptr<BlobStream>> OpenBlob(const task::Context& ctx, const oci::Descriptor& descriptor,
                                               std::uint64_t offset) override {
    const digest::Digest digest = descriptor.digest;
    bool restarted = false;
    {
      std::lock_guard lock(known_->mutex);
      restarted = known_->poisoned.erase(digest) > 0;
    }
    if (restarted) offset = 0;
    if (offset > descriptor.size)
      return Error(Reason::kRange, "blob " + digest.ToString() + " has " + std::to_string(descriptor.size) + " bytes, not " +
                                       std::to_string(offset));
    auto blob = std::make_unique<ResumingBlob>(session_, ctx, descriptor, offset, restarted, standby_);
    RETURN_IF_ERROR(blob->Open());
    return std::unique_ptr<BlobStream>(std::move(blob));
  }

  Result<std::vector<oci::Descriptor>> Referrers(const task::Context& ctx, const digest::Digest& subject) override {
    const std::string what = "referrers of " + subject.ToString();
    auto listed = Walk<std::vector<oci::Descriptor>>(ctx, Need::kPull, subject, what,
                                                     [&](Host& host) { return ReferrersAt(ctx, host, subject, what); });
    if (listed || !HasNoReferrersApi(listed.error())) return listed;
    const std::string tag = std::string(digest::Name(subject.algorithm())) + "-" + subject.Hex().substr(0, 64);
    auto fetched = FetchManifest(ctx, tag, oci::kOciIndex);
    if (!fetched) {
      if (IsAbsent(fetched.error().reason())) return std::vector<oci::Descriptor>();
      return std::move(fetched).error();
    }
    auto index = oci::Index::Parse(fetched->bytes, fetched->media_type, {.document_bytes = session_->engine.options.document_bytes});
    if (!index) return std::move(index).error().Context("tag " + tag);
    return index->manifests();
  }

  void ReportMismatch(const digest::Digest& digest, const std::string& host) override {
    std::set<std::string> liars = session_->TakeContributors(digest);
    {
      std::lock_guard lock(known_->mutex);
      known_->poisoned.insert(digest);
    }
    if (auto hosts = session_->Hosts())
      for (const Host* one : *hosts)
        if (one->Name() == host && liars.empty()) liars.insert(one->id);
    // Bytes of several hosts: any of them may have been the wrong ones.
    for (const std::string& id : liars) session_->engine.memory.Ban(id, digest, session_->engine.options.retry.liar_for);
  }

  std::unique_ptr<Repository> WithStandby(Standby& standby) const override {
    return std::make_unique<RepositoryImpl>(session_, known_, &standby);
  }

  const credentials::Credential* used() const override { return session_->used(); }

 private:
  struct Document {
    std::string bytes, media_type, host;
  };

  template <class T, class One>
  Result<T> Walk(const task::Context& ctx, Need need, std::optional<digest::Digest> digest, std::string what, const One& one) {
    Route route(*session_, need, digest, std::move(what), standby_);
    for (;;) {
      ASSIGN_OR_RETURN(Host* const host, route.Next(ctx));
      Tried<T> tried = one(*host);
      if (tried.result) return std::move(tried.result);
      tried.record.attempt().reason = tried.result.error().reason();
      tried.record.Finish(route.Failed(*host, std::move(tried.result).error()));
    }
  }

  static bool IsAbsent(Reason reason) {
    return reason == Reason::kNotFound || reason == Reason::kRepositoryNotFound || reason == Reason::kBlobNotFound;
  }
  // Registries before OCI 1.1 answer 404, some 400, 405 or 501.
  static bool HasNoReferrersApi(const Error& error) {
    return IsAbsent(error.reason()) || error.reason() == Reason::kUnexpectedStatus ||
           (error.reason() == Reason::kServerError && !error.transient());
  }

  Tried<std::vector<oci::Descriptor>> ReferrersAt(const task::Context& ctx, Host& host, const digest::Digest& subject,
                                                  const std::string& what) {
    const std::size_t limit = session_->engine.options.document_bytes;
    Ask ask{.method = http::Method::kGet, .path = "referrers/" + subject.ToString(), .what = what, .accept = std::string(oci::kOciIndex)};
    std::vector<oci::Descriptor> all;
    for (int page = 0;; ++page) {
      if (page == kReferrerPages)
        return {Error(Reason::kLimitExceeded, host.Name() + " has more than " + std::to_string(kReferrerPages) + " pages of " + what), Record()};
      std::string link;
      Tried<Document> got = Get(ctx, host, ask, limit, Reason::kLimitExceeded, &link);
      if (!got.result) return {std::move(got.result).error(), std::move(got.record)};
      auto index = oci::Index::Parse(got.result->bytes, got.result->media_type, {.document_bytes = limit});
      if (!index) return {std::move(index).error().Context("answer of " + host.Name()), std::move(got.record)};
      for (const auto& entry : index->manifests()) all.push_back(entry);
      if (link.empty()) return {std::move(all), std::move(got.record)};
      auto next = NextPage(host, ask, link);
      if (!next) return {std::move(next).error(), std::move(got.record)};
      ask.query = *std::move(next);
      got.record.Finish("next page");
    }
  }

  static bool IsNextPage(std::string_view link) { return link.find("rel=\"next\"") != link.npos || link.find("rel=next") != link.npos; }

  // The query of a `Link: <…>; rel="next"`, which may only lead to the same list of the same host.
  Result<std::string> NextPage(const Host& host, const Ask& ask, const std::string& link) const {
    http::Url here = host.Base();
    here.path += "/" + session_->reference.path() + "/" + ask.path;
    const std::size_t open = link.find('<'), close = link.find('>');
    const auto url = open == 0 && close != link.npos ? here.Resolve(std::string_view(link).substr(1, close - 1)) : Result<http::Url>(here);
    if (!url || url->origin() != here.origin() || url->path != here.path || !url->query || url->query->empty() || *url->query == ask.query)
      return Error(Reason::kProtocolError, host.Name() + " leads to another place for more of " + ask.what);
    return *url->query;
  }

  // `too_long`: the reason when the body is longer than `limit`.
  Tried<Document> Get(const task::Context& ctx, Host& host, const Ask& ask, std::size_t limit, Reason too_long,
                      std::string* link = nullptr) {
    auto tried = session_->Exchange(ctx, host, ask);
    if (!tried.result) return {std::move(tried.result).error(), std::move(tried.record)};
    http::Response& response = **tried.result;
    Document document{"", oci::BareMediaType(response.headers().Get("Content-Type")), host.Name()};
    if (link != nullptr && IsNextPage(response.headers().Get("Link"))) *link = response.headers().Get("Link");
    auto body = http::ReadAll(response, limit, ask.what);
    if (!body && body.error().reason() == Reason::kLimitExceeded) {
      if (document.media_type == kHtml) return {NoRegistry(document), std::move(tried.record)};
      return {Error(too_long, document.host + " sent more than " + std::to_string(limit) + " bytes for " + ask.what +
                                  (too_long == Reason::kLimitExceeded ? " (document_bytes)" : "")),
              std::move(tried.record)};
    }
    if (!body) return {std::move(body).error(), std::move(tried.record)};
    document.bytes = *std::move(body);
    tried.record.attempt().bytes = document.bytes.size();
    return {std::move(document), std::move(tried.record)};
  }

  static Error NoRegistry(const Document& document) {
    return Error(Reason::kInvalidManifest, "the answer of " + document.host + " is not a registry answer (" +
                                               (document.media_type == kHtml ? std::string(kHtml) : "no JSON") + ")")
        .Next("check the address of the registry: a login page or a web server answers there");
  }

  Error Lie(Host& host, const Document& document, Reason reason, const digest::Digest& digest, const std::string& what) {
    if (document.media_type == kHtml) return NoRegistry(document);
    session_->engine.memory.Ban(host.id, digest, session_->engine.options.retry.liar_for);
    return Error(reason, document.host + " sent " +
                             (reason == Reason::kDigestMismatch ? "other bytes than those of " : "another number of bytes than ") + what);
  }

  Tried<FetchedManifest> ManifestAt(const task::Context& ctx, Host& host, const Object& object, const std::string& accept,
                                    std::string_view expected) {
    const std::size_t limit = session_->engine.options.document_bytes;
    const Ask ask{.method = http::Method::kGet, .path = "manifests/" + object.text, .what = "manifest " + object.text, .accept = accept};
    Tried<Document> got = Get(ctx, host, ask, limit, Reason::kLimitExceeded);
    if (!got.result) return {std::move(got.result).error(), std::move(got.record)};
    Document document = *std::move(got.result);
    const std::size_t start = document.bytes.find_first_not_of(" \t\r\n");
    if (document.media_type == kHtml || start == std::string::npos || document.bytes[start] != '{')
      return {NoRegistry(document), std::move(got.record)};
    const auto algorithm = object.digest ? object.digest->algorithm() : digest::Algorithm::kSha256;
    FetchedManifest fetched{.bytes = "", .digest = digest::Digest::Of(bytes::AsView(document.bytes), algorithm),
                            .media_type = "", .host = document.host};
    if (object.digest && fetched.digest != *object.digest)
      return {Lie(host, document, Reason::kDigestMismatch, *object.digest, ask.what), std::move(got.record)};
    if (IsImageDocument(document.media_type)) fetched.media_type = document.media_type;
    else if (object.digest) fetched.media_type = std::string(expected);
    if (!object.digest || fetched.media_type.empty()) {
      const auto parsed = oci::ParseManifestOrIndex(document.bytes, document.media_type, {.document_bytes = limit});
      // Only a digest makes bytes worth keeping that we cannot read: what they are is then the caller's to say.
      if (!parsed && !object.digest) return {Error(parsed.error()).Context("answer of " + document.host), std::move(got.record)};
      if (parsed) fetched.media_type = std::visit([](const auto& d) { return d.media_type(); }, *parsed);
    }
    fetched.bytes = std::move(document.bytes);
    {
      std::lock_guard lock(known_->mutex);
      known_->kept = fetched;
    }
    return {std::move(fetched), std::move(got.record)};
  }

  Tried<Resolved> ResolveAt(const task::Context& ctx, Host& host, const Object& object) {
    const std::string accept(oci::ManifestAccept());
    const Ask ask{.method = http::Method::kHead, .path = "manifests/" + object.text, .what = "manifest " + object.text, .accept = accept};
    auto tried = session_->Exchange(ctx, host, ask);
    const int status = tried.record.attempt().status;
    if (!tried.result) {
      // 404 without a body does not say whether the tag or the repository is missing; the registry itself is asked again.
      // 403 may be of HEAD only: a URL that is signed for GET, a rule of a firewall.
      const bool elsewhere = tried.record.attempt().host != host.Name();
      const bool get_may_tell = status == 400 || status == 405 || status == 501 || (status == 404 && !host.endpoint.mirror) ||
                                (status == 401 && elsewhere) || (status == 403 && (elsewhere || !host.auth.exhausted()));
      if (!get_may_tell) return {std::move(tried.result).error(), std::move(tried.record)};
      tried.record.attempt().reason = tried.result.error().reason();
    } else {
      const http::Response& response = **tried.result;
      const std::string type = oci::BareMediaType(response.headers().Get("Content-Type"));
      const auto length = response.content_length();
      const auto digest = object.digest ? Result<digest::Digest>(*object.digest)
                                        : digest::Digest::Parse(response.headers().Get("Docker-Content-Digest"));
      if (length && *length > session_->engine.options.document_bytes)
        return {Error(Reason::kLimitExceeded, host.Name() + " has " + std::to_string(*length) + " bytes for " + ask.what +
                                                  "; the limit is " + std::to_string(session_->engine.options.document_bytes) +
                                                  " (document_bytes)"),
                std::move(tried.record)};
      if (digest && length && *length > 0 && IsImageDocument(type))
        return {Resolved{*digest, type, *length, host.Name()}, std::move(tried.record)};
    }
    tried.record.Finish("GET");
    auto got = ManifestAt(ctx, host, object, accept, "");
    if (!got.result) return {std::move(got.result).error(), std::move(got.record)};
    return {Resolved{got.result->digest, got.result->media_type, got.result->bytes.size(), got.result->host}, std::move(got.record)};
  }

  const std::shared_ptr<Session> session_;
  const std::shared_ptr<Known> known_;
  Standby* const standby_;
};

}  // namespace

Client::Client(http::Client& http, const time::Clock& clock, std::function<double()> random, ClientOptions options)
    : engine_(std::make_unique<Engine>(http, clock, std::move(random), std::move(options))) {}

Client::~Client() = default;

std::unique_ptr<Repository> Client::Open(const reference::Reference& reference, std::vector<credentials::Credential> credentials,
                                         AttemptSink sink) {
  return std::make_unique<RepositoryImpl>(std::make_shared<Session>(*engine_, reference, std::move(credentials), std::move(sink)));
}

}  // namespace berth::registry
