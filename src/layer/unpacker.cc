#include "layer/unpacker.h"

#include <malloc.h>
#include <sys/mman.h>

#include <array>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <thread>
#include <utility>

#include "codec/crc32c.h"
#include "codec/decoder.h"
#include "digest/digest.h"
#include "erofs/writer.h"
#include "host/fd.h"
#include "layer/builder.h"
#include "layer/data_writer.h"
#include "layer/descriptor.h"
#include "layer/tree_writer.h"
#include "tar/reader.h"

namespace berth::layer {
namespace {

constexpr std::size_t kBufferBytes = 512u << 10, kBuffers = 24, kHugePage = 2u << 20;

Error OutOfMemory(const UnpackOptions& options) {
  return Error(Reason::kLimitExceeded, "unpacking the layer takes more than " + std::to_string(options.MemoryLimit() >> 20) +
                                           " MiB of memory (limits worker_bytes, zstd_window_bytes, entries)")
      .Next("raise limits.worker_bytes, if you trust this image");
}

// Calls `work`; running out of memory is an error like any other.
template <class F>
auto Guarded(const UnpackOptions& options, F&& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return OutOfMemory(options);
  } catch (const std::length_error&) {
    return OutOfMemory(options);
  }
}

class Counting final : public bytes::Source {
 public:
  explicit Counting(bytes::Source& from) : from_(from) {}
  Result<std::size_t> Read(bytes::MutableView room) override {
    auto got = from_.Read(room);
    if (got) count_ += *got;
    return got;
  }
  std::uint64_t count() const { return count_; }

 private:
  bytes::Source& from_;
  std::uint64_t count_ = 0;
};

// Buffers on their way from the decoder to those who read them, the parser and the hasher, and back when both are done.
// An empty one is the end of the stream.
class Pool {
 public:
  enum Reader : std::size_t { kParser, kHasher, kReaders };
  struct Buffer {
    std::byte* bytes = nullptr;
    std::size_t size = 0;
    std::size_t readers = 0;  // guarded by mutex_
    bytes::View data() const { return {bytes, size}; }
  };

  Pool() : memory_(static_cast<std::byte*>(std::aligned_alloc(kHugePage, kBuffers * kBufferBytes))) {
    if (!memory_) throw std::bad_alloc();
    (void)::madvise(memory_.get(), kBuffers * kBufferBytes, MADV_HUGEPAGE);  // a hint
    for (std::size_t i = 0; i < kBuffers; ++i) {
      buffers_[i].bytes = memory_.get() + i * kBufferBytes;
      free_.push_back(&buffers_[i]);
    }
  }

  // For the decoder. nullptr: the parser has given up.
  Buffer* TakeFree() {
    std::unique_lock lock(mutex_);
    freed_.wait(lock, [&] { return stopped_ || !free_.empty(); });
    return stopped_ ? nullptr : Pop(free_);
  }
  void GiveFull(Buffer* buffer) {
    const std::lock_guard lock(mutex_);
    buffer->readers = kReaders;
    for (auto& queue : full_) queue.push_back(buffer);
    filled_.notify_all();
  }
  void Fail(Error error) {
    const std::lock_guard lock(mutex_);
    failed_ = std::move(error);
    filled_.notify_all();
  }
  // The next buffer; the decoder's error when all before it were taken; nullptr after Stop().
  Result<const Buffer*> TakeFull(Reader reader) {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [&] { return stopped_ || failed_ || !full_[reader].empty(); });
    if (stopped_) return nullptr;
    if (full_[reader].empty()) return *failed_;
    return Pop(full_[reader]);
  }
  void GiveBack(const Buffer* buffer) {
    const std::lock_guard lock(mutex_);
    Buffer& b = buffers_[static_cast<std::size_t>(buffer - buffers_.data())];
    if (--b.readers > 0) return;
    free_.push_front(&b);  // the next to be filled: the caches still have it
    freed_.notify_one();
  }
  void Stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    freed_.notify_all();
    filled_.notify_all();
  }

 private:
  static Buffer* Pop(std::deque<Buffer*>& queue) {
    Buffer* buffer = queue.front();
    queue.pop_front();
    return buffer;
  }

  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  const std::unique_ptr<std::byte, Free> memory_;
  std::array<Buffer, kBuffers> buffers_;
  std::mutex mutex_;
  std::condition_variable freed_, filled_;
  std::deque<Buffer*> free_;                          // guarded by mutex_
  std::array<std::deque<Buffer*>, kReaders> full_;    // guarded by mutex_
  std::optional<Error> failed_;                       // guarded by mutex_
  bool stopped_ = false;                              // guarded by mutex_
};

Result<> Decode(codec::Decoder& decoder, Pool& pool) {
  for (Pool::Buffer* buffer; (buffer = pool.TakeFree());) {
    Result<std::size_t> got = 0;
    for (buffer->size = 0; buffer->size < kBufferBytes; buffer->size += *got) {
      got = decoder.Read({buffer->bytes + buffer->size, kBufferBytes - buffer->size});
      if (!got || *got == 0) break;
    }
    // What came before an error is parsed too: the verdict does not depend on how the input was cut.
    const bool last = buffer->size == 0;
    if (got || !last) pool.GiveFull(buffer);
    if (!got) return std::move(got).error();
    if (last) break;
  }
  return {};
}

// `writer` is null in tree form.
Result<Built> Parse(Pool& pool, ContentSink& sink, DataWriter* writer, const UnpackOptions& options) {
  TreeBuilder builder(sink, options.build);
  tar::Reader reader(builder, options.tar);
  for (;;) {
    ASSIGN_OR_RETURN(const Pool::Buffer* const buffer, pool.TakeFull(Pool::kParser));
    if (buffer->size == 0) break;
    RETURN_IF_ERROR(reader.Feed(buffer->data()));
    if (writer) {
      RETURN_IF_ERROR(writer->Flush(buffer));  // gives it back
    } else {
      pool.GiveBack(buffer);
    }
  }
  RETURN_IF_ERROR(reader.Finish());
  if (writer) RETURN_IF_ERROR(writer->Finish());
  return builder.Finish();
}

// Nothing when the others failed: they say why.
std::optional<digest::Digest> Hash(Pool& pool, digest::Algorithm algorithm) {
  digest::Hasher hasher(algorithm);
  for (;;) {
    const Result<const Pool::Buffer*> buffer = pool.TakeFull(Pool::kHasher);
    if (!buffer || *buffer == nullptr) return std::nullopt;
    if ((*buffer)->size == 0) return hasher.Finish();
    hasher.Update((*buffer)->data());
    pool.GiveBack(*buffer);
  }
}

}  // namespace

Result<UnpackReport> UnpackStream(bytes::Source& compressed, int data_fd, int meta_fd, const UnpackOptions& options,
                                  const std::function<void(const Error&)>& on_failure, Marks* marks) {
  return Guarded(options, [&]() -> Result<UnpackReport> {
    Counting source(compressed);
    ASSIGN_OR_RETURN(const std::unique_ptr<codec::Decoder> decoder, codec::Decoder::Open(source, options.codec));
    Pool pool;
    DataWriter writer(data_fd, [&pool](const void* buffer) { pool.GiveBack(static_cast<const Pool::Buffer*>(buffer)); });
    TreeWriter files(data_fd);
    const bool erofs = options.form == Form::kErofs;
    ContentSink& sink = erofs ? static_cast<ContentSink&>(writer) : files;
    Result<Built> parsed = Error(Reason::kInternal, "nothing was parsed");
    std::optional<digest::Digest> diff_id;
    {
      const std::jthread hasher([&] { diff_id = Hash(pool, options.diff_algorithm); });
      const std::jthread parser([&] {
        parsed = Guarded(options, [&] { return Parse(pool, sink, erofs ? &writer : nullptr, options); });
        if (parsed) return;
        if (on_failure) on_failure(parsed.error());
        pool.Stop();
      });
      auto decoded = Guarded(options, [&] { return Decode(*decoder, pool); });
      if (!decoded) pool.Fail(std::move(decoded).error());
    }
    if (!parsed) return std::move(parsed).error();
    BERTH_CHECK(diff_id.has_value());  // the parser has seen the end, so the hasher has
    Built& built = *parsed;
    if (!erofs) RETURN_IF_ERROR(files.Finish(built.tree));

    UnpackReport report{.blob = options.blob,
                        .diff_id = *diff_id,
                        .form = options.form,
                        .format = decoder->format(),
                        .compressed_bytes = source.count(),
                        .uncompressed_bytes = decoder->produced(),
                        .entries = built.entries,
                        .nodes = built.nodes,
                        .unpacked_bytes = built.unpacked_bytes,
                        .data_bytes = erofs ? writer.bytes() : files.bytes(),
                        .implied = built.fixups.implied.size() - (built.root.implied ? 1u : 0u),
                        .outside_links = built.fixups.links.size(),
                        .root = built.root,
                        .ignored = built.ignored};
    // The contents go to the disk meanwhile: whoever makes the layer durable finds little left to do.
    Result<> synced, written;
    {
      std::jthread sync;
      if (erofs) sync = std::jthread([&] { synced = host::SyncFile(data_fd); });
      written = WriteMeta(meta_fd, built, erofs ? writer.crcs() : files.crcs(), report);
    }
    RETURN_IF_ERROR(written);
    RETURN_IF_ERROR(synced);
    if (!erofs && marks) {
      ASSIGN_OR_RETURN(*marks, MarksOf(built.tree));
    }
    return report;
  });
}

Result<> WriteMeta(int meta_fd, Built& built, const std::vector<std::uint32_t>& crcs, UnpackReport& report) {
  const erofs::Children children = erofs::ChildrenByName(built.tree);
  const std::string fixups = EncodeFixups(built.fixups, built.tree, children);
  // A device without blocks is none. In tree form the image only records the tree: each file is a device of its own, so
  // to speak.
  const std::uint64_t device = report.form == Form::kErofs ? report.data_bytes : report.unpacked_bytes;
  ASSIGN_OR_RETURN(const std::vector<std::byte> image,
                   MakeImage(built.tree, children, report.blob, device > 0 ? std::vector{device} : std::vector<std::uint64_t>{}));
  report.image_bytes = image.size();
  report.image_crc32c = codec::Crc32c(image);
  const std::string tail = EncodeDescriptor({report.ToJson(), fixups, crcs, image.size()});
  return host::PwritevAll(meta_fd, std::array{bytes::View(image), bytes::AsView(tail)}, 0);
}

Result<std::vector<std::byte>> MakeImage(erofs::Tree& tree, const erofs::Children& children, const digest::Digest& blob,
                                         std::vector<std::uint64_t> device_bytes) {
  erofs::WriteOptions options{.device_bytes = std::move(device_bytes), .image_bytes = kImageBytes + kImageBytesPerNode * tree.nodes.size()};
  for (std::size_t i = 0; i < options.uuid.size(); ++i) options.uuid[i] = static_cast<std::uint8_t>(blob.raw()[i]);
  MarkWhiteouts(tree);
  return erofs::WriteImage(tree, children, options);
}

void Prewarm() {
  // One heap for all threads: a second one would ask the system how many processors there are, by opening a file.
  mallopt(M_ARENA_MAX, 1);
  digest::Digest::Of({});
  try {
    std::jthread([] {}).join();
    throw std::runtime_error("");  // loads what unwinding needs
  } catch (const std::runtime_error&) {
  }
}

}  // namespace berth::layer
