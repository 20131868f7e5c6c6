// The JSON API without sockets: a method, a target, header fields and a body, against a store that stays. Whatever comes, the answer
// is one Kubernetes' clients can read, and what is in the store can be listed.
//
// The text: METHOD TARGET\n CONTENT-TYPE\n ACCEPT\n BODY
#include <cstdint>
#include <cstdlib>

#include "apiserver/testing/lab.h"
#include "time/testing/manual_clock.h"

namespace {

void Require(bool truth) {
  if (!truth) std::abort();
}

std::string Line(std::string_view& rest) {
  const auto end = rest.find('\n');
  const std::string line(rest.substr(0, end));
  rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
  return line;
}

struct World {
  berth::time::testing::ManualClock clock;
  std::unique_ptr<berth::apiserver::testing::Lab> lab;
  int calls = 0;
  berth::apiserver::testing::Lab& Fresh() {
    if (lab == nullptr || ++calls % 1000 == 0) {
      lab = std::make_unique<berth::apiserver::testing::Lab>(clock);
      for (
          const char* body :
          {R"({"metadata":{"name":"web","labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i:1","env":[{"name":"X","value":"1"}]}],"volumes":[{"name":"v"}]}})"})
        Require(lab->Call("POST", "/api/v1/namespaces/default/pods", body).status == 201);
    }
    return *lab;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  if (size > 64u << 10) return 0;
  static World world;
  auto& lab = world.Fresh();
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const std::string head = Line(rest), type = Line(rest), accept = Line(rest);
  const auto space = head.find(' ');
  const std::string method = head.substr(0, space), target = space == head.npos ? "/" : head.substr(space + 1);
  const auto reply = lab.Call(method, target, std::string(rest), {{"Content-Type", type}, {"Accept", accept}});
  Require(reply.status >= 200 && reply.status < 600 && reply.status != 500);
  for (const auto& [name, value] : reply.fields) Require(value.find_first_of(std::string_view("\r\n\0", 3)) == value.npos);
  if (reply.stream != nullptr) {
    Require(reply.status == 200);
    reply.stream->Hangup();
    return 0;
  }
  const bool json = !reply.fields.empty() && reply.fields.front().second == "application/json";
  if (json) {
    const auto document = json::Document::Parse(reply.body, Reason::kInternal, {.bytes = 64u << 20, .depth = 80, .values = 2'000'000});
    Require(document.has_value() && document->root().IsObject());
    const auto says = [&](const char* member, std::string_view text) {  // an object may have a member "status" of its own
      const auto found = document->root().Find(member);
      return found && found->IsString() && *found->AsString() == text;
    };
    Require((reply.status >= 400) == (says("kind", "Status") && says("status", "Failure")));
  }
  if (method != "GET") {
    for (const char* kind : {"pods", "secrets", "configmaps", "serviceaccounts", "namespaces", "events"})
      Require(lab.Call("GET", std::string("/api/v1/") + kind, "", {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}}).status == 200);
  }
  return 0;
}
