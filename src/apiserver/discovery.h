// apiserver/discovery.h: the documents by which clients find out what there is.
//
// kubectl asks for the aggregated form first and takes the plain one: that is what it gets. Group versions besides v1 there are none.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace berth::apiserver {

// JSON for "/", "/api", "/apis", "/api/v1", "/version", "/openapi/v3", "/openapi/v3/api/v1"; nullopt for other paths. Made once, immutable.
class Discovery {
 public:
  // `address`: "127.0.0.1:6443", for clients that look for another one.
  Discovery(const std::string& version, std::string address);
  std::optional<std::string_view> Find(std::string_view path) const;

 private:
  std::string root_, api_, apis_, v1_, version_, openapi_, openapi_v1_;
};

}  // namespace berth::apiserver
