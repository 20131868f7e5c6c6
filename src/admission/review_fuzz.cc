// AdmissionReview from anybody, with every plug-in on and a registry that knows one digest. Answers are JSON; a patch can be applied and
// leads to an object that a second review leaves alone; what cannot be read is never allowed.
#include <cstdint>

#include "admission/review.h"
#include "bytes/encoding.h"
#include "result/result.h"

namespace {

using namespace berth;

class Fixed final : public admission::Resolver {
 public:
  Result<digest::Digest> Resolve(const task::Context&, const admission::Lookup& lookup) override {
    if (lookup.image.path().ends_with("gone")) return Error(Reason::kNotFound, "no such tag");
    return *digest::Digest::Parse("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Fixed* const resolver = new Fixed;
  static auto* const cache = new admission::DigestCache(*resolver, time::SystemClock(), {.entries = 100});
  static const admission::Admission admission({.always_pull = true, .pin = true, .pinning = {.label = ""}}, {.digests = cache});
  const admission::ReviewOptions options{.limits = {.bytes = 64u << 10, .depth = 24, .values = 3000}};
  const task::Context ctx;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto reply = admission::Review(ctx, body, admission, options);
  const json::Limits wide{.bytes = 4u << 20, .depth = 64, .values = 100'000};
  const auto answer = json::Document::Parse(reply.body, Reason::kInternal, wide);
  BERTH_CHECK(answer.has_value());
  if (reply.status != 200) {
    BERTH_CHECK(!reply.allowed && !reply.changed && *answer->root().Get("kind")->AsString() == "Status");
    return 0;
  }
  const auto review = json::Document::Parse(body, Reason::kUsage, options.limits);
  BERTH_CHECK(review.has_value() && !reply.failed);
  const auto response = answer->root().Get("response");
  BERTH_CHECK(*response->Get("allowed")->AsBool() == reply.allowed && *response->Get("uid")->AsString() == reply.uid);
  BERTH_CHECK(response->Find("patch").has_value() == reply.changed && (!reply.changed || reply.allowed));
  BERTH_CHECK(response->Find("status").has_value() != reply.allowed);
  if (!reply.changed) return 0;
  const auto patch = bytes::FromBase64(*response->Get("patch")->AsString());
  const auto operations = json::Document::Parse(*patch, Reason::kInternal, wide);
  BERTH_CHECK(operations.has_value());
  // Applied by the letter of RFC 6902, as far as our operations go: add and replace of members.
  json::Tree whole(review->root());
  json::Tree& object = *whole.Find("request")->Find("object");
  for (std::size_t i = 0; i < operations->root().size(); ++i) {
    const json::Value o = operations->root().at(i);
    std::string path(*o.Get("path")->AsString());
    json::Tree* at = &object;
    for (;;) {
      path.erase(0, 1);
      const auto slash = path.find('/');
      std::string token = path.substr(0, slash);
      for (std::size_t t = 0; (t = token.find('~', t)) != std::string::npos; ++t) token.replace(t, 2, token[t + 1] == '1' ? "/" : "~");
      if (slash == std::string::npos) {
        BERTH_CHECK(at->IsObject());
        BERTH_CHECK((*o.Get("op")->AsString() == "replace") == (at->Find(token) != nullptr));
        (*at)[token] = json::Tree(*o.Get("value"));
        break;
      }
      path.erase(0, slash);
      if (at->IsArray()) at = &at->items().at(std::stoul(token));
      else at = at->Find(token);
      BERTH_CHECK(at != nullptr);
    }
  }
  const auto again = admission::Review(ctx, whole.Dump(), admission, {.limits = wide});
  BERTH_CHECK(again.status == 200 && again.allowed && !again.changed);
  return 0;
}
