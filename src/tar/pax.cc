#include "tar/pax.h"

#include <algorithm>
#include <limits>

namespace berth::tar {
namespace {

constexpr std::int64_t kLastSecond = 9223372036;  // the last one whose nanoseconds fit 64 bits: the year 2262
constexpr std::size_t kXattrNameBytes = 255;      // XATTR_NAME_MAX of Linux
constexpr std::uint64_t kLastId = 4294967294;     // 4294967295 is (uid_t)-1: "leave as it is" to chown
constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";
constexpr std::string_view kSparsePrefix = "GNU.sparse.";

Error Broken(std::string what) { return Error(Reason::kInvalidLayer, std::move(what)); }

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

struct Record {
  std::string_view key, value;
};

// Takes one record off the front of `body`.
Result<Record> TakeRecord(std::string_view& body) {
  std::size_t length = 0, digits = 0;
  for (; digits < body.size() && IsDigit(body[digits]); ++digits) {
    length = length * 10 + static_cast<std::size_t>(body[digits] - '0');
    if (length > body.size()) return Broken("a PAX record is longer than its header");
  }
  if (digits == 0 || digits == body.size() || body[digits] != ' ') return Broken("a PAX record has no valid length");
  if (length < digits + 2 || body[length - 1] != '\n') return Broken("a PAX record does not end where it says");
  const std::string_view text = body.substr(digits + 1, length - digits - 2);
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) return Broken("a PAX record has no key");
  body.remove_prefix(length);
  return Record{text.substr(0, equals), text.substr(equals + 1)};
}

Result<std::optional<std::string>> ParseText(const Record& r) {
  if (r.value.empty()) return std::optional<std::string>();
  if (r.value.find('\0') != std::string_view::npos) return Broken("the PAX " + std::string(r.key) + " contains a NUL");
  return std::optional<std::string>(r.value);
}

Result<std::optional<std::uint32_t>> ParseId(const Record& r) {
  if (r.value.empty()) return std::optional<std::uint32_t>();
  const std::optional<std::uint64_t> id = ParseDecimal(r.value);
  if (!id || *id > kLastId) return Broken("the PAX " + std::string(r.key) + " is not a number from 0 to 4294967294");
  return std::optional<std::uint32_t>(static_cast<std::uint32_t>(*id));
}

// [-]digits[.digits]: neither exponents nor names of numbers. Whatever lies outside of the range is clamped.
Result<std::optional<std::pair<std::int64_t, std::uint32_t>>> ParseTime(std::string_view text) {
  using Time = std::optional<std::pair<std::int64_t, std::uint32_t>>;
  if (text.empty()) return Time();
  const bool negative = text[0] == '-';
  if (negative) text.remove_prefix(1);
  const std::size_t dot = std::min(text.find('.'), text.size());
  const std::string_view whole = text.substr(0, dot);
  const std::string_view fraction = dot < text.size() ? text.substr(dot + 1) : std::string_view();
  if (whole.empty() || !std::ranges::all_of(whole, IsDigit) || !std::ranges::all_of(fraction, IsDigit)) {
    return Broken("the PAX mtime is not a decimal number");
  }
  if (negative) return Time(ClampTime(-1, 0));
  std::int64_t seconds = 0;
  for (const char c : whole) seconds = std::min<std::int64_t>(seconds * 10 + (c - '0'), kLastSecond);
  std::uint32_t nanos = 0;
  for (std::size_t i = 0; i < 9; ++i) {
    nanos = nanos * 10 + (i < fraction.size() ? static_cast<std::uint32_t>(fraction[i] - '0') : 0);
  }
  return Time(ClampTime(seconds, nanos));
}

Result<> AddXattr(Pax& pax, std::string_view name, std::string_view value, const Limits& limits) {
  const std::size_t dot = name.find('.');
  if (name.size() > kXattrNameBytes || dot == std::string_view::npos || dot == 0 || dot + 1 == name.size() ||
      name.find('\0') != std::string_view::npos) {
    return Broken("an extended attribute has the invalid name " + Quoted(name));
  }
  if (value.size() > limits.xattr_value_bytes) {
    return Broken("the extended attribute " + Quoted(name) + " is larger than " +
                  std::to_string(limits.xattr_value_bytes) + " bytes (limit xattr_value_bytes)");
  }
  const auto same = std::ranges::find(pax.xattrs, name, [](const auto& x) -> std::string_view { return x.first; });
  if (same != pax.xattrs.end()) {
    same->second = std::string(value);
  } else {
    if (pax.xattrs.size() >= limits.xattrs) {
      return Broken("more than " + std::to_string(limits.xattrs) + " extended attributes on one file (limit xattrs)");
    }
    pax.xattrs.emplace_back(name, value);
  }
  std::size_t total = 0;
  for (const auto& [key, bytes] : pax.xattrs) total += key.size() + bytes.size();
  if (total > limits.xattr_total_bytes) {
    return Broken("the extended attributes of one file take more than " + std::to_string(limits.xattr_total_bytes) +
                  " bytes (limit xattr_total_bytes)");
  }
  return {};
}

class SparseKeys {
 public:
  explicit SparseKeys(const Limits& limits) : limits_(limits) {}

  Result<> Take(Pax& pax, const Record& r) {
    const std::string_view key = r.key.substr(kSparsePrefix.size());
    pax.sparse = true;
    if (key == "name") {
      ASSIGN_OR_RETURN(pax.sparse_name, ParseText(r));
      return {};
    }
    if (key == "map") return TakeMap(pax, r.value);
    const std::optional<std::uint64_t> number = ParseDecimal(r.value);
    if (!number) return Broken("the PAX " + Quoted(r.key) + " is not a decimal number");
    if (key == "size" || key == "realsize") {
      if (pax.sparse_size && *pax.sparse_size != *number) return Broken("a sparse file has two sizes");
      pax.sparse_size = number;
    } else if (key == "major") {
      major_ = number;
    } else if (key == "minor") {
      minor_ = number;
    } else if (key == "numblocks") {
      count_ = number;
    } else if (key == "offset") {
      if (offset_) return Broken("a sparse map gives an offset without a length");
      offset_ = number;
    } else if (key == "numbytes") {
      if (!offset_) return Broken("a sparse map gives a length without an offset");
      RETURN_IF_ERROR(Add(pax, *std::exchange(offset_, std::nullopt), *number));
    } else {
      return Broken("the PAX header has the unknown sparse key " + Quoted(r.key));
    }
    return {};
  }

  Result<> Close(Pax& pax) const {
    if (!pax.sparse) return {};
    const std::uint64_t major = major_.value_or(0);
    const std::uint64_t minor = minor_.value_or(0);
    if (!(major == 0 && minor <= 1) && !(major == 1 && minor == 0)) return Broken("the sparse format is not known");
    pax.sparse_map_in_data = major == 1;
    if (!pax.sparse_size) return Broken("a sparse file has no size");
    if (offset_) return Broken("a sparse map gives an offset without a length");
    if (pax.sparse_map_in_data && !pax.sparse_map.empty()) return Broken("a sparse file has two maps");
    if (!pax.sparse_map_in_data && count_ > limits_.sparse_segments) return TooManySegments();
    if (!pax.sparse_map_in_data && count_ && *count_ != pax.sparse_map.size()) {
      return Broken("a sparse map has another number of segments than it says");
    }
    return {};
  }

 private:
  Error TooManySegments() const {
    return Error(Reason::kLimitExceeded, "a sparse file has more than " + std::to_string(limits_.sparse_segments) +
                                             " segments (limit sparse_segments)");
  }
  Result<> Add(Pax& pax, std::uint64_t offset, std::uint64_t length) {
    if (pax.sparse_map.size() >= limits_.sparse_segments) {
      return TooManySegments();
    }
    pax.sparse_map.emplace_back(offset, length);
    return {};
  }
  Result<> TakeMap(Pax& pax, std::string_view map) {
    pax.sparse_map.clear();
    std::optional<std::uint64_t> offset;
    while (!map.empty()) {
      const std::size_t comma = std::min(map.find(','), map.size());
      const std::optional<std::uint64_t> number = ParseDecimal(map.substr(0, comma));
      if (!number || comma + 1 == map.size()) return Broken("a sparse map is not a list of numbers");
      if (offset) {
        RETURN_IF_ERROR(Add(pax, *std::exchange(offset, std::nullopt), *number));
      } else {
        offset = number;
      }
      map.remove_prefix(std::min(comma + 1, map.size()));
    }
    if (offset) return Broken("a sparse map gives an offset without a length");
    return {};
  }

  const Limits& limits_;
  std::optional<std::uint64_t> major_, minor_, count_, offset_;
};

}  // namespace

std::pair<std::int64_t, std::uint32_t> ClampTime(std::int64_t seconds, std::uint32_t nanos) {
  if (seconds < 0) return {0, 0};
  if (seconds >= kLastSecond) return {kLastSecond, 0};
  return {seconds, nanos};
}

std::optional<std::uint64_t> ParseDecimal(std::string_view text) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
  if (text.empty()) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : text) {
    if (!IsDigit(c)) return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (value > (kMax - digit) / 10) return std::nullopt;
    value = value * 10 + digit;
  }
  return value;
}

Result<Pax> ParsePax(std::string_view body, const Limits& limits) {
  Pax pax;
  SparseKeys sparse(limits);
  while (!body.empty()) {
    ASSIGN_OR_RETURN(const Record r, TakeRecord(body));
    if (r.key == "path") {
      ASSIGN_OR_RETURN(pax.path, ParseText(r));
    } else if (r.key == "linkpath") {
      ASSIGN_OR_RETURN(pax.link, ParseText(r));
    } else if (r.key == "size") {
      pax.size = ParseDecimal(r.value);
      if (!pax.size && !r.value.empty()) return Broken("the PAX size is not a decimal number below 2^63");
    } else if (r.key == "uid") {
      ASSIGN_OR_RETURN(pax.uid, ParseId(r));
    } else if (r.key == "gid") {
      ASSIGN_OR_RETURN(pax.gid, ParseId(r));
    } else if (r.key == "mtime") {
      ASSIGN_OR_RETURN(pax.mtime, ParseTime(r.value));
    } else if (r.key.starts_with(kXattrPrefix)) {
      RETURN_IF_ERROR(AddXattr(pax, r.key.substr(kXattrPrefix.size()), r.value, limits));
    } else if (r.key.starts_with(kSparsePrefix)) {
      RETURN_IF_ERROR(sparse.Take(pax, r));
    }
  }
  RETURN_IF_ERROR(sparse.Close(pax));
  return pax;
}

}  // namespace berth::tar
