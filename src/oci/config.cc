#include <algorithm>
#include <charconv>

#include "bytes/text.h"
#include "oci/fields.h"
#include "oci/oci.h"

namespace berth::oci {
namespace {

constexpr std::int64_t kMaxId = 0x7FFFFFFF;     // what runtimes accept as uid and gid
constexpr std::size_t kMaxUser = 256;
constexpr std::size_t kMaxPathText = 4096;      // PATH_MAX

constexpr std::string_view kConfigKeys[] = {"architecture", "config", "created", "os", "os.features", "os.version", "rootfs", "variant"};
constexpr std::string_view kRootFsKeys[] = {"diff_ids", "type"};
constexpr std::string_view kRunKeys[] = {"Cmd",  "Entrypoint", "Env",     "ExposedPorts", "Labels", "StopSignal",
                                         "User", "Volumes",    "WorkingDir"};

bool HasNul(std::string_view s) { return s.find('\0') != std::string_view::npos; }

std::string_view UserPart(std::string_view user) { return user.substr(0, user.find(':')); }
bool IsNumber(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}
std::optional<std::int64_t> IdOf(std::string_view s) {
  std::int64_t id = 0;
  if (!IsNumber(s) || (s.size() > 1 && s[0] == '0')) return std::nullopt;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), id);
  return error == std::errc() && id <= kMaxId ? std::optional(id) : std::nullopt;
}

// One side of "user:group": empty, a number, or a name that nobody can take for a number.
bool IsUserOrGroup(std::string_view s) {
  if (s.empty()) return true;
  if (IsNumber(s)) return IdOf(s).has_value();
  return s.front() != '+' && s.front() != '-' && s.front() != ' ' && s.back() != ' ' && std::none_of(s.begin(), s.end(), bytes::IsControl);
}

bool IsUser(std::string_view user) {
  const std::size_t colon = user.find(':');
  const std::string_view group = colon == std::string_view::npos ? "" : user.substr(colon + 1);
  return user.size() <= kMaxUser && group.find(':') == std::string_view::npos && IsUserOrGroup(UserPart(user)) && IsUserOrGroup(group);
}

bool GoesUp(std::string_view path) {
  for (std::size_t from = 0; from <= path.size();) {
    const std::size_t end = std::min(path.find('/', from), path.size());
    if (path.substr(from, end - from) == "..") return true;
    from = end + 1;
  }
  return false;
}

Result<> CheckTexts(const Fields& run, std::string_view key, const std::vector<std::string>& texts) {
  if (std::any_of(texts.begin(), texts.end(), HasNul)) return run.Bad(key, "has a NUL in it");
  return {};
}

Result<> ReadRun(const Fields& run, ImageConfig& out) {
  ASSIGN_OR_RETURN(out.user, run.Text("User"));
  if (!IsUser(out.user)) return run.Bad("User", "is neither a name nor a number up to 2147483647, with or without a group");
  ASSIGN_OR_RETURN(out.env, run.Texts("Env"));
  RETURN_IF_ERROR(CheckTexts(run, "Env", out.env));
  for (const std::string& variable : out.env) {
    // Files such as /etc/passwd are written from it.
    if (variable.starts_with("HOME=") && std::any_of(variable.begin(), variable.end(), bytes::IsControl)) {
      return run.Bad("Env", "sets HOME to a text with control characters");
    }
  }
  ASSIGN_OR_RETURN(out.entrypoint, run.Texts("Entrypoint"));
  RETURN_IF_ERROR(CheckTexts(run, "Entrypoint", out.entrypoint));
  ASSIGN_OR_RETURN(out.cmd, run.Texts("Cmd"));
  RETURN_IF_ERROR(CheckTexts(run, "Cmd", out.cmd));
  ASSIGN_OR_RETURN(out.working_dir, run.Text("WorkingDir"));
  if (HasNul(out.working_dir) || out.working_dir.size() >= kMaxPathText) return run.Bad("WorkingDir", "is no path");
  ASSIGN_OR_RETURN(out.stop_signal, run.Text("StopSignal"));
  RETURN_IF_ERROR(CheckTexts(run, "StopSignal", {out.stop_signal}));
  ASSIGN_OR_RETURN(out.labels, run.TextMap("Labels"));
  ASSIGN_OR_RETURN(out.volumes, run.Keys("Volumes"));
  for (const std::string& volume : out.volumes) {
    if (volume.empty() || HasNul(volume) || volume.size() >= kMaxPathText || GoesUp(volume)) {
      return run.Bad("Volumes", "names " + Quoted(std::string_view(volume).substr(0, 64)) + ", which is no path inside an image");
    }
  }
  ASSIGN_OR_RETURN(out.exposed_ports, run.Keys("ExposedPorts"));
  return CheckTexts(run, "ExposedPorts", out.exposed_ports);
}

Result<> ReadRootFs(const Fields& root, const DocumentLimits& limits, ImageConfig& out) {
  ASSIGN_OR_RETURN(const json::Value value, root.Get("rootfs"));
  ASSIGN_OR_RETURN(const Fields rootfs, Fields::Of(value, Reason::kInvalidConfig, kRootFsKeys));
  ASSIGN_OR_RETURN(const std::string type, rootfs.Text("type"));
  if (type != "layers") return rootfs.Bad("type", "must be \"layers\"");
  // null is how Go writes the empty list of an image without layers.
  RETURN_IF_ERROR(rootfs.Get("diff_ids"));
  ASSIGN_OR_RETURN(const std::vector<json::Value> ids, rootfs.Items("diff_ids"));
  if (ids.size() > limits.layers) {
    return Error(Reason::kLimitExceeded, "$.rootfs.diff_ids has " + std::to_string(ids.size()) + " entries: more than " +
                                             std::to_string(limits.layers) + " (limit: layers)");
  }
  for (const json::Value& id : ids) {
    ASSIGN_OR_RETURN(const std::string_view text, id.AsString());
    Result<digest::Digest> digest = digest::Digest::Parse(text);
    if (!digest) return std::move(digest).error().Context(id.path());
    out.diff_ids.push_back(*digest);
  }
  return {};
}

}  // namespace

Result<ImageConfig> ImageConfig::Parse(std::string_view bytes, const DocumentLimits& limits) {
  Result<json::Document> document = ParseJson(bytes, Reason::kInvalidConfig, limits.document_bytes, "image config");
  if (!document) {
    // Within its bytes, a config that is too deep or too full is not a config (B-46).
    if (bytes.size() <= limits.document_bytes) return Error(Reason::kInvalidConfig, document.error().Text());
    return std::move(document).error();
  }
  ASSIGN_OR_RETURN(const Fields root, Fields::Of(document->root(), Reason::kInvalidConfig, kConfigKeys));
  ImageConfig out;
  ASSIGN_OR_RETURN(out.platform, ReadPlatform(root));
  ASSIGN_OR_RETURN(out.created, root.Text("created"));
  RETURN_IF_ERROR(ReadRootFs(root, limits, out));
  if (const std::optional<json::Value> config = root.Find("config")) {
    ASSIGN_OR_RETURN(const Fields run, Fields::Of(*config, Reason::kInvalidConfig, kRunKeys));
    RETURN_IF_ERROR(ReadRun(run, out));
  }
  out.raw = bytes;
  return out;
}

std::optional<std::int64_t> ImageConfig::Uid() const { return IdOf(UserPart(user)); }

std::string ImageConfig::Username() const { return Uid() ? "" : std::string(UserPart(user)); }

Result<> CheckConfigFits(const Manifest& manifest, const ImageConfig& config) {
  if (manifest.layers().size() == config.diff_ids.size()) return {};
  return Error(Reason::kDigestMismatch, "the manifest has " + std::to_string(manifest.layers().size()) + " layers, the image config " +
                                            std::to_string(config.diff_ids.size()) + " diff IDs");
}

Result<> CheckPlatform(const ImageConfig& config, const PlatformMatcher& host) {
  const Platform is = config.platform.Normalized();
  for (const Platform& fit : host.acceptable()) {
    if ((is.os.empty() || is.os == fit.os) && (is.architecture.empty() || is.architecture == fit.architecture)) return {};
  }
  return Error(Reason::kNoMatch, "the image is for " + is.ToString() + ", not " + host.host().ToString());
}

Platform EffectivePlatform(const ImageConfig& config, const std::optional<Platform>& promised, const PlatformMatcher& host) {
  Platform is = promised ? *promised : config.platform;
  const auto fill = [](std::string& part, const std::string& second, const std::string& third) {
    if (part.empty()) part = second.empty() ? third : second;
  };
  fill(is.os, config.platform.os, host.host().os);
  fill(is.architecture, config.platform.architecture, host.host().architecture);
  is = is.Normalized();
  if (promised || host.Rank(is)) return is;
  const auto& all = host.acceptable();
  const auto fit = std::ranges::find_if(all, [&](const Platform& p) { return p.os == is.os && p.architecture == is.architecture; });
  return fit == all.end() ? is : *fit;
}

std::vector<digest::Digest> ChainIds(const std::vector<digest::Digest>& diff_ids) {
  std::vector<digest::Digest> out;
  out.reserve(diff_ids.size());
  for (const digest::Digest& id : diff_ids) {
    out.push_back(out.empty() ? id : digest::Digest::Of(bytes::AsView(out.back().ToString() + ' ' + id.ToString())));
  }
  return out;
}

}  // namespace berth::oci
