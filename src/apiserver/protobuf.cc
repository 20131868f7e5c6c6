#include "apiserver/protobuf.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

#include "bytes/bytes.h"
#include "bytes/encoding.h"
#include "json/utf8.h"
#include "kube/timestamp.h"

namespace berth::apiserver {
namespace {

using json::Tree;

constexpr std::string_view kMagic("k8s\0", 4);

Error Bad(const char* why) { return Error(Reason::kUsage, std::string("the protobuf ") + why); }

// What a field is in JSON. Lists are of kText and kMessage, maps have text keys.
struct Message;
struct FieldOf {
  unsigned number;
  std::string_view name;
  enum class Kind : std::uint8_t { kText, kBool, kInteger, kTime, kMessage, kTextMap, kBytesMap } kind = Kind::kText;
  const Message* message = nullptr;
  bool list = false;
  bool keeps_zero = false;  // written only when it is set, so that zero means zero
};
struct Message {
  std::span<const FieldOf> fields;
};
using Kind = FieldOf::Kind;

// The numbers are those of Kubernetes' generated.proto files (core/v1, meta/v1).
constexpr FieldOf kOwnerFields[] = {{1, "kind"}, {3, "name"}, {4, "uid"}, {5, "apiVersion"}, {6, "controller", Kind::kBool, nullptr, false, true},
                                    {7, "blockOwnerDeletion", Kind::kBool, nullptr, false, true}};
constexpr Message kOwner{kOwnerFields};
constexpr FieldOf kMetaFields[] = {{1, "name"}, {2, "generateName"}, {3, "namespace"}, {4, "selfLink"}, {5, "uid"}, {6, "resourceVersion"},
                                   {7, "generation", Kind::kInteger}, {8, "creationTimestamp", Kind::kTime}, {9, "deletionTimestamp", Kind::kTime},
                                   {10, "deletionGracePeriodSeconds", Kind::kInteger, nullptr, false, true}, {11, "labels", Kind::kTextMap},
                                   {12, "annotations", Kind::kTextMap}, {13, "ownerReferences", Kind::kMessage, &kOwner, true},
                                   {14, "finalizers", Kind::kText, nullptr, true}};
constexpr Message kMeta{kMetaFields};
constexpr FieldOf kReferenceFields[] = {{1, "kind"}, {2, "namespace"}, {3, "name"}, {4, "uid"}, {5, "apiVersion"}, {6, "resourceVersion"}, {7, "fieldPath"}};
constexpr Message kReference{kReferenceFields};
constexpr FieldOf kLocalFields[] = {{1, "name"}};
constexpr Message kLocal{kLocalFields};
constexpr FieldOf kSpecFields[] = {{1, "finalizers", Kind::kText, nullptr, true}};
constexpr Message kSpec{kSpecFields};
constexpr FieldOf kStatusFields[] = {{1, "phase"}};
constexpr Message kStatus{kStatusFields};

constexpr FieldOf kSecret[] = {{1, "metadata", Kind::kMessage, &kMeta}, {2, "data", Kind::kBytesMap}, {3, "type"}, {4, "stringData", Kind::kTextMap},
                               {5, "immutable", Kind::kBool, nullptr, false, true}};
constexpr FieldOf kConfigMap[] = {{1, "metadata", Kind::kMessage, &kMeta}, {2, "data", Kind::kTextMap}, {3, "binaryData", Kind::kBytesMap},
                                  {4, "immutable", Kind::kBool, nullptr, false, true}};
constexpr FieldOf kServiceAccount[] = {{1, "metadata", Kind::kMessage, &kMeta}, {2, "secrets", Kind::kMessage, &kReference, true},
                                       {3, "imagePullSecrets", Kind::kMessage, &kLocal, true},
                                       {4, "automountServiceAccountToken", Kind::kBool, nullptr, false, true}};
constexpr FieldOf kNamespace[] = {{1, "metadata", Kind::kMessage, &kMeta}, {2, "spec", Kind::kMessage, &kSpec}, {3, "status", Kind::kMessage, &kStatus}};
struct Root {
  std::string_view kind;
  Message message;
};
constexpr Root kRoots[] = {{"Secret", {kSecret}}, {"ConfigMap", {kConfigMap}}, {"ServiceAccount", {kServiceAccount}}, {"Namespace", {kNamespace}}};

// One field after the other.
struct Field {
  unsigned number = 0, wire = 0;
  std::uint64_t value = 0;   // of a varint
  std::string_view bytes;    // length-delimited
};
class Reader {
 public:
  explicit Reader(std::string_view rest) : rest_(rest) {}
  bool done() const { return rest_.empty(); }
  Result<Field> Next() {
    ASSIGN_OR_RETURN(const std::uint64_t tag, Varint());
    Field out{.number = static_cast<unsigned>(tag >> 3), .wire = static_cast<unsigned>(tag & 7)};
    if (tag >> 32 != 0 || out.number == 0) return Bad("has a field with no number");
    std::uint64_t size = 0;
    if (out.wire == 0) {
      ASSIGN_OR_RETURN(out.value, Varint());
      return out;
    }
    if (out.wire == 1) {
      size = 8;
    } else if (out.wire == 5) {
      size = 4;
    } else if (out.wire == 2) {
      ASSIGN_OR_RETURN(size, Varint());
    } else {
      return Bad("has a field of an unknown wire type");
    }
    if (size > rest_.size()) return Bad("is cut");
    out.bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return out;
  }

 private:
  Result<std::uint64_t> Varint() {
    std::uint64_t out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return Bad("is cut");
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      if (shift == 63 && byte > 1) break;
      out |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return out;
    }
    return Bad("has a number that is too long");
  }
  std::string_view rest_;
};

Result<Tree> Text(std::string_view bytes) {
  for (std::string_view rest = bytes; !rest.empty();) {
    const std::size_t n = json::Utf8SequenceLength(rest);
    if (n == 0) return Bad("has a text that is not UTF-8");
    rest.remove_prefix(n);
  }
  return Tree(bytes);
}

// metav1.Time; no time at all is an empty message.
Result<Tree> Time(std::string_view bytes) {
  std::int64_t seconds = 0;
  for (Reader reader(bytes); !reader.done();) {
    ASSIGN_OR_RETURN(const Field field, reader.Next());
    if (field.number == 1 && field.wire == 0) seconds = static_cast<std::int64_t>(field.value);
  }
  if (seconds <= 0) return Tree();
  return Tree(kube::FormatTime(time::FromUnix(seconds)));
}

Result<> AddEntry(Tree& map, std::string_view bytes, bool base64) {
  std::string_view key, value;
  for (Reader reader(bytes); !reader.done();) {
    ASSIGN_OR_RETURN(const Field field, reader.Next());
    if (field.wire == 2 && field.number == 1) key = field.bytes;
    if (field.wire == 2 && field.number == 2) value = field.bytes;
  }
  ASSIGN_OR_RETURN(const Tree name, Text(key));
  if (!map.IsObject()) map = Tree::Object();
  if (base64) {
    map[name.text()] = Tree(bytes::ToBase64(bytes::AsView(value)));
  } else {
    ASSIGN_OR_RETURN(map[name.text()], Text(value));
  }
  return {};
}

// Depth is that of the tables.
Result<Tree> Read(std::string_view bytes, const Message& message) {
  Tree out = Tree::Object();
  for (Reader reader(bytes); !reader.done();) {
    ASSIGN_OR_RETURN(const Field field, reader.Next());
    const auto known = std::ranges::find(message.fields, field.number, &FieldOf::number);
    if (known == message.fields.end()) continue;
    const bool number = known->kind == Kind::kBool || known->kind == Kind::kInteger;
    if (field.wire != (number ? 0u : 2u)) return Bad("has a field of another type");
    Tree value;
    switch (known->kind) {
      case Kind::kBool: value = Tree(field.value != 0); break;
      case Kind::kInteger: value = Tree(static_cast<std::int64_t>(field.value)); break;
      case Kind::kText: { ASSIGN_OR_RETURN(value, Text(field.bytes)); break; }
      case Kind::kTime: { ASSIGN_OR_RETURN(value, Time(field.bytes)); break; }
      case Kind::kMessage: { ASSIGN_OR_RETURN(value, Read(field.bytes, *known->message)); break; }
      case Kind::kTextMap: case Kind::kBytesMap: {
        RETURN_IF_ERROR(AddEntry(out[known->name], field.bytes, known->kind == Kind::kBytesMap));
        continue;
      }
    }
    // Go writes what is empty, too; JSON leaves it out.
    if (known->list) out[known->name].Append(std::move(value));
    else if (known->keeps_zero || !(value.IsNull() || (value.IsString() && value.text().empty()) || (number && field.value == 0) ||
                                    (value.IsObject() && value.members().empty())))
      out[known->name] = std::move(value);
  }
  return out;
}

}  // namespace

Result<Tree> ReadProtobuf(std::string_view body, std::string_view kind) {
  if (!body.starts_with(kMagic)) return Bad("does not begin as Kubernetes' does");
  std::string_view raw, encoding;
  std::string api_version, sent_kind;
  for (Reader reader(body.substr(kMagic.size())); !reader.done();) {
    ASSIGN_OR_RETURN(const Field field, reader.Next());
    if (field.wire != 2) continue;
    if (field.number == 2) raw = field.bytes;
    if (field.number == 3) encoding = field.bytes;
    if (field.number != 1) continue;
    for (Reader type(field.bytes); !type.done();) {
      ASSIGN_OR_RETURN(const Field part, type.Next());
      if (part.wire != 2 || part.number > 2) continue;
      ASSIGN_OR_RETURN(const Tree text, Text(part.bytes));
      (part.number == 1 ? api_version : sent_kind) = text.text();
    }
  }
  if (!encoding.empty()) return Bad("is encoded once more");
  const std::string_view wanted = sent_kind.empty() ? kind : std::string_view(sent_kind);
  const auto root = std::ranges::find(kRoots, wanted, &Root::kind);
  if (root == std::end(kRoots)) return Error(Reason::kUnsupported, "this kind is read as JSON only (Content-Type: application/json)");
  ASSIGN_OR_RETURN(Tree out, Read(raw, root->message));
  out["apiVersion"] = Tree(api_version.empty() ? "v1" : api_version);
  out["kind"] = Tree(wanted);
  return out;
}

}  // namespace berth::apiserver
