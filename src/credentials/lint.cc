#include "credentials/lint.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "bytes/text.h"
#include "json/document.h"

namespace berth::credentials {
namespace {

using Severity = LintFinding::Severity;
using Path = std::vector<std::string>;

// On which line each member of a valid document starts, down to three names deep. Arrays are passed over.
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) { Read({}); }
  int Of(const Path& path) const {
    const auto it = lines_.find(path);
    return it == lines_.end() ? 1 : it->second;
  }

 private:
  void Blank() {
    for (; at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos; ++at_)
      if (text_[at_] == '\n') ++line_;
  }
  std::string_view Token() {  // a string with its quotes
    const std::size_t start = at_++;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    at_ = std::min(at_ + 1, text_.size());
    return text_.substr(start, at_ - start);
  }
  // Consumes one value; without recursion beyond three levels.
  void Read(const Path& path) {
    Blank();
    if (at_ >= text_.size()) return;
    if (text_[at_] == '{' && path.size() < 3) {
      ++at_;
      for (Blank(); at_ < text_.size() && text_[at_] != '}'; Blank()) {
        if (text_[at_] != '"') {
          ++at_;
          continue;
        }
        const int line = line_;
        const auto key = json::Document::Parse("[" + std::string(Token()) + "]", Reason::kUsage);
        Path inner = path;
        inner.emplace_back(key ? *key->root().at(0).AsString() : "");
        lines_.emplace(inner, line);
        for (Blank(); at_ < text_.size() && text_[at_] == ':'; Blank()) ++at_;
        Read(inner);
      }
      ++at_;
      return;
    }
    for (int depth = 0; at_ < text_.size();) {
      const char c = text_[at_];
      if (c == '"') {
        Token();
      } else if (depth == 0 && (c == ',' || c == '}' || c == ']')) {
        return;
      } else {
        if (c == '{' || c == '[') ++depth;
        if (c == '}' || c == ']') --depth;
        if (c == '\n') ++line_;
        ++at_;
      }
      if (depth == 0 && (c == '"' || c == '}' || c == ']')) return;
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int line_ = 1;
  std::map<Path, int> lines_;
};

class Linter {
 public:
  Linter(std::string_view text, FileFormat format, Profile profile) : text_(text), format_(format), profile_(profile) {}

  std::vector<LintFinding> Run() {
    const DockerConfigLimits limits;
    const auto document = json::Document::Parse(text_, Reason::kInvalidCredentials, {.bytes = limits.bytes, .depth = limits.depth});
    if (!document) return {{Severity::kError, LineOf(document.error().message()), "", document.error().message()}};
    const json::Value root = document->root();
    if (!root.IsObject()) return {{Severity::kError, 1, "", "must be an object"}};
    const Lines lines(text_);
    lines_ = &lines;
    if (format_ == FileFormat::kDockerCfg) {
      Entries(root, {});
    } else {
      for (const auto& [key, value] : root.Members()) {
        const Path path{std::string(key)};
        const std::string name = bytes::Lower(key);
        if (name == "auths" && !value.IsNull()) Entries(value, path);
        if (name == "credsstore" && value.IsString() && value.AsString()->size() > 0)
          Add(Severity::kError, path, "credsStore: " + Quoted(*value.AsString()), "ignored by the kubelet; use a credential provider plug-in");
        if (name == "credhelpers" && value.size() > 0)
          for (const auto& [host, helper] : value.Members())
            Add(Severity::kError, {path[0], std::string(host)}, "credHelpers[" + Quoted(host) + "]",
                "ignored by the kubelet; use a credential provider plug-in");
      }
      if (!root.Members().empty() && std::ranges::none_of(root.Members(), [](const auto& m) { return bytes::Lower(m.first) == "auths"; }))
        Add(Severity::kWarning, {}, "auths", "is missing: this file has no credentials; is it a .dockercfg?");
    }
    std::ranges::stable_sort(findings_, {}, &LintFinding::line);
    return std::move(findings_);
  }

 private:
  // "… at byte 17": where the JSON reader stopped.
  int LineOf(std::string_view message) const {
    constexpr std::string_view kAt = "at byte ";
    const auto at = message.find(kAt);
    std::size_t offset = 0;
    if (at != message.npos)
      for (std::size_t i = at + kAt.size(); i < message.size() && message[i] >= '0' && message[i] <= '9' && offset <= text_.size(); ++i)
        offset = offset * 10 + static_cast<std::size_t>(message[i] - '0');
    return 1 + static_cast<int>(std::ranges::count(text_.substr(0, offset), '\n'));
  }
  void Add(Severity severity, const Path& path, std::string place, std::string message) {
    findings_.push_back({severity, lines_->Of(path), std::move(place), std::move(message)});
  }
  // A rule of the kubelet's: as severe as said where it rules, else a note.
  void AddKubelets(Severity severity, const Path& path, const std::string& place, const std::string& message) {
    if (profile_ == Profile::kKubelet) Add(severity, path, place, message);
    else Add(Severity::kNote, path, place, "profile Kubelet: " + message);
  }

  void Entries(const json::Value& auths, const Path& path) {
    if (!auths.IsObject()) return Add(Severity::kError, path, "auths", "must be an object");
    std::map<std::string, std::string> seen;  // index key, as it was written
    for (const auto& [key, value] : auths.Members()) {
      Path at = path;
      at.emplace_back(key);
      const std::string place = path.empty() ? "[" + Quoted(key) + "]" : "auths[" + Quoted(key) + "]";
      Key(key, at, place, seen);
      Entry(value, at, place);
    }
  }

  void Key(std::string_view written, const Path& at, const std::string& place, std::map<std::string, std::string>& seen) {
    const auto key = IndexKey(profile_, written);
    if (!key) return Add(Severity::kError, at, place, WhyNot(profile_, written, ""));
    if (const auto [other, fresh] = seen.emplace(*key, written); !fresh)
      Add(Severity::kWarning, at, place, "the same registry as " + Quoted(other->second) + "; both are tried");
    const auto slash = key->find('/');
    const std::string host = key->substr(0, slash);
    const std::string path = slash == key->npos ? "" : key->substr(slash);
    const std::string name = host.substr(0, host.find(':'));
    if (name.empty()) return Add(Severity::kError, at, place, "names no registry");
    if (bytes::Lower(host) != host) Add(Severity::kWarning, at, place, "case-sensitive: does not match " + bytes::Lower(host));
    if (profile_ == Profile::kDocumented && !IndexKey(Profile::kKubelet, written))
      Add(Severity::kNote, at, place, "profile Kubelet: " + WhyNot(Profile::kKubelet, written, ""));
    else if (written.find('?') != written.npos)
      AddKubelets(Severity::kError, at, place, "\"?\" starts a query, what follows it is dropped (the docs say it is a wildcard)");
    if (name == "*") {
      if (profile_ == Profile::kDocumented) Add(Severity::kWarning, at, place, "matches every registry: anybody's registry gets this password");
      else Add(Severity::kWarning, at, place, "matches names without a dot only");
    } else if (name.starts_with("*") && name[1] != '.') {
      const std::string rest = name.substr(1);
      Add(Severity::kWarning, at, place,
          "also matches evil" + rest + "; write " + Quoted("*." + rest) + " or " + Quoted(rest));
    }
    if (path.find('*') != path.npos) Add(Severity::kWarning, at, place, "\"*\" in a path is no wildcard");
    else if (path == "/v1" || path == "/v2")
      Add(Severity::kWarning, at, place, "only images below " + path + " match; write " + Quoted(std::string(written) + "/") + " for all of the registry");
    else if (!path.empty() && !path.ends_with('/'))
      AddKubelets(Severity::kWarning, at, place, "byte prefix: also sent to " + host + path + "mate/…; write " + Quoted(host + path + "/"));
  }

  void Entry(const json::Value& entry, const Path& at, const std::string& place) {
    if (entry.IsNull()) return Add(Severity::kWarning, at, place, kEmpty);
    if (!entry.IsObject()) return Add(Severity::kError, at, place, "must be an object; the whole file is refused");
    bool secret = false, user = false, broken = false;
    for (const auto& [written, value] : entry.Members()) {
      const std::string name = bytes::Lower(written);
      Path inner = at;
      inner.emplace_back(written);
      const std::string member = place + "." + name;
      const bool known = name == "username" || name == "password" || name == "auth" || name == "email";
      const bool token = name == "identitytoken" || name == "registrytoken";
      if ((!known && !token) || value.IsNull()) continue;
      if (!value.IsString()) {
        broken = true;
        Add(Severity::kError, inner, member, "must be a string; the whole file is refused");
        continue;
      }
      const auto text = *value.AsString();
      if (text.empty()) continue;
      if (token) AddKubelets(Severity::kError, inner, member, "ignored by the kubelet");
      user = user || name == "username";
      secret = secret || name == "password" || (token && profile_ == Profile::kDocumented);
      if (name != "auth") continue;
      if (const auto decoded = DecodeAuth(text); !decoded) {
        broken = true;
        Add(Severity::kError, inner, member, decoded.error().message() + "; the whole file is refused");
      } else {
        user = user || !decoded->username.empty();
        secret = secret || !decoded->password.empty();
        if (const auto other = entry.Find("username"); other && other->IsString() && *other->AsString() != decoded->username)
          Add(Severity::kWarning, inner, member, "names another user than username, and wins");
      }
    }
    if (!user && !secret && !broken) Add(Severity::kWarning, at, place, kEmpty);
    else if (user && !secret && !broken) Add(Severity::kWarning, at, place, "has no password");
  }

  static constexpr const char* kEmpty = "has no user name and no password: it is tried all the same, and no anonymous attempt is made";

  std::string_view text_;
  FileFormat format_;
  Profile profile_;
  const Lines* lines_ = nullptr;
  std::vector<LintFinding> findings_;
};

}  // namespace

std::string_view Name(LintFinding::Severity severity) {
  constexpr std::array<std::string_view, 3> kNames{"note", "warning", "error"};
  return kNames[static_cast<std::size_t>(severity)];
}

std::vector<LintFinding> LintDockerConfig(std::string_view text, FileFormat format, Profile profile) {
  return Linter(text, format, profile).Run();
}

std::string LintJson(std::string_view file, const std::vector<LintFinding>& findings) {
  json::Writer w;
  w.BeginObject().Key("file").String(file).Key("findings").BeginArray();
  for (const auto& f : findings) {
    w.BeginObject().Key("line").Int(f.line).Key("place").String(f.place).Key("severity").String(Name(f.severity));
    w.Key("message").String(f.message).EndObject();
  }
  w.EndArray();
  const auto count = [&](Severity severity) {
    return static_cast<std::int64_t>(std::ranges::count(findings, severity, &LintFinding::severity));
  };
  w.Key("warnings").Int(count(Severity::kWarning)).Key("errors").Int(count(Severity::kError)).EndObject();
  return std::move(w).Take();
}

}  // namespace berth::credentials
