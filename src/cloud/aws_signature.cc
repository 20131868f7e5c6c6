#include "cloud/aws_signature.h"

#include <algorithm>
#include <map>
#include <vector>

#include "bytes/encoding.h"
#include "bytes/text.h"
#include "cloud/tokens.h"
#include "digest/digest.h"
#include "digest/signature.h"
#include "http/url.h"

namespace berth::cloud {
namespace {

std::string HashOf(std::string_view text) { return digest::Digest::Of(bytes::AsView(text)).Hex(); }

std::vector<std::string_view> Split(std::string_view text, char at) {
  std::vector<std::string_view> out;
  for (std::size_t begin = 0;;) {
    const std::size_t end = text.find(at, begin);
    out.push_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return out;
    begin = end + 1;
  }
}

std::string CanonicalPath(std::string_view path) {
  std::vector<std::string_view> kept;
  for (const std::string_view part : Split(path, '/')) {
    if (part == ".." && !kept.empty()) kept.pop_back();
    if (!part.empty() && part != "." && part != "..") kept.push_back(part);
  }
  std::string out;
  for (const std::string_view part : kept) out += "/" + http::PercentEncode(part);
  const bool slash = path.ends_with('/') || out.empty();
  return slash ? out + "/" : out;
}

// What is encoded already stays as it is.
std::string Encoded(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '%' ? std::string(1, c) : http::PercentEncode({&c, 1});
  return out;
}

std::string CanonicalQuery(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> fields;
  if (!query.empty())
    for (const std::string_view field : Split(query, '&')) {
      const auto equals = std::min(field.find('='), field.size());
      fields.emplace_back(Encoded(field.substr(0, equals)), Encoded(field.substr(std::min(equals + 1, field.size()))));
    }
  std::sort(fields.begin(), fields.end());
  std::string out;
  for (const auto& [key, value] : fields) out += (out.empty() ? "" : "&") + key + "=" + value;
  return out;
}

// Lower-case names, values of one name joined in order, runs of blanks made one.
std::map<std::string, std::string> CanonicalHeaders(const http::Headers& headers) {
  std::map<std::string, std::string> out;
  for (const http::Header& header : headers) {
    std::string value;
    for (const char c : Trimmed(header.value))
      if (c != ' ' || !value.ends_with(' ')) value += c;
    const auto [at, fresh] = out.emplace(bytes::Lower(header.name), value);
    if (!fresh) at->second += "," + value;
  }
  return out;
}

std::string SignedNames(const std::map<std::string, std::string>& headers) {
  std::string out;
  for (const auto& [name, value] : headers) out += (out.empty() ? "" : ";") + name;
  return out;
}

}  // namespace

std::string FormatAmzDate(time::WallTime when) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(when);
  const auto days = std::chrono::floor<std::chrono::days>(seconds);
  const std::chrono::year_month_day date(days);
  const std::chrono::hh_mm_ss clock(seconds - days);
  const auto two = [](auto value) { const std::string s = std::to_string(value); return s.size() < 2 ? "0" + s : s; };
  return std::to_string(static_cast<int>(date.year())) + two(static_cast<unsigned>(date.month())) + two(static_cast<unsigned>(date.day())) +
         "T" + two(clock.hours().count()) + two(clock.minutes().count()) + two(clock.seconds().count()) + "Z";
}

std::string AwsCanonicalRequest(const AwsRequest& request) {
  const auto headers = CanonicalHeaders(request.headers);
  std::string out(request.method);
  out += "\n" + CanonicalPath(request.path) + "\n" + CanonicalQuery(request.query) + "\n";
  for (const auto& [name, value] : headers) out += name + ":" + value + "\n";
  return out + "\n" + SignedNames(headers) + "\n" + HashOf(request.body);
}

secret::Secret SignAwsRequest(const AwsRequest& request, const AwsKeys& keys) {
  const std::string stamp = FormatAmzDate(request.when), day = stamp.substr(0, 8);
  const std::string scope = day + "/" + std::string(request.region) + "/" + std::string(request.service) + "/aws4_request";
  const std::string to_sign = "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + HashOf(AwsCanonicalRequest(request));

  std::string seed = "AWS4" + std::string(keys.secret.Reveal());
  auto key = digest::HmacSha256(bytes::AsView(seed), bytes::AsView(day));
  secret::Secret::Wipe(seed);
  for (const std::string_view step : {request.region, request.service, std::string_view("aws4_request"), std::string_view(to_sign)})
    key = digest::HmacSha256(key, bytes::AsView(step));

  return secret::Secret("AWS4-HMAC-SHA256 Credential=" + keys.id + "/" + scope + ", SignedHeaders=" +
                        SignedNames(CanonicalHeaders(request.headers)) + ", Signature=" + bytes::ToHex(key));
}

}  // namespace berth::cloud
