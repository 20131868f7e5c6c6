// json/document.h: the one strict JSON reader, and the one writer.
//
// Reading refuses, with the byte offset in the error: anything but UTF-8, a BOM, duplicate keys (also by escaped
// spelling), nesting deeper than `Limits::depth`, documents larger than `Limits::bytes`, trailing bytes, lone
// surrogates, NaN, numbers beyond a double. Integers keep their exactness: AsInt64() of 1.0, 1e3 or -0 is an error.
// Keys are case-sensitive. A document with more than `Limits::values` values is refused too: 4 MiB of "0,0,0" would
// otherwise become 60 MiB of tree.
//
// Errors carry the Reason the caller gives ("this is a manifest": kInvalidManifest), kLimitExceeded for limits;
// their text names the place (`$.layers[3].digest`), never the value: it may be a secret.
//
// Document owns the tree and a copy of every string; Value is a view into it (valid while the Document lives, also
// across a move of the Document). Immutable after Parse: may be read by many threads. No foreign type shows here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "result/result.h"

namespace berth::json {

struct Limits {
  std::size_t bytes = 4u << 20;
  std::size_t depth = 32;
  std::size_t values = 500'000;  // scalars, arrays and objects together
};

class Value {
 public:
  // kInteger: written as an integer, not as -0, and within std::int64_t; every other number is kReal.
  enum class Kind { kNull, kBool, kInteger, kReal, kString, kArray, kObject };
  Kind kind() const;
  bool IsNull() const { return kind() == Kind::kNull; }
  bool IsObject() const { return kind() == Kind::kObject; }
  bool IsArray() const { return kind() == Kind::kArray; }
  bool IsString() const { return kind() == Kind::kString; }

  // Typed access; the error names the place and the wanted type.
  Result<bool> AsBool() const;
  Result<std::int64_t> AsInt64() const;
  Result<double> AsDouble() const;                // of any number
  Result<std::string_view> AsString() const;

  std::size_t size() const;                       // of an array or object, else 0
  Value at(std::size_t index) const;              // REQUIRES: array, index < size()
  std::optional<Value> Find(std::string_view key) const;  // nullopt when absent or not an object
  Result<Value> Get(std::string_view key) const;  // an error when absent
  std::vector<std::pair<std::string_view, Value>> Members() const;  // sorted by the bytes of the key
  const std::string& path() const { return path_; }  // "$.layers[3]"; odd and long keys escaped and cut, nothing up to an '@'
  std::string Dump() const;                       // compact JSON of this value, members sorted, numbers as written

 private:
  friend class Document;
  Value(const void* node, Reason reason, std::string path) : node_(node), reason_(reason), path_(std::move(path)) {}
  const void* node_;
  Reason reason_;
  std::string path_;
};

class Document {
 public:
  static Result<Document> Parse(std::string_view text, Reason reason, const Limits& limits = {});
  Document(Document&&) noexcept;
  Document& operator=(Document&&) noexcept;
  ~Document();
  Value root() const;

 private:
  struct State;
  explicit Document(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Builds JSON text. Strings that are not UTF-8 are written with U+FFFD in place of each bad byte. Calls that do not
// nest (a key after a key, one End too many) die: they are mistakes of ours, never input.
//   json::Writer w; w.BeginObject().Key("name").String(n).Key("size").Int(7).EndObject(); std::move(w).Take()
class Writer {
 public:
  Writer& BeginObject();
  Writer& EndObject();
  Writer& BeginArray();
  Writer& EndArray();
  Writer& Key(std::string_view key);
  Writer& String(std::string_view value);
  Writer& Int(std::int64_t value);
  Writer& Uint(std::uint64_t value);
  Writer& Double(double value);  // shortest form that reads back; NaN and infinities become null
  Writer& Bool(bool value);
  Writer& Null();
  Writer& Raw(std::string_view json);  // already JSON: trusted
  const std::string& text() const { return out_; }
  std::string Take() && { return std::move(out_); }

 private:
  void Separate();
  std::string out_;
  std::vector<bool> first_;   // one per open container: nothing written in it yet
  bool after_key_ = false;
};

}  // namespace berth::json
