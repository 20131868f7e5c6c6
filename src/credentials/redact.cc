#include "credentials/redact.h"

#include <algorithm>

#include "bytes/text.h"

namespace berth::credentials {
namespace {

constexpr std::string_view kGone = "[redacted]";
constexpr std::size_t kTokenLength = 24;
constexpr char kMark = '\x01';  // stands for kGone until all secrets are out: no secret can match across it

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsTokenByte(char c) { return IsLetter(c) || IsDigit(c) || c == '+' || c == '/' || c == '=' || c == '_' || c == '-'; }

// "password=x", "token: x", "Bearer x": what follows is a secret, however short.
void TakeOutNamed(std::string& work) {
  for (const std::string_view name : {"password", "passwd", "token", "secret", "api_key", "apikey", "access_key", "authorization", "bearer", "basic"}) {
    for (auto at = bytes::Lower(work).find(name); at != work.npos; at = bytes::Lower(work).find(name, at + 1)) {
      const bool scheme = name == "bearer" || name == "basic";
      std::size_t start = work.find_first_not_of(" \"'", at + name.size());
      if (start == work.npos) break;
      if (!scheme) {
        if (work[start] != '=' && work[start] != ':') continue;
        start = std::min(work.find_first_not_of(" \"'", start + 1), work.size());
      } else if (start == at + name.size()) {
        continue;
      }
      const std::size_t end = std::min(work.find_first_of(" \t\r\n\"',;&", start), work.size());
      if (end > start) work.replace(start, end - start, 1, kMark);
    }
  }
}

}  // namespace

void Redactor::Add(std::string_view secret) {
  if (secret.size() >= 3) known_.emplace_back(secret);
}

void Redactor::AddWordsOf(std::string_view output) {
  output = output.substr(0, 64u << 10);
  constexpr std::string_view kBetween = " \t\r\n\"',;";
  while (!output.empty()) {
    const auto end = std::min(output.find_first_of(kBetween), output.size());
    if (end >= 6) known_.emplace_back(output.substr(0, end));
    output.remove_prefix(std::min(end + 1, output.size()));
  }
}

std::string Redactor::Apply(std::string_view text, std::size_t keep) const {
  std::string work(text);
  std::ranges::replace(work, kMark, ' ');
  std::vector<std::string_view> secrets;
  for (const auto& secret : known_) secrets.push_back(secret.Reveal());
  std::ranges::sort(secrets, std::greater<>(), &std::string_view::size);  // a secret may be part of another
  for (const auto secret : secrets)
    for (auto at = work.find(secret); at != work.npos; at = work.find(secret, at)) work.replace(at, secret.size(), 1, kMark);
  std::size_t cut = 0;  // a tail may start in the middle of a secret
  for (const auto secret : secrets)
    for (std::size_t length = std::min(secret.size() - 1, work.size()); length >= 3 && length > cut; --length)
      if (work.starts_with(secret.substr(secret.size() - length))) cut = length;
  if (cut > 0) work.replace(0, cut, 1, kMark);
  TakeOutNamed(work);

  std::string out;
  for (std::size_t i = 0; i < work.size();) {
    std::size_t end = i;
    bool letter = false, digit = false;
    for (; end < work.size() && IsTokenByte(work[end]); ++end) {
      letter = letter || IsLetter(work[end]);
      digit = digit || IsDigit(work[end]);
    }
    if (end - i >= kTokenLength && letter && digit) {
      out += kGone;
    } else if (end > i) {
      out.append(work, i, end - i);
    } else {
      if (work[i] == kMark) out += kGone;
      else out += work[i];
      end = i + 1;
    }
    i = end;
  }
  secret::Secret::Wipe(work);
  return out.size() <= keep ? out : out.substr(out.size() - keep);
}

}  // namespace berth::credentials
