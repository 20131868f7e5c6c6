// httpd/message.h: what a handler gets and what it gives back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "httpd/stream.h"

namespace berth::httpd {

using Fields = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method;   // as sent: "GET"
  std::string path;     // decoded; starts with '/'; no NUL, no segment "." or "..", no '/' that was encoded
  Fields query;         // decoded, in order
  Fields fields;        // header fields, in order, names as sent
  std::string body;

  // The first field of that name (ASCII, case ignored), or "".
  std::string_view Field(std::string_view name) const;
  // The first query parameter of that name; nullopt when there is none.
  std::optional<std::string_view> Query(std::string_view name) const;
  // What follows "Authorization: Bearer ", or "". Secret: never print it.
  std::string_view BearerToken() const;
};

struct Response {
  int status = 200;
  Fields fields;        // no line breaks in them: such an answer becomes a 500
  std::string body;
  StreamBody stream;    // instead of a body: what its writer writes

  static Response Text(int status, std::string body) { return {status, {{"Content-Type", "text/plain; charset=utf-8"}}, std::move(body), {}}; }
  static Response Json(int status, std::string body) { return {status, {{"Content-Type", "application/json"}}, std::move(body), {}}; }
  static Response Streamed(int status, Fields fields, StreamBody stream) { return {status, std::move(fields), {}, std::move(stream)}; }
};

}  // namespace berth::httpd
