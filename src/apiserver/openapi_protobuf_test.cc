#include "apiserver/openapi_protobuf.h"

#include <gtest/gtest.h>

namespace berth::apiserver {
namespace {

// A field of wire type 2, whose number may need two bytes.
std::string F(int number, const std::string& bytes) {
  std::string out;
  for (auto n : {static_cast<std::size_t>(number) << 3 | 2, bytes.size()}) {
    for (; n >= 0x80; n >>= 7) out += static_cast<char>(n | 0x80);
    out += static_cast<char>(n);
  }
  return out + bytes;
}
std::string Extension(const std::string& key, const std::string& yaml) { return F(1, key) + F(2, F(2, yaml)); }

struct Row {
  std::string name, json, wanted;
};
std::ostream& operator<<(std::ostream& out, const Row& r) { return out << r.name; }
class OpenApiMessage : public ::testing::TestWithParam<Row> {};
TEST_P(OpenApiMessage, IsWhatGnosticReads) {
  const auto document = json::Document::Parse(GetParam().json, Reason::kUsage);
  ASSERT_TRUE(document) << document.error().Text();
  EXPECT_EQ(OpenApiProtobuf(json::Tree(document->root())), GetParam().wanted);
}
std::string Schema(const std::string& bytes) { return F(9, F(1, F(1, "T") + F(2, bytes))); }  // as the definition "T"
std::string Operation(const std::string& bytes) { return F(8, F(2, F(1, "/p") + F(2, F(8, bytes)))); }  // as the PATCH of "/p"
INSTANTIATE_TEST_SUITE_P(
    All, OpenApiMessage,
    ::testing::Values(
        Row{"head", R"({"info":{"title":"K","version":"v1"},"swagger":"2.0"})", F(1, "2.0") + F(2, F(1, "K") + F(2, "v1"))},
        Row{"reference", R"({"definitions":{"T":{"$ref":"#/definitions/U"}}})", Schema(F(1, "#/definitions/U"))},
        Row{"any", R"({"definitions":{"T":{}}})", Schema("")},
        Row{"text", R"({"definitions":{"T":{"description":"d","format":"byte","type":"string"}}})", Schema(F(2, "byte") + F(4, "d") + F(22, F(1, "string")))},
        Row{"map", R"({"definitions":{"T":{"additionalProperties":{"type":"string"},"type":"object"}}})",
            Schema(F(21, F(1, F(22, F(1, "string")))) + F(22, F(1, "object")))},
        Row{"list", R"({"definitions":{"T":{"items":{"$ref":"r"},"type":"array","x-kubernetes-patch-merge-key":"name"}}})",
            Schema(F(22, F(1, "array")) + F(23, F(1, F(1, "r"))) + F(31, Extension("x-kubernetes-patch-merge-key", "\"name\"")))},
        Row{"properties", R"({"definitions":{"T":{"properties":{"a":{},"b":{"$ref":"r"}}}}})",
            Schema(F(25, F(1, F(1, "a") + F(2, "")) + F(1, F(1, "b") + F(2, F(1, "r")))))},
        Row{"long", R"({"definitions":{"T":{"description":")" + std::string(300, 'x') + R"("}}})", Schema(F(4, std::string(300, 'x')))},
        Row{"operation", R"({"paths":{"/p":{"patch":{"consumes":["a","b"],"parameters":[{"in":"query","name":"dryRun","type":"string"}],"x-y":{"kind":"Pod"}}}}})",
            Operation(F(7, "a") + F(7, "b") + F(8, F(1, F(2, F(3, F(2, "query") + F(4, "dryRun") + F(6, "string"))))) + F(13, Extension("x-y", R"({"kind":"Pod"})")))},
        Row{"answer", R"({"paths":{"/p":{"patch":{"responses":{"200":{"description":"OK","schema":{"$ref":"r"}}}}}}})",
            Operation(F(9, F(1, F(1, "200") + F(2, F(1, F(1, "OK") + F(2, F(1, F(1, "r"))))))))}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace berth::apiserver
