#include "credentials/go_text.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "bytes/text.h"
#include "json/utf8.h"

namespace berth::credentials {
namespace {

using std::string_view_literals::operator""sv;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsAlnum(char c) { return IsDigit(c) || IsLower(c) || (c >= 'A' && c <= 'Z'); }
bool IsHex(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

// [A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?
bool IsNamePart(std::string_view name) {
  return !name.empty() && IsAlnum(name.front()) && IsAlnum(name.back()) &&
         std::ranges::all_of(name, [](char c) { return IsAlnum(c) || c == '-' || c == '_' || c == '.'; });
}

bool IsSubdomain(std::string_view text) {
  for (bool more = true; more;) {
    const auto dot = text.find('.');
    const std::string_view label = text.substr(0, dot);
    const auto edge = [](char c) { return IsLower(c) || IsDigit(c); };
    if (label.empty() || !edge(label.front()) || !edge(label.back()) ||
        !std::ranges::all_of(label, [&](char c) { return edge(c) || c == '-'; }))
      return false;
    more = dot != text.npos;
    if (more) text.remove_prefix(dot + 1);
  }
  return true;
}

constexpr std::string_view kNameExamples =
    "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
    "'123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
constexpr std::string_view kSubdomainRule =
    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with "
    "an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*"
    "[a-z0-9])?)*')";

}  // namespace

void AppendGoJson(std::string& out, std::string_view text) {
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    const std::size_t n = json::Utf8SequenceLength(text.substr(i));
    if (n == 0) {
      out += "\\ufffd";
      ++i;
      continue;
    }
    const std::string_view sequence = text.substr(i, n);
    i += n;
    if (c == '"' || c == '\\') (out += '\\') += c;
    else if (c == '\b') out += "\\b";
    else if (c == '\f') out += "\\f";
    else if (c == '\n') out += "\\n";
    else if (c == '\r') out += "\\r";
    else if (c == '\t') out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == '<' || c == '>' || c == '&') {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      out += escape;
    } else if (sequence == "\u2028"sv) out += "\\u2028";
    else if (sequence == "\u2029"sv) out += "\\u2029";
    else out += sequence;
  }
  out += '"';
}

std::string GoJson(std::string_view text) {
  std::string out;
  AppendGoJson(out, text);
  return out;
}

std::string GoUrlProblem(std::string_view url) {
  if (bytes::HasControls(url)) return "net/url: invalid control character in URL";
  url = url.substr(0, url.find('#'));
  std::string_view rest = url.substr(std::min(url.size(), url.find("://") + 3));
  rest = rest.substr(0, rest.find('?'));
  const auto slash = rest.find('/');
  std::string_view host = rest.substr(0, slash);
  const std::string_view path = slash == rest.npos ? ""sv : rest.substr(slash);
  if (const auto at = host.rfind('@'); at != host.npos) {
    const std::string_view user = host.substr(0, at);
    if (!std::ranges::all_of(user, [](char c) { return IsAlnum(c) || "-._:~!$&'()*+,;=%@"sv.find(c) != ""sv.npos; }))
      return "net/url: invalid userinfo";
    host = host.substr(at + 1);
  }
  const auto bad_escape = [](std::string_view text, bool in_host) -> std::string {
    for (std::size_t i = text.find('%'); i != text.npos; i = text.find('%', i + 1)) {
      const std::string_view shown = text.substr(i, 3);
      if (shown.size() < 3 || !IsHex(shown[1]) || !IsHex(shown[2]) || (in_host && shown[1] < '8' && shown != "%25"))
        return "invalid URL escape " + GoJson(shown);
    }
    return "";
  };
  std::string_view port;
  if (host.starts_with('[')) {
    const auto end = host.rfind(']');
    if (end == host.npos) return "missing ']' in host";
    port = host.substr(end + 1);
    if (!port.empty() && port[0] != ':') return "invalid port " + GoJson(port) + " after host";
  } else if (const auto colon = host.rfind(':'); colon != host.npos) {
    port = host.substr(colon);
  }
  if (!port.empty() && !std::ranges::all_of(port.substr(1), IsDigit)) return "invalid port " + GoJson(port) + " after host";
  if (auto problem = bad_escape(host, true); !problem.empty()) return problem;
  for (const char c : host)
    if (static_cast<unsigned char>(c) < 0x80 && !IsAlnum(c) && "-_.~!$&'()*+,;=:[]<>\"%"sv.find(c) == ""sv.npos)
      return "invalid character " + GoJson(std::string_view(&c, 1)) + " in host name";
  // A bracket that does not open an address is a character like any other to Go's first test, and refused by its second.
  if (!host.starts_with('[') && host.find_first_of("[]") != host.npos)
    return "invalid character " + GoJson(host.substr(host.find_first_of("[]"), 1)) + " in host name";
  return bad_escape(path, false);
}

std::string QualifiedNameProblem(std::string_view key) {
  const auto slash = key.find('/');
  std::string_view name = key;
  std::string problems;
  const auto add = [&](std::string text) { problems += (problems.empty() ? "" : "; ") + text; };
  if (slash != key.npos) {
    const std::string_view prefix = key.substr(0, slash);
    name = key.substr(slash + 1);
    if (name.find('/') != name.npos)
      return "a qualified name must consist of " + std::string(kNameExamples) +
             " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
    if (prefix.empty()) {
      add("prefix part must be non-empty");
    } else {
      if (prefix.size() > 253) add("prefix part must be no more than 253 bytes");
      if (!IsSubdomain(prefix)) add(std::string(kSubdomainRule));
    }
  }
  if (name.empty()) add("name part must be non-empty");
  else if (name.size() > 63) add("name part must be no more than 63 bytes");
  if (!IsNamePart(name)) add("name part must consist of " + std::string(kNameExamples));
  return problems;
}

}  // namespace berth::credentials
