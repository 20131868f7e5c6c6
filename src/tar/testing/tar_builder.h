// tar/testing/tar_builder.h: makes archives for tests, well-formed by default and as broken as asked.
//
//   Builder b;
//   b.Dir("etc").File("etc/hostname", "box\n").Mode(0600).Uid(7).Xattr("user.k", "v");
//   b.Pax({{"path", "real/name"}}).File("x", "data");          // an 'x' header for the next entry
//   const std::string archive = b.Finish();
//
// An entry stays open for the modifiers (Mode, Uid, Field, …) until the next entry, extension or Raw() begins. Long
// names and links become PAX records by themselves unless LongNames(kGnu) or LongNames(kCut) was said. The checksum is
// computed last, over whatever the modifiers left, unless Checksum() set it. Header only, for tests, one thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace berth::tar::testing {

enum class Format : std::uint8_t { kUstar, kGnu, kV7, kStar };
enum class LongNames : std::uint8_t { kPax, kGnu, kCut };
using Records = std::vector<std::pair<std::string, std::string>>;

inline constexpr std::size_t kBlock = 512;

// One PAX record "LEN key=value\n", LEN counting itself.
inline std::string PaxRecord(std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;  // blank, '=', newline
  std::size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) length = std::to_string(length).size() + rest;
  std::string record = std::to_string(length);
  record.append(" ").append(key).append("=").append(value).append("\n");
  return record;
}

// `width` bytes: zero-filled octal with a NUL at the end, or base-256 when the value does not fit.
inline std::string Number(std::int64_t value, std::size_t width) {
  std::string field(width, '\0');
  const bool fits = value >= 0 && (width - 1 >= 21 || (value >> (3 * (width - 1))) == 0);
  if (fits) {
    for (std::size_t i = width - 1; i-- > 0; value >>= 3) field[i] = static_cast<char>('0' + (value & 7));
    return field;
  }
  for (std::size_t i = width; i-- > 0; value >>= 8) field[i] = static_cast<char>(value & 0xff);
  field[0] = static_cast<char>(static_cast<unsigned char>(field[0]) | 0x80u);
  return field;
}

inline std::string Padded(std::string_view data) {
  std::string padded(data);
  padded.resize((padded.size() + kBlock - 1) / kBlock * kBlock, '\0');
  return padded;
}

// An entry whose modifiers may still come.
struct OpenEntry {
  std::array<char, kBlock> header{};
  std::string data, pax, before;
  std::optional<std::string> checksum;
  bool signed_sum = false;
};

class Builder {
 public:
  explicit Builder(Format format = Format::kUstar) : format_(format) {}

  // The format and the long-name style of the entries that follow.
  Builder& Style(Format format) { Close(); format_ = format; return *this; }
  Builder& Style(LongNames names) { Close(); names_ = names; return *this; }

  Builder& File(std::string_view name, std::string_view data = {}) { return Entry('0', name, {}, data); }
  Builder& Dir(std::string_view name) { return Entry('5', name).Mode(0755); }
  Builder& Symlink(std::string_view name, std::string_view target) { return Entry('2', name, target).Mode(0777); }
  Builder& HardLink(std::string_view name, std::string_view target) { return Entry('1', name, target); }
  Builder& Fifo(std::string_view name) { return Entry('6', name); }
  Builder& CharDevice(std::string_view name, std::int64_t major, std::int64_t minor) {
    return Entry('3', name).Device(major, minor);
  }
  Builder& BlockDevice(std::string_view name, std::int64_t major, std::int64_t minor) {
    return Entry('4', name).Device(major, minor);
  }
  // Any type flag. `data` is written and padded after the header; the size field says data.size() until Size().
  Builder& Entry(char type, std::string_view name, std::string_view link = {}, std::string_view data = {}) {
    Close();
    open_.emplace();
    open_->data = Padded(data);
    auto& h = open_->header;
    if (format_ == Format::kUstar || format_ == Format::kStar) std::memcpy(&h[257], "ustar\00000", 8);
    if (format_ == Format::kGnu) std::memcpy(&h[257], "ustar  ", 8);
    if (format_ == Format::kStar) std::memcpy(&h[508], "tar", 4);
    h[156] = type;
    Mode(0644).Uid(0).Gid(0).Mtime(0).Size(static_cast<std::int64_t>(data.size()));
    if (format_ == Format::kUstar && name.size() > 100 && PutSplit(name)) {
    } else {
      PutLong(name, 0, "path", 'L');
    }
    PutLong(link, 157, "linkpath", 'K');
    return *this;
  }

  // Modifiers of the open entry.
  Builder& Mode(std::int64_t mode) { return Field(100, Number(mode, 8)); }
  Builder& Uid(std::int64_t uid) { return Field(108, Number(uid, 8)); }
  Builder& Gid(std::int64_t gid) { return Field(116, Number(gid, 8)); }
  Builder& Size(std::int64_t size) { return Field(124, Number(size, 12)); }  // the field only, not the data
  Builder& Mtime(std::int64_t seconds) { return Field(136, Number(seconds, 12)); }
  Builder& Owner(std::string_view user, std::string_view group) { return Text(265, 32, user).Text(297, 32, group); }
  Builder& Device(std::int64_t major, std::int64_t minor) {
    return Field(329, Number(major, 8)).Field(337, Number(minor, 8));
  }
  Builder& Prefix(std::string_view prefix) { return Text(345, 155, prefix); }
  // Bytes at an offset of the header block.
  Builder& Field(std::size_t offset, std::string_view bytes) {
    if (open_ && offset + bytes.size() <= kBlock) std::memcpy(&open_->header[offset], bytes.data(), bytes.size());
    return *this;
  }
  // A text field of `width` bytes, cut or filled with NULs.
  Builder& Text(std::size_t offset, std::size_t width, std::string_view text) {
    std::string field(text.substr(0, width));
    field.resize(width, '\0');
    return Field(offset, field);
  }
  // The eight bytes of the checksum field as they are.
  Builder& Checksum(std::string_view field) { open_->checksum = std::string(field); return *this; }
  // Records of a PAX header in front of the open entry.
  Builder& Xattr(std::string_view name, std::string_view value) {
    return Record("SCHILY.xattr." + std::string(name), value);
  }
  Builder& Record(std::string_view key, std::string_view value) {
    if (open_) open_->pax += PaxRecord(key, value);
    return *this;
  }

  // Extension headers for the next entry.
  Builder& Pax(const Records& records) { return PaxRaw(Join(records)); }
  Builder& Global(const Records& records) { return Extension('g', Join(records)); }
  Builder& PaxRaw(std::string_view body) { return Extension('x', body); }
  Builder& GnuLongName(std::string_view name) { return Extension('L', std::string(name) + '\0'); }
  Builder& GnuLongLink(std::string_view link) { return Extension('K', std::string(link) + '\0'); }
  // An entry of `type` with a body and nothing else; Size() and Field() apply to it.
  Builder& Extension(char type, std::string_view body) {
    const Format format = format_;
    const LongNames names = names_;
    if (type == 'L' || type == 'K') format_ = Format::kGnu;
    names_ = LongNames::kCut;
    Entry(type, type == 'L' || type == 'K' ? "././@LongLink" : "pax_header", {}, body);
    format_ = format;
    names_ = names;
    return *this;
  }
  // Bytes as they are: whole blocks are the caller's business.
  Builder& Raw(std::string_view bytes) { Close(); out_.append(bytes); return *this; }

  // The archive with `end_blocks` zero blocks. The builder is empty afterwards.
  std::string Finish(std::size_t end_blocks = 2) {
    Close();
    out_.append(end_blocks * kBlock, '\0');
    return std::exchange(out_, {});
  }

  // The checksum field of a header block: bytes summed with the field itself blank.
  static std::string ChecksumOf(const std::array<char, kBlock>& header, bool as_signed = false) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < kBlock; ++i) {
      const char c = i >= 148 && i < 156 ? ' ' : header[i];
      sum += as_signed ? static_cast<signed char>(c) : static_cast<unsigned char>(c);
    }
    return Number(sum, 7) + ' ';
  }
  // Writes the sum of signed bytes, as some old systems did.
  Builder& SignedChecksum() { open_->signed_sum = true; return *this; }

 private:
  static std::string Join(const Records& records) {
    std::string body;
    for (const auto& [key, value] : records) body += PaxRecord(key, value);
    return body;
  }
  bool PutSplit(std::string_view name) {
    if (name.size() > 256) return false;
    const std::size_t slash = name.find('/', name.size() - 101);
    if (slash == std::string_view::npos || slash == 0 || slash > 155 || slash + 1 == name.size()) return false;
    Text(345, 155, name.substr(0, slash)).Text(0, 100, name.substr(slash + 1));
    return true;
  }
  void PutLong(std::string_view text, std::size_t offset, const char* key, char gnu) {
    Text(offset, 100, text);
    if (text.size() <= 100 || names_ == LongNames::kCut) return;
    if (names_ == LongNames::kPax) {
      open_->pax += PaxRecord(key, text);
    } else {
      Builder extension;
      extension.Extension(gnu, std::string(text) + '\0');
      open_->before += extension.Finish(0);
    }
  }
  void Close() {
    if (!open_) return;
    OpenEntry entry = *std::exchange(open_, std::nullopt);
    out_ += entry.before;
    if (!entry.pax.empty()) {
      Builder extension;
      extension.Extension('x', entry.pax);
      out_ += extension.Finish(0);
    }
    const std::string sum = entry.checksum ? *entry.checksum : ChecksumOf(entry.header, entry.signed_sum);
    std::memcpy(&entry.header[148], sum.data(), sum.size() < 8 ? sum.size() : 8);
    out_.append(entry.header.data(), kBlock).append(entry.data);
  }

  Format format_;
  LongNames names_ = LongNames::kPax;
  std::optional<OpenEntry> open_;
  std::string out_;
};

// For fuzz targets, whom checksums would keep out: every block that looks like a header gets a right one.
inline std::string WithChecksums(std::string archive) {
  for (std::size_t at = 0; at + kBlock <= archive.size(); at += kBlock) {
    std::array<char, kBlock> block;
    std::copy_n(archive.data() + at, kBlock, block.data());
    if (block[155] != ' ') continue;
    archive.replace(at + 148, 8, Builder::ChecksumOf(block));
  }
  return archive;
}

}  // namespace berth::tar::testing
