#include "policy/record.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <optional>
#include <tuple>

#include "bytes/bytes.h"
#include "digest/digest.h"
#include "json/document.h"

namespace berth::policy {
namespace {

using Kind = AccessCredential::Kind;

constexpr std::string_view kVersion = "kubelet.config.k8s.io/v1beta1", kOldVersion = "kubelet.config.k8s.io/v1alpha1";
constexpr std::string_view kIntentKind = "ImagePullIntent", kRecordKind = "ImagePulledRecord";
// What "no time" is in these files: the first second of year 1, written as null.
constexpr std::chrono::sys_seconds kNoTime{std::chrono::sys_days{std::chrono::year{1} / 1 / 1}};

Error Corrupt(const json::Value& where, std::string_view what) { return Error(Reason::kCorrupt, where.path() + std::string(what)); }

// RFC 3339, fractions of seconds cut off.
std::optional<std::chrono::sys_seconds> ParseTime(std::string_view s) {
  const auto number = [&](std::size_t at, std::size_t length, int low, int high) -> std::optional<int> {
    int n = 0;
    const char* end = s.data() + at + length;
    if (at + length > s.size() || s[at] == '-' || std::from_chars(s.data() + at, end, n).ptr != end) return std::nullopt;
    return n < low || n > high ? std::nullopt : std::optional(n);
  };
  const auto year = number(0, 4, 1, 9999), month = number(5, 2, 1, 12), day = number(8, 2, 1, 31);
  const auto hour = number(11, 2, 0, 23), minute = number(14, 2, 0, 59), second = number(17, 2, 0, 59);
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  if (s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':') return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year{*year}, std::chrono::month{static_cast<unsigned>(*month)},
                                         std::chrono::day{static_cast<unsigned>(*day)}};
  if (!date.ok()) return std::nullopt;
  std::chrono::sys_seconds t =
      std::chrono::sys_days{date} + std::chrono::hours{*hour} + std::chrono::minutes{*minute} + std::chrono::seconds{*second};
  std::size_t at = 19;
  if (at < s.size() && s[at] == '.') {
    const std::size_t end = s.find_first_not_of("0123456789", at + 1);
    if (end == at + 1 || end == std::string_view::npos) return std::nullopt;
    at = end;
  }
  if (s.substr(std::min(at, s.size())) == "Z") return t;
  const auto zone_hour = number(at + 1, 2, 0, 23), zone_minute = number(at + 4, 2, 0, 59);
  if (s.size() != at + 6 || (s[at] != '+' && s[at] != '-') || s[at + 3] != ':' || !zone_hour || !zone_minute) return std::nullopt;
  const auto zone = std::chrono::hours{*zone_hour} + std::chrono::minutes{*zone_minute};
  t = s[at] == '+' ? t - zone : t + zone;
  // Beyond the years that can be written there is no time for us.
  if (t < kNoTime || t >= std::chrono::sys_days{std::chrono::year{10000} / 1 / 1}) return std::nullopt;
  return t;
}

std::string FormatTime(std::chrono::sys_seconds t) {
  const auto day = std::chrono::floor<std::chrono::days>(t);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss time{t - day};
  const auto pad = [](std::int64_t n, std::size_t width) {
    const std::string text = std::to_string(n);
    return std::string(width - std::min(width, text.size()), '0') + text;
  };
  return pad(int{date.year()}, 4) + "-" + pad(unsigned{date.month()}, 2) + "-" + pad(unsigned{date.day()}, 2) + "T" +
         pad(time.hours().count(), 2) + ":" + pad(time.minutes().count(), 2) + ":" + pad(time.seconds().count(), 2) + "Z";
}

Result<> OnlyKeys(const json::Value& object, std::initializer_list<std::string_view> known) {
  if (!object.IsObject()) return Corrupt(object, " must be an object");
  for (const auto& [key, value] : object.Members())
    if (std::find(known.begin(), known.end(), key) == known.end()) return Error(Reason::kCorrupt, value.path() + " is unknown");
  return {};
}

// Absent and null are the empty string.
Result<std::string> OptionalText(const json::Value& object, std::string_view key) {
  const auto value = object.Find(key);
  if (!value || value->IsNull()) return std::string();
  ASSIGN_OR_RETURN(const std::string_view text, value->AsString());
  return std::string(text);
}

// Whether the document is of an older version.
Result<bool> CheckHead(const json::Value& root, std::string_view kind) {
  ASSIGN_OR_RETURN(const std::string found, OptionalText(root, "kind"));
  if (found != kind) return Corrupt(root, ".kind must be " + std::string(kind));
  ASSIGN_OR_RETURN(const std::string version, OptionalText(root, "apiVersion"));
  if (version != kVersion && version != kOldVersion) return Corrupt(root, ".apiVersion must be " + std::string(kVersion));
  return version == kOldVersion;
}

Result<std::vector<AccessCredential>> ReadList(const json::Value& access, std::string_view key, Kind kind) {
  std::vector<AccessCredential> out;
  const auto list = access.Find(key);
  if (!list || list->IsNull()) return out;
  if (!list->IsArray()) return Corrupt(*list, " must be an array");
  for (std::size_t i = 0; i < list->size(); ++i) {
    const auto item = list->at(i);
    RETURN_IF_ERROR(kind == Kind::kSecret ? OnlyKeys(item, {"uid", "namespace", "name", "credentialHash"}) : OnlyKeys(item, {"uid", "namespace", "name"}));
    AccessCredential c{.kind = kind};
    ASSIGN_OR_RETURN(c.uid, OptionalText(item, "uid"));
    ASSIGN_OR_RETURN(c.space, OptionalText(item, "namespace"));
    ASSIGN_OR_RETURN(c.name, OptionalText(item, "name"));
    ASSIGN_OR_RETURN(c.hash, OptionalText(item, "credentialHash"));
    out.push_back(std::move(c));
  }
  return out;
}

void WriteList(json::Writer& w, std::string_view key, const std::vector<AccessCredential>& list) {
  if (list.empty()) return;
  w.Key(key).BeginArray();
  for (const auto& c : list) {
    w.BeginObject().Key("uid").String(c.uid).Key("namespace").String(c.space).Key("name").String(c.name);
    if (c.kind == Kind::kSecret) w.Key("credentialHash").String(c.hash);
    w.EndObject();
  }
  w.EndArray();
}

}  // namespace

AccessCredential AccessOf(const credentials::Credential& credential) {
  AccessCredential out;
  const auto fill = [&](Kind kind, const credentials::Coordinates& c) {
    out.kind = kind;
    out.uid = c.uid, out.space = c.namespace_name, out.name = c.name;
  };
  if (credential.secret) {
    fill(Kind::kSecret, *credential.secret);
    out.hash = credentials::CredentialHash(credential);
  } else if (credential.service_account) {
    fill(Kind::kServiceAccount, *credential.service_account);
  }
  return out;
}

std::string AccessCredential::Describe() const {
  if (kind == Kind::kNode) return "node";
  return (kind == Kind::kSecret ? "secret " : "service account ") + space + "/" + name;
}

bool Merge(PulledRecord& record, const std::string& name, const AccessCredential& credential) {
  const auto [it, fresh] = record.access.try_emplace(name);
  Access& access = it->second;
  if (access.node_pods) return false;
  if (credential.kind == Kind::kNode) {
    access = {.node_pods = true};
    return true;
  }
  auto& list = credential.kind == Kind::kSecret ? access.secrets : access.accounts;
  const auto known = std::find_if(list.begin(), list.end(), [&](const AccessCredential& c) { return c.SameObject(credential); });
  if (known != list.end()) {
    if (known->hash == credential.hash) return fresh;
    known->hash = credential.hash;
    return true;
  }
  list.push_back(credential);
  std::sort(list.begin(), list.end(), [](const AccessCredential& a, const AccessCredential& b) {
    return std::tie(a.space, a.name, a.uid) < std::tie(b.space, b.name, b.uid);
  });
  return true;
}

std::string RecordFileName(std::string_view key) { return "sha256-" + digest::Digest::Of(bytes::AsView(key)).Hex(); }

std::string EncodeIntent(std::string_view image) {
  json::Writer w;
  w.BeginObject().Key("kind").String(kIntentKind).Key("apiVersion").String(kVersion).Key("image").String(image).EndObject();
  return std::move(w).Take() + "\n";
}

Result<DecodedIntent> DecodeIntent(std::string_view text) {
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(text, Reason::kCorrupt));
  const auto root = document.root();
  RETURN_IF_ERROR(OnlyKeys(root, {"kind", "apiVersion", "image"}));
  DecodedIntent out;
  ASSIGN_OR_RETURN(out.outdated, CheckHead(root, kIntentKind));
  ASSIGN_OR_RETURN(out.image, OptionalText(root, "image"));
  return out;
}

std::string EncodeRecord(const PulledRecord& record) {
  json::Writer w;
  w.BeginObject().Key("kind").String(kRecordKind).Key("apiVersion").String(kVersion).Key("lastUpdatedTime");
  if (record.updated == kNoTime) w.Null();
  else w.String(FormatTime(record.updated));
  w.Key("imageRef").String(record.image_ref);
  if (!record.access.empty()) {
    w.Key("credentialMapping").BeginObject();
    for (const auto& [name, access] : record.access) {
      w.Key(name).BeginObject();
      WriteList(w, "kubernetesSecrets", access.secrets);
      WriteList(w, "kubernetesServiceAccounts", access.accounts);
      if (access.node_pods) w.Key("nodePodsAccessible").Bool(true);
      w.EndObject();
    }
    w.EndObject();
  }
  w.EndObject();
  return std::move(w).Take() + "\n";
}

Result<DecodedRecord> DecodeRecord(std::string_view text) {
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(text, Reason::kCorrupt));
  const auto root = document.root();
  RETURN_IF_ERROR(OnlyKeys(root, {"kind", "apiVersion", "lastUpdatedTime", "imageRef", "credentialMapping"}));
  DecodedRecord out;
  ASSIGN_OR_RETURN(out.outdated, CheckHead(root, kRecordKind));
  ASSIGN_OR_RETURN(out.record.image_ref, OptionalText(root, "imageRef"));
  ASSIGN_OR_RETURN(const std::string time, OptionalText(root, "lastUpdatedTime"));
  const auto updated = time.empty() ? std::optional(kNoTime) : ParseTime(time);
  if (!updated) return Corrupt(root, ".lastUpdatedTime must be a time of RFC 3339");
  out.record.updated = *updated;
  const auto mapping = root.Find("credentialMapping");
  if (!mapping || mapping->IsNull()) return out;
  if (!mapping->IsObject()) return Corrupt(*mapping, " must be an object");
  for (const auto& [name, value] : mapping->Members()) {
    RETURN_IF_ERROR(OnlyKeys(value, {"kubernetesSecrets", "kubernetesServiceAccounts", "nodePodsAccessible"}));
    Access access;
    ASSIGN_OR_RETURN(access.secrets, ReadList(value, "kubernetesSecrets", Kind::kSecret));
    ASSIGN_OR_RETURN(access.accounts, ReadList(value, "kubernetesServiceAccounts", Kind::kServiceAccount));
    if (const auto node = value.Find("nodePodsAccessible"); node && !node->IsNull()) { ASSIGN_OR_RETURN(access.node_pods, node->AsBool()); }
    out.record.access.emplace(name, std::move(access));
  }
  return out;
}

}  // namespace berth::policy
