#include "verify/payload.h"

#include <algorithm>

#include "bytes/encoding.h"
#include "json/document.h"

namespace berth::verify {
namespace {

using json::Value;

constexpr std::size_t kReferenceBytes = 4096;

Error Bad(std::string what) { return Error(Reason::kInvalidManifest, std::move(what)); }

Result<json::Document> Read(std::string_view text, std::size_t limit, std::string_view what) {
  auto document = json::Document::Parse(text, Reason::kInvalidManifest, {.bytes = limit, .depth = 16, .values = 10'000});
  if (!document) return std::move(document).error().Context(std::string(what));
  if (!document->root().IsObject()) return Bad("the " + std::string(what) + " is no JSON object");
  return document;
}

Result<> OnlyThese(const Value& object, std::initializer_list<std::string_view> known) {
  if (!object.IsObject()) return Bad(object.path() + " is no object");
  for (const auto& [name, value] : object.Members())
    if (std::ranges::find(known, name) == known.end()) return Bad(object.path() + " has a member that we do not know");
  return {};
}

Result<std::string> Text(const Value& object, std::string_view key) {
  ASSIGN_OR_RETURN(const Value value, object.Get(key));
  ASSIGN_OR_RETURN(const std::string_view text, value.AsString());
  return std::string(text);
}

Result<std::string> Decoded(const Value& object, std::string_view key) {
  ASSIGN_OR_RETURN(const std::string text, Text(object, key));
  auto raw = bytes::FromBase64(text);
  if (!raw) return Bad(object.path() + "." + std::string(key) + " is no base64");
  return *std::move(raw);
}

}  // namespace

Result<SimpleSigning> ParseSimpleSigning(std::string_view text) {
  ASSIGN_OR_RETURN(const auto document, Read(text, kPayloadBytes, "signed payload"));
  const Value root = document.root();
  RETURN_IF_ERROR(OnlyThese(root, {"critical", "optional"}));
  ASSIGN_OR_RETURN(const Value critical, root.Get("critical"));
  RETURN_IF_ERROR(OnlyThese(critical, {"identity", "image", "type"}));
  ASSIGN_OR_RETURN(const std::string type, Text(critical, "type"));
  if (type != "cosign container image signature") return Bad("the signed payload is of another type than cosign's");
  ASSIGN_OR_RETURN(const Value image, critical.Get("image"));
  RETURN_IF_ERROR(OnlyThese(image, {"docker-manifest-digest"}));
  ASSIGN_OR_RETURN(const std::string digest, Text(image, "docker-manifest-digest"));
  ASSIGN_OR_RETURN(const Value identity, critical.Get("identity"));
  RETURN_IF_ERROR(OnlyThese(identity, {"docker-reference"}));
  SimpleSigning signed_;
  ASSIGN_OR_RETURN(signed_.reference, Text(identity, "docker-reference"));
  if (signed_.reference.size() > kReferenceBytes) return Bad("the name in the signed payload is longer than 4 KiB");
  auto parsed = digest::Digest::Parse(digest);
  if (!parsed) return Bad("the digest in the signed payload is malformed");
  signed_.digest = *parsed;
  if (const auto optional = root.Find("optional"); optional && !optional->IsNull()) {
    if (!optional->IsObject()) return Bad("$.optional is no object");
    if (const auto at = optional->Find("timestamp"); at && !at->IsNull()) {
      ASSIGN_OR_RETURN(signed_.timestamp, at->AsInt64());
    }
  }
  return signed_;
}

bool IsBundleType(std::string_view media_type) {
  return media_type == "application/vnd.dev.sigstore.bundle.v0.3+json" || media_type == "application/vnd.dev.sigstore.bundle+json;version=0.3";
}

Result<Bundle> ParseBundle(std::string_view text) {
  ASSIGN_OR_RETURN(const auto document, Read(text, kBundleBytes, "bundle"));
  const Value root = document.root();
  RETURN_IF_ERROR(OnlyThese(root, {"mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature"}));
  ASSIGN_OR_RETURN(const std::string type, Text(root, "mediaType"));
  if (!IsBundleType(type)) return Bad("the bundle is of another version than 0.3");
  const auto envelope = root.Find("dsseEnvelope"), message = root.Find("messageSignature");
  if (envelope.has_value() == message.has_value()) return Bad("the bundle must hold an envelope or a message signature, and not both");
  Bundle bundle;
  if (message) {
    RETURN_IF_ERROR(OnlyThese(*message, {"messageDigest", "signature"}));
    bundle.message = true;
    ASSIGN_OR_RETURN(bundle.signatures.emplace_back(), Decoded(*message, "signature"));
    if (const auto digest = message->Find("messageDigest")) {
      ASSIGN_OR_RETURN(const std::string algorithm, Text(*digest, "algorithm"));
      if (algorithm != "SHA2_256") return Bad("the message digest of the bundle is no SHA-256");
      ASSIGN_OR_RETURN(bundle.message_digest, Decoded(*digest, "digest"));
      if (bundle.message_digest.size() != 32) return Bad("the message digest of the bundle is no SHA-256");
    }
    return bundle;
  }
  RETURN_IF_ERROR(OnlyThese(*envelope, {"payload", "payloadType", "signatures"}));
  ASSIGN_OR_RETURN(bundle.payload_type, Text(*envelope, "payloadType"));
  ASSIGN_OR_RETURN(bundle.payload, Decoded(*envelope, "payload"));
  ASSIGN_OR_RETURN(const Value signatures, envelope->Get("signatures"));
  if (!signatures.IsArray() || signatures.size() == 0 || signatures.size() > 8) return Bad("the envelope must have 1 to 8 signatures");
  for (std::size_t i = 0; i < signatures.size(); ++i) {
    RETURN_IF_ERROR(OnlyThese(signatures.at(i), {"sig", "keyid"}));
    ASSIGN_OR_RETURN(bundle.signatures.emplace_back(), Decoded(signatures.at(i), "sig"));
  }
  return bundle;
}

std::string PreAuthentication(std::string_view type, std::string_view payload) {
  return "DSSEv1 " + std::to_string(type.size()) + " " + std::string(type) + " " + std::to_string(payload.size()) + " " + std::string(payload);
}

Result<Statement> ParseStatement(std::string_view text) {
  ASSIGN_OR_RETURN(const auto document, Read(text, kBundleBytes, "in-toto statement"));
  const Value root = document.root();
  RETURN_IF_ERROR(OnlyThese(root, {"_type", "subject", "predicateType", "predicate"}));
  ASSIGN_OR_RETURN(const std::string type, Text(root, "_type"));
  if (type != "https://in-toto.io/Statement/v1" && type != "https://in-toto.io/Statement/v0.1") return Bad("the statement is of an unknown type");
  Statement statement;
  ASSIGN_OR_RETURN(statement.predicate_type, Text(root, "predicateType"));
  ASSIGN_OR_RETURN(const Value subjects, root.Get("subject"));
  if (!subjects.IsArray() || subjects.size() == 0 || subjects.size() > 64) return Bad("the statement must have 1 to 64 subjects");
  for (std::size_t i = 0; i < subjects.size(); ++i) {
    const Value item = subjects.at(i);
    if (!item.IsObject()) return Bad(item.path() + " is no object");
    Statement::Subject subject;
    if (const auto name = item.Find("name"); name && !name->IsNull()) {
      ASSIGN_OR_RETURN(subject.name, Text(item, "name"));
      if (subject.name.size() > kReferenceBytes) return Bad(item.path() + ".name is longer than 4 KiB");
    }
    ASSIGN_OR_RETURN(const Value digests, item.Get("digest"));
    if (!digests.IsObject()) return Bad(digests.path() + " is no object");
    for (const auto& [algorithm, value] : digests.Members()) {
      if (algorithm != "sha256" && algorithm != "sha384" && algorithm != "sha512") continue;
      ASSIGN_OR_RETURN(const std::string_view hex, value.AsString());
      auto digest = digest::Digest::Parse(std::string(algorithm) + ":" + std::string(hex));
      if (!digest) return Bad(digests.path() + " has a malformed digest");
      subject.digests.push_back(*digest);
    }
    statement.subjects.push_back(std::move(subject));
  }
  return statement;
}

Result<std::optional<digest::Digest>> SubjectOf(std::string_view manifest) {
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(manifest, Reason::kInvalidManifest));
  const auto subject = document.root().Find("subject");
  if (!subject || subject->IsNull()) return std::optional<digest::Digest>();
  ASSIGN_OR_RETURN(const std::string text, Text(*subject, "digest"));
  ASSIGN_OR_RETURN(const auto digest, digest::Digest::Parse(text));
  return std::optional(digest);
}

}  // namespace berth::verify
