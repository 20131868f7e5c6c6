#include "apiserver/openapi_protobuf.h"

#include <cstdint>
#include <span>

namespace berth::apiserver {
namespace {

using json::Tree;

std::string Varint(std::uint64_t n) {
  std::string out;
  for (; n >= 0x80; n >>= 7) out += static_cast<char>(n | 0x80);
  return out + static_cast<char>(n);
}
std::string Field(unsigned number, std::string_view bytes) {
  return Varint(std::uint64_t{number} << 3 | 2).append(Varint(bytes.size())).append(bytes);
}

// Where the value of a JSON member stands: fields within fields, outermost first; 0 ends early.
struct Path {
  unsigned fields[4];
};
std::string At(const Path& path, std::string bytes) {
  for (std::size_t i = std::size(path.fields); i-- > 0;)
    if (path.fields[i] != 0) bytes = Field(path.fields[i], bytes);
  return bytes;
}

struct Message;
struct Member {
  std::string_view key;
  // kEach: items of a list, each below `path`; kMap: `path` leads to a message with one `entry` for each member: 1 its key, `value` the rest.
  enum class Kind : std::uint8_t { kOne, kEach, kMap } kind;
  Path path;
  const Message* message = nullptr;  // nullptr: text
  unsigned entry = 0;
  Path value = {{2}};
};
using Kind = Member::Kind;
// `extensions`: the field of members that begin with "x-": their values are YAML.
struct Message {
  std::span<const Member> members;
  unsigned extensions = 0;
};

// The numbers are those of gnostic's OpenAPIv2.proto.
extern const Message kSchema;
constexpr Member kSchemaMembers[] = {{"$ref", Kind::kOne, {{1}}},
                                     {"format", Kind::kOne, {{2}}},
                                     {"description", Kind::kOne, {{4}}},
                                     {"additionalProperties", Kind::kOne, {{21, 1}}, &kSchema},
                                     {"type", Kind::kOne, {{22, 1}}},
                                     {"items", Kind::kOne, {{23, 1}}, &kSchema},
                                     {"properties", Kind::kMap, {{25}}, &kSchema, 1}};
const Message kSchema{kSchemaMembers, 31};
constexpr Member kParameterMembers[] = {{"in", Kind::kOne, {{2}}}, {"name", Kind::kOne, {{4}}}, {"type", Kind::kOne, {{6}}}};
constexpr Message kQueryParameter{kParameterMembers};
constexpr Member kResponseMembers[] = {{"description", Kind::kOne, {{1}}}, {"schema", Kind::kOne, {{2, 1}}, &kSchema}};
constexpr Message kResponse{kResponseMembers};
constexpr Member kOperationMembers[] = {{"consumes", Kind::kEach, {{7}}},
                                        {"parameters", Kind::kEach, {{8, 1, 2, 3}}, &kQueryParameter},
                                        {"responses", Kind::kMap, {{9}}, &kResponse, 1, {{2, 1}}}};
constexpr Message kOperation{kOperationMembers, 13};
constexpr Member kItemMembers[] = {{"get", Kind::kOne, {{2}}, &kOperation}, {"patch", Kind::kOne, {{8}}, &kOperation}};
constexpr Message kPathItem{kItemMembers};
constexpr Member kInfoMembers[] = {{"title", Kind::kOne, {{1}}}, {"version", Kind::kOne, {{2}}}};
constexpr Message kInfo{kInfoMembers};
constexpr Member kDocumentMembers[] = {{"swagger", Kind::kOne, {{1}}},
                                       {"info", Kind::kOne, {{2}}, &kInfo},
                                       {"paths", Kind::kMap, {{8}}, &kPathItem, 2},
                                       {"definitions", Kind::kMap, {{9}}, &kSchema, 1}};
constexpr Message kDocument{kDocumentMembers};

std::string Write(const Tree& tree, const Message* message) {
  if (message == nullptr) return std::string(tree.text());
  std::string out;
  for (const Member& m : message->members) {
    const Tree* value = tree.Find(m.key);
    if (value == nullptr) continue;
    switch (m.kind) {
      case Kind::kOne: out += At(m.path, Write(*value, m.message)); break;
      case Kind::kEach:
        for (const Tree& item : value->items()) out += At(m.path, Write(item, m.message));
        break;
      case Kind::kMap: {
        std::string entries;
        for (const auto& [key, one] : value->members()) entries += Field(m.entry, Field(1, key) + At(m.value, Write(one, m.message)));
        out += At(m.path, std::move(entries));
        break;
      }
    }
  }
  if (message->extensions == 0) return out;
  for (const auto& [key, value] : tree.members())
    if (key.starts_with("x-")) out += Field(message->extensions, Field(1, key) + Field(2, Field(2, value.Dump())));
  return out;
}

}  // namespace

std::string OpenApiProtobuf(const Tree& document) { return Write(document, &kDocument); }

}  // namespace berth::apiserver
