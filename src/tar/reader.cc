#include "tar/reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include "tar/header.h"
#include "tar/pax.h"

namespace berth::tar {
namespace {

constexpr std::int64_t kLastId = 4294967294;
constexpr std::int64_t kLastMajor = 4095, kLastMinor = 1048575;  // what Linux can hold: 12 and 20 bits

// The old GNU sparse layout: four segments in the header, 21 in each block that follows it.
constexpr std::size_t kSparseInHeader = 386, kSparseMore = 482, kSparseRealSize = 483, kSparsePerHeader = 4;
constexpr std::size_t kSparseBlockMore = 504, kSparsePerBlock = 21, kSparsePairBytes = 24;

std::uint64_t PaddingOf(std::uint64_t size) { return (kBlockBytes - size % kBlockBytes) % kBlockBytes; }

// The numbers of a version 1.0 sparse map, fed a block at a time: COUNT, then COUNT times OFFSET and LENGTH, each
// followed by a newline.
class MapParser {
 public:
  enum class Status : std::uint8_t { kMore, kDone, kBroken, kTooMany };

  Status Feed(const char* block, std::size_t limit, Segments& out) {
    for (std::size_t i = 0; i < kBlockBytes; ++i) {
      if (block[i] >= '0' && block[i] <= '9') {
        const auto digit = static_cast<std::uint64_t>(block[i] - '0');
        if (value_ > (std::uint64_t{std::numeric_limits<std::int64_t>::max()} - digit) / 10) return Status::kBroken;
        value_ = value_ * 10 + digit;
        started_ = true;
        continue;
      }
      if (block[i] != '\n' || !started_) return Status::kBroken;
      const std::uint64_t number = std::exchange(value_, 0);
      started_ = false;
      if (!left_) {
        if (number > limit) return Status::kTooMany;
        left_ = number;
      } else if (!offset_) {
        offset_ = number;
      } else {
        out.emplace_back(*std::exchange(offset_, std::nullopt), number);
        --*left_;
      }
      if (*left_ == 0) return Status::kDone;
    }
    return Status::kMore;
  }

 private:
  std::optional<std::uint64_t> left_, offset_;
  std::uint64_t value_ = 0;
  bool started_ = false;
};

}  // namespace

struct Reader::State {
  enum class Phase : std::uint8_t { kHeader, kExtension, kSparseBlock, kSparseMap, kData, kSkip, kEnded };

  State(Handler& h, const Limits& l) : handler(h), limits(l) {}

  Result<> Run(bytes::View piece) {
    while (!piece.empty()) {
      switch (phase) {
        case Phase::kEnded: return {};
        case Phase::kHeader:
        case Phase::kSparseBlock:
        case Phase::kSparseMap: {
          const char* const block = TakeBlock(piece);
          if (block == nullptr) return {};
          ahead = piece;
          RETURN_IF_ERROR(phase == Phase::kHeader        ? OnHeader(HeaderView(block))
                          : phase == Phase::kSparseBlock ? OnSparseBlock(HeaderView(block))
                                                         : OnSparseMap(block));
          break;
        }
        case Phase::kExtension: {
          const std::string_view text = bytes::AsText(Take(piece, left));
          extension.append(text);
          left -= text.size();
          if (left == 0) RETURN_IF_ERROR(OnExtension());
          break;
        }
        case Phase::kData: {
          const bytes::View data = Take(piece, left);
          const std::uint64_t at = data_offset;
          data_offset += data.size();
          left -= data.size();
          RETURN_IF_ERROR(handler.OnData(at, data));
          if (left == 0) RETURN_IF_ERROR(NextSegment());
          break;
        }
        case Phase::kSkip:
          left -= Take(piece, left).size();
          if (left == 0) phase = Phase::kHeader;
          break;
      }
    }
    return {};
  }

  Result<> Finish() const {
    switch (phase) {
      case Phase::kEnded: return {};
      case Phase::kHeader:
        if (staged > 0) return Broken("the archive ends inside a header");
        if (Waits()) return Broken("the archive ends after an extension header");
        return {};
      case Phase::kSkip:
        // Some writers that never close an archive leave out the padding of the last file: its contents are whole.
        if (skipping_padding && extensions == 0) return {};
        return Broken("the archive ends inside an extension header");
      case Phase::kExtension: return Broken("the archive ends inside an extension header");
      case Phase::kSparseBlock:
      case Phase::kSparseMap: return Broken("the archive ends inside a sparse map");
      case Phase::kData: return Broken("the archive ends inside the contents of a file");
    }
    return {};
  }

  // --- bytes

  bytes::View Take(bytes::View& piece, std::uint64_t most) {
    const bytes::View taken = piece.first(static_cast<std::size_t>(std::min<std::uint64_t>(most, piece.size())));
    piece = piece.subspan(taken.size());
    consumed += taken.size();
    return taken;
  }
  // The next whole block, in place if `piece` has all of it; nullptr: not there yet.
  const char* TakeBlock(bytes::View& piece) {
    if (staged == 0) header_at = phase == Phase::kHeader ? consumed : header_at;
    if (staged == 0 && piece.size() >= kBlockBytes) return bytes::AsText(Take(piece, kBlockBytes)).data();
    const bytes::View part = Take(piece, kBlockBytes - staged);
    std::memcpy(stage.data() + staged, part.data(), part.size());
    staged += part.size();
    if (staged < kBlockBytes) return nullptr;
    staged = 0;
    return stage.data();
  }

  std::string Place() const { return "tar header at byte " + std::to_string(header_at); }
  Error Broken(std::string what) const { return Error(Reason::kInvalidLayer, std::move(what)).Context(Place()); }
  Error TooMuch(std::string what, std::uint64_t limit, std::string_view name) const {
    return Error(Reason::kLimitExceeded,
                 std::move(what) + " more than " + std::to_string(limit) + " (limit " + std::string(name) + ")")
        .Context(Place());
  }

  // --- headers

  // An extension header for an entry of its own; a global one is for none.
  bool Waits() const { return pax || gnu_name || gnu_link; }

  Result<> OnHeader(HeaderView h) {
    if (h.IsZero()) {
      if (Waits()) return Broken("the archive ends after an extension header");
      if (zero_block) phase = Phase::kEnded;
      zero_block = true;
      return {};
    }
    // Readers disagree about what follows a single zero block, so nothing may.
    if (zero_block) return Broken("a single zero block stands inside the archive");
    if (!h.ChecksumMatches()) return Broken("the checksum does not match");
    switch (h.type()) {
      case 'x':
      case 'g':
      case 'L':
      case 'K': return OnExtensionHeader(h);
      default: return OnEntryHeader(h);
    }
  }

  Result<> OnExtensionHeader(HeaderView h) {
    ASSIGN_OR_RETURN(const std::uint64_t size, SizeOf(h, /*blank_is_zero=*/false));
    if (size > limits.extension_bytes) return TooMuch("an extension header has", limits.extension_bytes, "extension_bytes");
    if (++extensions > limits.extensions_in_a_row) {
      return TooMuch("the extension headers before one entry are", limits.extensions_in_a_row, "extensions_in_a_row");
    }
    extension_type = h.type();
    if (extension_type == 'g') {
      // A global header would change entries far away from it; nothing a layer needs is said there.
      Skip(size + PaddingOf(size), /*padding=*/false);
      return {};
    }
    extension.clear();
    padding = PaddingOf(size);
    left = size;
    phase = Phase::kExtension;
    return size == 0 ? OnExtension() : Result<>();
  }

  Result<> OnExtension() {
    // Of two headers of a kind some readers take the first, some the last, some both: OnEntryHeader refuses.
    if (extension_type == 'x') {
      repeated = repeated || pax.has_value();
      Result<Pax> parsed = ParsePax(extension, limits);
      if (!parsed) return Error(std::move(parsed).error()).Context(Place());
      pax = *std::move(parsed);
    } else {
      std::optional<std::string>& text = extension_type == 'L' ? gnu_name : gnu_link;
      repeated = repeated || text.has_value();
      text = extension.substr(0, extension.find('\0'));
      if (text->empty()) return Broken("a GNU long name is empty");
    }
    Skip(padding, /*padding=*/false);
    return {};
  }

  Result<std::int64_t> NumberOf(std::string_view field, std::int64_t most, std::string_view what) const {
    const std::optional<Numeric> n = ParseNumeric(field);
    if (!n || !n->exact || n->value < 0 || n->value > most) return Broken("the " + std::string(what) + " is not valid");
    return n->value;
  }
  Result<std::uint64_t> SizeOf(HeaderView h, bool blank_is_zero) const {
    const std::optional<Numeric> n = ParseNumeric(h.size());
    if (!n || !n->exact || n->value < 0 || (n->blank && !blank_is_zero)) return Broken("the size is not valid");
    return static_cast<std::uint64_t>(n->value);
  }

  Result<> OnEntryHeader(HeaderView h) {
    if (entries == limits.entries) return TooMuch("the entries of the archive are", limits.entries, "entries");
    if (repeated) return Broken("an entry has two extension headers of one kind");
    static const Pax kNone;
    const Pax& p = pax ? *pax : kNone;
    RETURN_IF_ERROR(SetNames(h, p));
    RETURN_IF_ERROR(SetType(h));
    RETURN_IF_ERROR(SetAttributes(h, p));
    entry.header_offset = header_at;
    entry.sparse = false;
    entry.segments.clear();
    entry.size = 0;
    if (entry.type != Type::kFile) {
      if (p.sparse) return Broken("an entry that is not a file has a sparse map");
      // Contents of entries that have none: the size is not believed, from whichever header. So do the readers of
      // container runtimes; an archive that does carry contents there fails at its next header.
      ASSIGN_OR_RETURN(const std::uint64_t claimed, SizeOf(h, /*blank_is_zero=*/true));
      if (h.type() == '\0' && (claimed != 0 || p.size.value_or(0) != 0)) {
        return Broken("an entry is named like a directory but has contents");
      }
      payload = 0;
      return Begin();
    }
    payload = p.size.value_or(0);
    if (!p.size) {
      ASSIGN_OR_RETURN(payload, SizeOf(h, /*blank_is_zero=*/false));
    }
    if (payload > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) - consumed - kBlockBytes) {
      return Broken("the size is not valid");
    }
    if (payload > limits.file_bytes) return FileTooLarge();
    if (h.type() == 'S') return OnGnuSparse(h);
    if (p.sparse) return OnPaxSparse();
    entry.size = payload;
    return Begin();
  }

  Result<> SetNames(HeaderView h, const Pax& p) {
    const std::optional<std::string>& path = p.sparse_name ? p.sparse_name : p.path;
    if (path && gnu_name && *path != *gnu_name) return Broken("the PAX path and the GNU long name differ");
    if (path || gnu_name) {
      entry.name = path ? *path : *gnu_name;
      return {};
    }
    entry.name = h.prefix();
    if (!entry.name.empty()) entry.name += '/';
    entry.name += h.name();
    return {};
  }

  Result<> SetType(HeaderView h) {
    switch (h.type()) {
      case '\0': entry.type = entry.name.ends_with('/') ? Type::kDirectory : Type::kFile; return {};
      case '0':
      case '7': entry.type = Type::kFile; return {};
      case 'S':
        // Only GNU's layout of the map is known; star's differs.
        if (h.dialect() != Dialect::kGnu) return Broken("a sparse file is not in the GNU format");
        entry.type = Type::kFile;
        return {};
      case '1': entry.type = Type::kHardLink; return {};
      case '2': entry.type = Type::kSymlink; return {};
      case '3': entry.type = Type::kCharDevice; return {};
      case '4': entry.type = Type::kBlockDevice; return {};
      case '5': entry.type = Type::kDirectory; return {};
      case '6': entry.type = Type::kFifo; return {};
      default: {
        const char type = h.type();
        return Broken("the entry type " + Quoted({&type, 1}) + " is not known");
      }
    }
  }

  Result<> SetAttributes(HeaderView h, const Pax& p) {
    entry.link.clear();
    if (entry.type == Type::kHardLink || entry.type == Type::kSymlink) {
      if (p.link && gnu_link && *p.link != *gnu_link) return Broken("the PAX linkpath and the GNU long link differ");
      entry.link = p.link ? *p.link : gnu_link ? *gnu_link : h.link();
    }
    constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();
    ASSIGN_OR_RETURN(const std::int64_t mode, NumberOf(h.mode(), kAny, "mode"));
    entry.mode = static_cast<std::uint32_t>(mode & 07777);
    entry.uid = p.uid.value_or(0);
    if (!p.uid) {
      ASSIGN_OR_RETURN(const std::int64_t uid, NumberOf(h.uid(), kLastId, "uid"));
      entry.uid = static_cast<std::uint32_t>(uid);
    }
    entry.gid = p.gid.value_or(0);
    if (!p.gid) {
      ASSIGN_OR_RETURN(const std::int64_t gid, NumberOf(h.gid(), kLastId, "gid"));
      entry.gid = static_cast<std::uint32_t>(gid);
    }
    if (p.mtime) {
      std::tie(entry.mtime_seconds, entry.mtime_nanos) = *p.mtime;
    } else {
      const std::optional<Numeric> mtime = ParseNumeric(h.mtime());
      if (!mtime) return Broken("the mtime is not valid");
      std::tie(entry.mtime_seconds, entry.mtime_nanos) = ClampTime(mtime->value, 0);
    }
    entry.dev_major = entry.dev_minor = 0;
    if ((entry.type == Type::kCharDevice || entry.type == Type::kBlockDevice) && h.dialect() != Dialect::kV7) {
      ASSIGN_OR_RETURN(const std::int64_t major, NumberOf(h.dev_major(), kLastMajor, "device number"));
      ASSIGN_OR_RETURN(const std::int64_t minor, NumberOf(h.dev_minor(), kLastMinor, "device number"));
      entry.dev_major = static_cast<std::uint32_t>(major);
      entry.dev_minor = static_cast<std::uint32_t>(minor);
    }
    return {};
  }

  Error FileTooLarge() const { return TooMuch("the bytes of one file are", limits.file_bytes, "file_bytes"); }

  // --- sparse files

  Result<> OnGnuSparse(HeaderView h) {
    if (pax && pax->sparse) return Broken("a sparse file has two maps");
    constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();
    ASSIGN_OR_RETURN(const std::int64_t real, NumberOf(h.Field(kSparseRealSize, 12), kAny, "sparse file size"));
    entry.sparse = true;
    entry.size = static_cast<std::uint64_t>(real);
    map_payload = 0;
    if (entry.size > limits.file_bytes) return FileTooLarge();
    RETURN_IF_ERROR(AddGnuSegments(h, kSparseInHeader, kSparsePerHeader));
    if (h.Field(kSparseMore, 1)[0] == 0) return BeginSparse();
    phase = Phase::kSparseBlock;
    return {};
  }

  Result<> OnSparseBlock(HeaderView h) {
    RETURN_IF_ERROR(AddGnuSegments(h, 0, kSparsePerBlock));
    return h.Field(kSparseBlockMore, 1)[0] == 0 ? BeginSparse() : Result<>();
  }

  Result<> AddGnuSegments(HeaderView h, std::size_t at, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i, at += kSparsePairBytes) {
      const std::optional<Numeric> offset = ParseNumeric(h.Field(at, 12));
      const std::optional<Numeric> length = ParseNumeric(h.Field(at + 12, 12));
      if (!offset || !length || !offset->exact || !length->exact || offset->value < 0 || length->value < 0 ||
          offset->blank != length->blank) {
        return Broken("a sparse map is not valid");
      }
      if (offset->blank) return {};
      if (entry.segments.size() == limits.sparse_segments) return TooManySegments();
      entry.segments.emplace_back(offset->value, length->value);
    }
    return {};
  }

  Result<> OnPaxSparse() {
    entry.sparse = true;
    entry.size = *pax->sparse_size;
    map_payload = 0;
    if (entry.size > limits.file_bytes) return FileTooLarge();
    if (!pax->sparse_map_in_data) {
      entry.segments = std::move(pax->sparse_map);
      return BeginSparse();
    }
    map = MapParser();
    if (payload < kBlockBytes) return Broken("a sparse map is not valid");
    phase = Phase::kSparseMap;
    return {};
  }

  Result<> OnSparseMap(const char* block) {
    map_payload += kBlockBytes;
    switch (map.Feed(block, limits.sparse_segments, entry.segments)) {
      case MapParser::Status::kDone: return BeginSparse();
      case MapParser::Status::kTooMany: return TooManySegments();
      case MapParser::Status::kBroken: return Broken("a sparse map is not valid");
      case MapParser::Status::kMore: break;
    }
    if (payload - map_payload < kBlockBytes) return Broken("a sparse map is not valid");
    return {};
  }

  Error TooManySegments() const {
    return TooMuch("the segments of a sparse file are", limits.sparse_segments, "sparse_segments");
  }

  // The map is complete: checks it against the sizes and keeps the segments that hold data.
  Result<> BeginSparse() {
    std::uint64_t end = 0, sum = 0;
    bool uneven = false;
    for (const auto& [offset, length] : entry.segments) {
      if (offset < end || offset > entry.size || length > entry.size - offset) {
        return Broken("the segments of a sparse file overlap, descend or leave the file");
      }
      // GNU tar starts every segment on a block of its own, others do not: the same only for whole blocks.
      if (uneven && length > 0) return Broken("a segment of a sparse file is not a whole number of blocks");
      uneven = uneven || length % kBlockBytes != 0;
      end = offset + length;
      sum += length;
    }
    if (sum != payload - map_payload) return Broken("a sparse file has more or less data than its map says");
    std::erase_if(entry.segments, [](const auto& s) { return s.second == 0; });
    return Begin();
  }

  // --- entries

  Result<> Begin() {
    entry.xattrs.clear();
    if (extensions > 0) {
      if (pax) entry.xattrs = std::move(pax->xattrs);
      pax.reset();
      gnu_name.reset();
      gnu_link.reset();
      extensions = 0;
    }
    ++entries;
    phase = Phase::kHeader;
    FetchNextHeader();
    RETURN_IF_ERROR(handler.OnEntry(entry));
    if (entry.type != Type::kFile) return {};
    segment = 0;
    left = 0;
    if (!entry.sparse && entry.size > 0) {
      data_offset = 0;
      left = entry.size;
      phase = Phase::kData;
      return {};
    }
    return NextSegment();
  }

  // Into this processor's cache while the handler takes the entry: another one's decoder wrote it, and archives of small files
  // are all headers.
  void FetchNextHeader() const {
    const std::uint64_t distance = entry.type == Type::kFile ? payload + PaddingOf(payload) : 0;
    if (distance > ahead.size() || ahead.size() - distance < kBlockBytes) return;
    for (std::size_t at = 0; at < kBlockBytes; at += 64) __builtin_prefetch(ahead.data() + distance + at);
  }

  // Behind a segment of a file: the next one, or the end of the file.
  Result<> NextSegment() {
    if (segment < entry.segments.size()) {
      std::tie(data_offset, left) = entry.segments[segment++];
      phase = Phase::kData;
      return {};
    }
    Skip(PaddingOf(payload), /*padding=*/true);
    return handler.OnFileEnd();
  }

  void Skip(std::uint64_t count, bool is_padding) {
    left = count;
    skipping_padding = is_padding;
    phase = count == 0 ? Phase::kHeader : Phase::kSkip;
  }

  Handler& handler;
  const Limits limits;
  Phase phase = Phase::kHeader;
  bool zero_block = false;        // one was seen
  bool skipping_padding = false;  // of a file whose contents are complete
  bool repeated = false;          // two extension headers of one kind are pending
  std::optional<Error> failed;
  std::uint64_t consumed = 0;     // bytes of the archive so far
  std::uint64_t header_at = 0;
  std::uint64_t entries = 0;
  bytes::View ahead;              // of the input, behind the block that is looked at; good for nothing but prefetching
  std::size_t staged = 0;
  std::array<char, kBlockBytes> stage{};

  // Extensions waiting for their entry.
  std::size_t extensions = 0;
  char extension_type = 0;
  std::string extension;
  std::optional<Pax> pax;
  std::optional<std::string> gnu_name, gnu_link;

  // The entry being read.
  Entry entry;
  MapParser map;
  std::uint64_t payload = 0;      // bytes in the archive, without padding
  std::uint64_t map_payload = 0;  // of them, the sparse map
  std::uint64_t padding = 0;      // behind the extension
  std::uint64_t left = 0;         // of the extension, the segment or the bytes to skip
  std::uint64_t data_offset = 0;
  std::size_t segment = 0;
};

Reader::Reader(Handler& handler, const Limits& limits) : state_(std::make_unique<State>(handler, limits)) {}
Reader::~Reader() = default;

Result<> Reader::Feed(bytes::View piece) {
  if (state_->failed) return *state_->failed;
  Result<> result = state_->Run(piece);
  if (!result) state_->failed = result.error();
  return result;
}

Result<> Reader::Finish() {
  if (state_->failed) return *state_->failed;
  return state_->Finish();
}

std::uint64_t Reader::entries() const { return state_->entries; }

}  // namespace berth::tar
