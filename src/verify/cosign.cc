#include "verify/cosign.h"

#include <algorithm>
#include <set>

#include "bytes/encoding.h"
#include "kube/timestamp.h"
#include "verify/payload.h"

namespace berth::verify {
namespace {

constexpr auto kClockSkew = std::chrono::minutes(5);

// kNone: there is nothing there, which is an answer.
Cause CauseOf(const Error& error) {
  switch (error.reason()) {
    case Reason::kNotFound: case Reason::kRepositoryNotFound: return Cause::kNone;
    case Reason::kBlobNotFound: case Reason::kLimitExceeded: case Reason::kInvalidManifest: case Reason::kInvalidDigest:
    case Reason::kDigestMismatch: case Reason::kSizeMismatch: case Reason::kUnsupported: return Cause::kMalformed;
    default: return Cause::kUnreachable;
  }
}

class Search {
 public:
  Search(const task::Context& ctx, const task::Context& limited, const Rule& rule, const Subject& subject, const SignatureLimits& limits,
         registry::Repository& repository)
      : ctx_(ctx), limited_(limited), rule_(rule), subject_(subject), limits_(limits), repository_(repository) {}

  Result<Signed> Run() {
    for (const auto source : {&Search::ByTag, &Search::ByReferrers}) {
      const Result<> looked = (this->*source)();
      RETURN_IF_ERROR(ctx_.Check());
      if (!looked && CauseOf(looked.error()) != Cause::kNone)
        Note({.where = "", .cause = CauseOf(looked.error()), .detail = looked.error().Text()});
      if (keys_.size() >= rule_.threshold) break;
    }
    signed_.enough = keys_.size() >= rule_.threshold;
    signed_.keys.assign(keys_.begin(), keys_.end());
    for (const Key& key : rule_.keys)
      if (signed_.enough && key.not_after && keys_.contains(key.name) && (!signed_.until || *key.not_after < *signed_.until))
        signed_.until = key.not_after;
    if (signed_.enough) return std::move(signed_);
    if (signed_.findings.empty() && signed_.cause == Cause::kNone) signed_.cause = Cause::kUnsigned;
    if (!keys_.empty() && signed_.cause != Cause::kUnreachable) {
      signed_.cause = Cause::kTooFewKeys;
      signed_.detail = std::to_string(keys_.size()) + " of the " + std::to_string(rule_.threshold) + " keys wanted have signed it";
    }
    return std::move(signed_);
  }

 private:
  // The cause that is told is the one that came furthest.
  void Note(Finding finding) {
    if (finding.cause > signed_.cause) {
      signed_.cause = finding.cause;
      signed_.detail = finding.detail;
    }
    if (!finding.where.empty()) signed_.findings.push_back(std::move(finding));
  }

  // Every signature and every byte counts, also those of other kinds: what is looked at is bounded whatever is there.
  Result<> Spend(std::size_t signatures, std::uint64_t bytes) {
    if (signatures > limits_.count - count_)
      return Error(Reason::kLimitExceeded, "there are more than " + std::to_string(limits_.count) + " signatures for this image (limit signatures)");
    if (bytes > limits_.bytes - spent_)
      return Error(Reason::kLimitExceeded, "its signatures have more than " + std::to_string(limits_.bytes) + " bytes in all (limit signature_bytes)");
    count_ += signatures;
    spent_ += bytes;
    return {};
  }

  Result<> ByTag() {
    const std::string tag = std::string(digest::Name(subject_.digest.algorithm())) + "-" + subject_.digest.Hex() + ".sig";
    if (!reference::IsTag(tag)) return {};  // of sha512: longer than a tag may be
    ASSIGN_OR_RETURN(const auto fetched, repository_.FetchManifest(limited_, tag, oci::kOciManifest));
    RETURN_IF_ERROR(Spend(0, fetched.bytes.size()));
    return SimpleSignatures(fetched.bytes, fetched.media_type, "tag " + tag);
  }

  Result<> SimpleSignatures(const std::string& text, std::string_view media_type, const std::string& where) {
    ASSIGN_OR_RETURN(const auto manifest, oci::Manifest::Parse(text, media_type));
    RETURN_IF_ERROR(Spend(manifest.layers().size(), 0));
    for (std::size_t i = 0; i < manifest.layers().size() && keys_.size() < rule_.threshold; ++i) {
      const auto& layer = manifest.layers()[i];
      if (layer.media_type != kSimpleSigningType) continue;
      const std::string place = where + ", layer " + std::to_string(i + 1);
      const auto annotation = layer.annotations.find(std::string(kSignatureAnnotation));
      const auto signature = annotation == layer.annotations.end() ? std::nullopt : bytes::FromBase64(annotation->second);
      if (!signature) {
        Note({.where = place, .cause = Cause::kMalformed, .detail = "a signature of it is no base64"});
        continue;
      }
      if (layer.size > kPayloadBytes) {
        Note({.where = place, .cause = Cause::kMalformed, .detail = "a signed payload of it is larger than 64 KiB"});
        continue;
      }
      RETURN_IF_ERROR(Spend(0, layer.size));
      auto payload = repository_.FetchDocument(limited_, layer);
      if (!payload && CauseOf(payload.error()) != Cause::kUnreachable) {
        Note({.where = place, .cause = Cause::kMalformed, .detail = payload.error().Text()});
        continue;
      }
      if (!payload) return std::move(payload).error();
      JudgeSimple(place, *payload, *signature);
    }
    return {};
  }

  Result<> ByReferrers() {
    ASSIGN_OR_RETURN(const auto referrers, repository_.Referrers(limited_, subject_.digest));
    std::size_t candidates = 0;
    for (const auto& entry : referrers) candidates += IsCandidate(entry);
    RETURN_IF_ERROR(Spend(candidates, 0));
    for (const auto& entry : referrers) {
      if (keys_.size() >= rule_.threshold) break;
      if (!IsCandidate(entry)) continue;
      const auto looked = Referrer(entry);
      if (looked) continue;
      if (CauseOf(looked.error()) == Cause::kUnreachable || !limited_.Check()) return looked.error();
      // One that is broken does not speak for the others.
      Note({.where = "referrer " + entry.digest.ToString(), .cause = Cause::kMalformed, .detail = looked.error().Text()});
      if (looked.error().reason() == Reason::kLimitExceeded) return {};
    }
    return {};
  }

  // Without an artifact type the manifest itself has to be looked at.
  static bool IsCandidate(const oci::Descriptor& entry) {
    return oci::IsManifestType(entry.media_type) &&
           (!entry.artifact_type || entry.artifact_type->empty() ||
            *entry.artifact_type == kCosignArtifactType || IsBundleType(*entry.artifact_type));
  }

  Result<> Referrer(const oci::Descriptor& entry) {
    const std::string where = "referrer " + entry.digest.ToString();
    RETURN_IF_ERROR(Spend(0, entry.size));
    ASSIGN_OR_RETURN(const std::string text, repository_.FetchDocument(limited_, entry));
    ASSIGN_OR_RETURN(const auto subject, SubjectOf(text));
    if (subject && *subject != subject_.digest) {
      Note({.where = where, .cause = Cause::kWrongDigest, .detail = "what is attached to it says that it belongs to " + subject->ToString()});
      return {};
    }
    ASSIGN_OR_RETURN(const auto manifest, oci::Manifest::Parse(text, entry.media_type));
    const std::string type = manifest.artifact_type().value_or(manifest.config().media_type);
    if (type == kCosignArtifactType) return SimpleSignatures(text, entry.media_type, where);
    if (!IsBundleType(type) || manifest.layers().empty()) return {};
    const auto& layer = manifest.layers().front();
    if (!IsBundleType(layer.media_type)) return Error(Reason::kInvalidManifest, "a bundle's layer is of another type");
    if (layer.size > kBundleBytes) return Error(Reason::kLimitExceeded, "a bundle of it is larger than 1 MiB");
    RETURN_IF_ERROR(Spend(0, layer.size));
    ASSIGN_OR_RETURN(const std::string bundle_text, repository_.FetchDocument(limited_, layer));
    ASSIGN_OR_RETURN(const auto bundle, ParseBundle(bundle_text));
    return bundle.message ? JudgeMessage(where, bundle) : JudgeEnvelope(where, bundle);
  }

  // --- judgement: which key, then is it about this image

  const Key* MadeBy(std::string_view message, std::string_view signature) const {
    for (const Key& key : rule_.keys)
      if (key.key.Verifies(bytes::AsView(message), bytes::AsView(signature))) return &key;
    return nullptr;
  }

  void NoKey(const std::string& where) { Note({.where = where, .cause = Cause::kWrongKey, .detail = "it is signed, but not by a key of the rule"}); }

  void JudgeSimple(const std::string& where, std::string_view payload, std::string_view signature) {
    const Key* key = MadeBy(payload, signature);
    if (key == nullptr) return NoKey(where);
    const auto parsed = ParseSimpleSigning(payload);
    if (!parsed) return Note({.where = where, .cause = Cause::kMalformed, .key = key->name, .detail = parsed.error().Text()});
    Judge(where, *key, {parsed->digest}, parsed->reference, parsed->timestamp);
  }

  Result<> JudgeEnvelope(const std::string& where, const Bundle& bundle) {
    if (bundle.payload_type != kInTotoType) return Error(Reason::kInvalidManifest, "what its envelope holds is no in-toto statement");
    ASSIGN_OR_RETURN(const auto statement, ParseStatement(bundle.payload));
    // An attestation, also one by the same key, says something else about the image, perhaps that it is bad.
    if (statement.predicate_type != kSignPredicate) return {};
    std::vector<digest::Digest> digests;
    std::string name;
    for (const auto& subject : statement.subjects)
      for (const auto& digest : subject.digests) {
        digests.push_back(digest);
        if (digest == subject_.digest && name.empty()) name = subject.name;
      }
    const std::string message = PreAuthentication(bundle.payload_type, bundle.payload);
    bool any = false;
    for (const std::string& signature : bundle.signatures) {
      const Key* key = MadeBy(message, signature);
      if (key == nullptr) continue;
      any = true;
      Judge(where, *key, digests, name, std::nullopt);
    }
    if (!any) NoKey(where);
    return {};
  }

  // Over the bytes of the manifest itself.
  Result<> JudgeMessage(const std::string& where, const Bundle& bundle) {
    ASSIGN_OR_RETURN(const auto fetched, repository_.FetchManifest(limited_, subject_.digest.ToString(), subject_.media_type));
    if (!bundle.message_digest.empty() && bundle.message_digest != bytes::AsText(digest::Digest::Of(bytes::AsView(fetched.bytes)).raw())) {
      Note({.where = where, .cause = Cause::kWrongDigest, .detail = "a signature of it is for another image"});
      return {};
    }
    const Key* key = MadeBy(fetched.bytes, bundle.signatures.front());
    if (key == nullptr) NoKey(where);
    else Judge(where, *key, {subject_.digest}, "", std::nullopt);
    return {};
  }

  void Judge(const std::string& where, const Key& key, const std::vector<digest::Digest>& digests, const std::string& name,
             std::optional<std::int64_t> timestamp) {
    const auto bad = [&](Cause cause, std::string detail) {
      Note({.where = where, .cause = cause, .key = key.name, .detail = std::move(detail)});
    };
    const std::string whose = "the signature of key " + Quoted(key.name) + " ";
    if (std::ranges::find(digests, subject_.digest) == digests.end())
      return bad(Cause::kWrongDigest, whose + "is for another image" + (digests.empty() ? "" : ": " + digests.front().ToString()));
    if (const std::string wrong = WrongIdentity(name); !wrong.empty()) return bad(Cause::kWrongIdentity, whose + wrong);
    const time::WallTime now = ctx_.clock().WallNow();
    if (key.not_before && now < *key.not_before)
      return bad(Cause::kOutOfDate,
                 "key " + Quoted(key.name) + " is not valid before " + kube::FormatTime(*key.not_before));
    if (key.not_after && now >= *key.not_after)
      return bad(Cause::kOutOfDate,
                 "key " + Quoted(key.name) + " was valid until " + kube::FormatTime(*key.not_after));
    if (timestamp) {
      // Compared in seconds: what is signed may be any number.
      const std::int64_t seconds = std::chrono::floor<std::chrono::seconds>(now + kClockSkew).time_since_epoch().count();
      if (*timestamp > seconds) return bad(Cause::kOutOfDate, whose + "was made in the future");
    }
    if (rule_.signed_after) {
      if (!timestamp) return bad(Cause::kOutOfDate, whose + "does not say when it was made, and the rule has signedAfter");
      if (*timestamp < std::chrono::floor<std::chrono::seconds>(*rule_.signed_after).time_since_epoch().count())
        return bad(Cause::kOutOfDate, whose + "was made before " + kube::FormatTime(*rule_.signed_after));
    }
    keys_.insert(key.name);
    Note({.where = where, .cause = Cause::kNone, .key = key.name});
  }

  // "" when the name in the signature is one that the rule takes.
  std::string WrongIdentity(const std::string& text) const {
    if (rule_.identity == Identity::kAny) return "";
    if (text.empty()) return "names no repository, and the rule's identity is not Any";
    const auto raw = reference::Reference::ParseRaw(text);
    const auto full = reference::Reference::Parse(text);
    if (!raw || !full) return "is for " + Quoted(text) + ", which is no name of an image";
    const std::string repository = full->Repository();
    const bool ours = CanonicalRepository(repository) == CanonicalRepository(subject_.name.Repository()) ||
                      std::ranges::any_of(rule_.signed_as, [&](const std::string& pattern) {
                        return MatchesRepository(pattern, repository);
                      });
    if (!ours) return "is for " + Quoted(text);
    if (rule_.identity == Identity::kRepository || subject_.name.digest()) return "";
    if (raw->tag() == subject_.name.tag() || (!raw->tag() && raw->digest() && *raw->digest() == subject_.digest)) return "";
    return "is for " + Quoted(text) + ", and the rule wants the same tag (identity: Exact)";
  }

  const task::Context& ctx_;
  const task::Context& limited_;
  const Rule& rule_;
  const Subject& subject_;
  const SignatureLimits& limits_;
  registry::Repository& repository_;
  Signed signed_;
  std::set<std::string> keys_;
  std::size_t count_ = 0;
  std::uint64_t spent_ = 0;
};

}  // namespace

Result<Signed> LookForSignatures(const task::Context& ctx, const task::Context& limited, const Rule& rule, const Subject& subject,
                                 const SignatureLimits& limits, registry::Repository& repository) {
  return Search(ctx, limited, rule, subject, limits, repository).Run();
}

}  // namespace berth::verify
