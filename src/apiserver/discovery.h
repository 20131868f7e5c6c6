// apiserver/discovery.h: the documents by which clients find out what there is.
//
// kubectl asks for the aggregated form first and takes the plain one: that is what it gets. Group versions besides v1 there are none. All are
// JSON; "/openapi/v2" is protobuf for those who ask for it, which every kubectl does.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace berth::apiserver {

// "/", "/api", "/apis", "/api/v1", "/version", "/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1". Made once, immutable.
class Discovery {
 public:
  // `address`: "127.0.0.1:6443", for clients that look for another one.
  Discovery(const std::string& version, std::string address);

  struct Found {
    std::string_view type, text;
  };
  // `accept`: the field of the request. nullopt for other paths.
  std::optional<Found> Find(std::string_view path, std::string_view accept) const;

 private:
  std::string root_, api_, apis_, v1_, version_, openapi_, openapi_v1_, openapi_v2_, openapi_v2_protobuf_;
};

}  // namespace berth::apiserver
