#include "apiserver/protobuf.h"

#include <gtest/gtest.h>

namespace berth::apiserver {
namespace {

using std::string_literals::operator""s;

// One field: number, wire type 2.
std::string F(int number, const std::string& bytes) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  std::size_t n = bytes.size();
  for (; n >= 0x80; n >>= 7) out += static_cast<char>(n | 0x80);
  return out + static_cast<char>(n) + bytes;
}
std::string V(int number, char value) { return {static_cast<char>(number << 3), value}; }
std::string Wrap(const std::string& kind, const std::string& raw) {
  return "k8s\0"s + F(1, F(1, "v1") + F(2, kind)) + F(2, raw) + F(3, "") + F(4, "");
}

struct Row {
  std::string name, kind, body, json;  // json "": refused
};
std::ostream& operator<<(std::ostream& out, const Row& r) { return out << r.name; }
class Protobuf : public ::testing::TestWithParam<Row> {};
TEST_P(Protobuf, IsReadAsJson) {
  const auto tree = ReadProtobuf(GetParam().body, GetParam().kind);
  ASSERT_EQ(tree.has_value(), !GetParam().json.empty()) << (tree ? tree->Dump() : tree.error().Text());
  EXPECT_EQ(tree ? tree->Dump() : "", GetParam().json);
}
// As Go writes it: empty texts, a zero generation, no creation time.
const std::string kMeta = F(1, "s") + F(2, "") + F(3, "") + F(4, "") + F(5, "") + F(6, "") + V(7, 0) + F(8, "");
INSTANTIATE_TEST_SUITE_P(
    All, Protobuf,
    ::testing::Values(
        Row{"secret", "Secret", Wrap("Secret", F(1, kMeta) + F(2, F(1, ".dockerconfigjson") + F(2, "{}")) + F(3, "kubernetes.io/dockerconfigjson")),
            R"({"apiVersion":"v1","data":{".dockerconfigjson":"e30="},"kind":"Secret","metadata":{"name":"s"},"type":"kubernetes.io/dockerconfigjson"})"},
        Row{"config_map", "ConfigMap", Wrap("ConfigMap", F(1, kMeta + F(11, F(1, "a") + F(2, "b"))) + F(2, F(1, "k")) + F(3, F(1, "b") + F(2, "\xff"s)) + V(4, 0)),
            R"({"apiVersion":"v1","binaryData":{"b":"/w=="},"data":{"k":""},"immutable":false,"kind":"ConfigMap","metadata":{"labels":{"a":"b"},"name":"s"}})"},
        Row{"account", "ServiceAccount", Wrap("ServiceAccount", F(1, kMeta) + F(2, F(3, "t")) + F(3, F(1, "a")) + F(3, F(1, "b"))),
            R"({"apiVersion":"v1","imagePullSecrets":[{"name":"a"},{"name":"b"}],"kind":"ServiceAccount","metadata":{"name":"s"},"secrets":[{"name":"t"}]})"},
        Row{"namespace", "Namespace", Wrap("Namespace", F(1, kMeta + F(14, "f") + F(8, V(1, 5))) + F(2, "") + F(3, F(1, ""))),
            R"({"apiVersion":"v1","kind":"Namespace","metadata":{"creationTimestamp":"1970-01-01T00:00:05Z","finalizers":["f"],"name":"s"}})"},
        Row{"unknown_fields", "Namespace", Wrap("Namespace", F(15, "x") + V(14, 1) + "\x7d" "abcd"), R"({"apiVersion":"v1","kind":"Namespace"})"},
        Row{"no_magic", "Secret", "{}", ""}, Row{"pod", "Pod", Wrap("Pod", ""), ""}, Row{"cut", "Secret", Wrap("Secret", F(1, kMeta)).substr(0, 20), ""},
        Row{"cut_inside", "Secret", Wrap("Secret", F(1, "\x0a\x7f")), ""}, Row{"other_type", "Secret", Wrap("Secret", V(3, 1)), ""},
        Row{"no_utf8", "Secret", Wrap("Secret", F(3, "\xff"s)), ""}, Row{"long_number", "Secret", "k8s\0"s + std::string(11, '\xff'), ""},
        Row{"group", "Secret", Wrap("Secret", "\x0b"s), ""}, Row{"encoded", "Secret", "k8s\0"s + F(1, F(2, "Secret")) + F(3, "gzip"), ""}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace berth::apiserver
