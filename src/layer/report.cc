#include "layer/report.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <utility>

#include "json/document.h"

namespace berth::layer {
namespace {

using json::Value;

// Members of one object, each exactly once and no others: what a strict reader of our own documents checks.
class Members {
 public:
  explicit Members(const Value& value) : value_(value) {}

  template <class T>
  Members& Number(std::string_view key, T& into) {
    if (auto got = Get(key)) {
      if (auto number = got->AsInt64(); number && *number >= 0 && std::in_range<T>(*number)) {
        into = static_cast<T>(*number);
      } else {
        error_ = Bad(key);
      }
    }
    return *this;
  }
  Members& Bool(std::string_view key, bool& into) {
    if (auto got = Get(key)) {
      if (auto flag = got->AsBool()) {
        into = *flag;
      } else {
        error_ = Bad(key);
      }
    }
    return *this;
  }
  Members& Digest(std::string_view key, digest::Digest& into) {
    std::string text;
    String(key, text);
    if (error_) return *this;
    if (auto parsed = digest::Digest::Parse(text)) {
      into = *parsed;
    } else {
      error_ = Bad(key);
    }
    return *this;
  }
  Members& Digests(std::string_view key, std::vector<digest::Digest>& into) {
    const auto got = Get(key);
    if (!error_ && !got->IsArray()) error_ = Bad(key);
    for (std::size_t i = 0; !error_ && i < got->size(); ++i) {
      const auto text = got->at(i).AsString();
      const auto parsed = text ? digest::Digest::Parse(*text) : Result<digest::Digest>(Bad(key));
      if (parsed) {
        into.push_back(*parsed);
      } else {
        error_ = Bad(key);
      }
    }
    return *this;
  }
  // One of `names`; its place in the list becomes the enumerator.
  template <class E>
  Members& Choice(std::string_view key, std::initializer_list<std::string_view> names, E& into) {
    std::string text;
    String(key, text);
    const auto at = std::find(names.begin(), names.end(), text);
    if (!error_ && at == names.end()) error_ = Bad(key);
    if (!error_) into = static_cast<E>(at - names.begin());
    return *this;
  }
  Members& String(std::string_view key, std::string& into) {
    if (auto got = Get(key)) {
      if (auto text = got->AsString()) {
        into = *text;
      } else {
        error_ = Bad(key);
      }
    }
    return *this;
  }
  template <class F>
  Members& Object(std::string_view key, F&& members) {
    if (auto got = Get(key)) {
      Members inner(*got);
      members(inner);
      if (auto done = inner.Done(); !done) error_ = std::move(done).error();
    }
    return *this;
  }
  Result<> Done() {
    if (!error_ && (!value_.IsObject() || value_.size() != seen_)) error_ = Bad(value_.path());
    return error_ ? Result<>(*error_) : Result<>();
  }

 private:
  std::optional<Value> Get(std::string_view key) {
    if (error_) return std::nullopt;
    ++seen_;
    auto got = value_.Find(key);
    if (!got) error_ = Bad(key);
    return got;
  }
  static Error Bad(std::string_view key) {
    return Error(Reason::kCorrupt, "the member " + Quoted(key) + " of a layer's descriptor is missing, unknown or of a wrong kind");
  }

  Value value_;
  std::size_t seen_ = 0;
  std::optional<Error> error_;
};

constexpr json::Limits kJson{.bytes = 64u << 10, .depth = 6, .values = 4096};

}  // namespace

std::string_view Name(Form form) { return form == Form::kErofs ? "erofs" : "tree"; }

std::string UnpackOptions::ToJson() const {
  json::Writer w;
  w.BeginObject().Key("blob").String(blob.ToString()).Key("diffAlgorithm").String(digest::Name(diff_algorithm));
  w.Key("form").String(Name(form));
  w.Key("outputBytes").Uint(codec.output_bytes).Key("zstdWindowBytes").Uint(codec.zstd_window_bytes);
  w.Key("tarEntries").Uint(tar.entries).Key("extensionBytes").Uint(tar.extension_bytes);
  w.Key("extensionsInARow").Uint(tar.extensions_in_a_row).Key("xattrValueBytes").Uint(tar.xattr_value_bytes);
  w.Key("xattrTotalBytes").Uint(tar.xattr_total_bytes).Key("xattrs").Uint(tar.xattrs);
  w.Key("sparseSegments").Uint(tar.sparse_segments).Key("fileBytes").Uint(tar.file_bytes);
  w.Key("charDevices").Bool(build.char_devices).Key("blockDevices").Bool(build.block_devices);
  w.Key("entries").Uint(build.entries).Key("unpackedBytes").Uint(build.unpacked_bytes);
  w.Key("depth").Uint(build.depth).Key("hardLinks").Uint(build.hard_links).Key("workerBytes").Uint(worker_bytes).EndObject();
  return std::move(w).Take();
}

Result<UnpackOptions> UnpackOptions::FromJson(std::string_view text) {
  ASSIGN_OR_RETURN(const json::Document document, json::Document::Parse(text, Reason::kCorrupt, kJson));
  UnpackOptions o;
  Members m(document.root());
  m.Digest("blob", o.blob).Choice("diffAlgorithm", {"sha256", "sha384", "sha512"}, o.diff_algorithm);
  m.Choice("form", {"erofs", "tree"}, o.form);
  m.Number("outputBytes", o.codec.output_bytes).Number("zstdWindowBytes", o.codec.zstd_window_bytes);
  m.Number("tarEntries", o.tar.entries).Number("extensionBytes", o.tar.extension_bytes);
  m.Number("extensionsInARow", o.tar.extensions_in_a_row).Number("xattrValueBytes", o.tar.xattr_value_bytes);
  m.Number("xattrTotalBytes", o.tar.xattr_total_bytes).Number("xattrs", o.tar.xattrs);
  m.Number("sparseSegments", o.tar.sparse_segments).Number("fileBytes", o.tar.file_bytes);
  m.Bool("charDevices", o.build.char_devices).Bool("blockDevices", o.build.block_devices);
  m.Number("entries", o.build.entries).Number("unpackedBytes", o.build.unpacked_bytes);
  m.Number("depth", o.build.depth).Number("hardLinks", o.build.hard_links).Number("workerBytes", o.worker_bytes);
  RETURN_IF_ERROR(m.Done());
  return o;
}

std::string UnpackReport::ToJson() const {
  json::Writer w;
  w.BeginObject().Key("blob").String(blob.ToString()).Key("diffId").String(diff_id.ToString());
  w.Key("form").String(Name(form)).Key("format").String(codec::Name(format));
  w.Key("compressedBytes").Uint(compressed_bytes).Key("uncompressedBytes").Uint(uncompressed_bytes);
  w.Key("entries").Uint(entries).Key("nodes").Uint(nodes).Key("unpackedBytes").Uint(unpacked_bytes);
  w.Key("dataBytes").Uint(data_bytes).Key("imageBytes").Uint(image_bytes).Key("imageCrc32c").Uint(image_crc32c);
  w.Key("implied").Uint(implied).Key("outsideLinks").Uint(outside_links);
  w.Key("root").BeginObject().Key("implied").Bool(root.implied).Key("mode").Uint(root.mode).Key("uid").Uint(root.uid);
  w.Key("gid").Uint(root.gid).Key("mtime").Int(root.mtime_seconds).Key("mtimeNanos").Uint(root.mtime_nanos);
  w.Key("xattrs").Bool(root.xattrs).Key("opaque").Bool(root.opaque).EndObject();
  w.Key("ignored").BeginObject().Key("xattrs").Uint(ignored.xattrs).Key("aufsEntries").Uint(ignored.aufs_entries);
  w.Key("replaced").Uint(ignored.replaced).EndObject().EndObject();
  return std::move(w).Take();
}

Result<UnpackReport> UnpackReport::FromJson(std::string_view text) {
  ASSIGN_OR_RETURN(const json::Document document, json::Document::Parse(text, Reason::kCorrupt, kJson));
  UnpackReport r;
  Members m(document.root());
  m.Digest("blob", r.blob).Digest("diffId", r.diff_id).Choice("form", {"erofs", "tree"}, r.form);
  m.Choice("format", {"plain", "gzip", "zstd"}, r.format);
  m.Number("compressedBytes", r.compressed_bytes).Number("uncompressedBytes", r.uncompressed_bytes);
  m.Number("entries", r.entries).Number("nodes", r.nodes).Number("unpackedBytes", r.unpacked_bytes);
  m.Number("dataBytes", r.data_bytes).Number("imageBytes", r.image_bytes).Number("imageCrc32c", r.image_crc32c);
  m.Number("implied", r.implied).Number("outsideLinks", r.outside_links);
  m.Object("root", [&](Members& o) {
    o.Bool("implied", r.root.implied).Number("mode", r.root.mode).Number("uid", r.root.uid).Number("gid", r.root.gid);
    o.Number("mtime", r.root.mtime_seconds).Number("mtimeNanos", r.root.mtime_nanos);
    o.Bool("xattrs", r.root.xattrs).Bool("opaque", r.root.opaque);
  });
  m.Object("ignored", [&](Members& o) {
    o.Number("xattrs", r.ignored.xattrs).Number("aufsEntries", r.ignored.aufs_entries).Number("replaced", r.ignored.replaced);
  });
  RETURN_IF_ERROR(m.Done());
  return r;
}

std::string VariantReport::ToJson() const {
  json::Writer w;
  w.BeginObject().Key("variantOf").String(blob.ToString()).Key("devices").BeginArray();
  for (const digest::Digest& device : devices) w.String(device.ToString());
  w.EndArray().Key("imageBytes").Uint(image_bytes).Key("imageCrc32c").Uint(image_crc32c).EndObject();
  return std::move(w).Take();
}

Result<VariantReport> VariantReport::FromJson(std::string_view text) {
  ASSIGN_OR_RETURN(const json::Document document, json::Document::Parse(text, Reason::kCorrupt, kJson));
  VariantReport r;
  Members m(document.root());
  m.Digest("variantOf", r.blob).Digests("devices", r.devices);
  m.Number("imageBytes", r.image_bytes).Number("imageCrc32c", r.image_crc32c);
  RETURN_IF_ERROR(m.Done());
  return r;
}

}  // namespace berth::layer
