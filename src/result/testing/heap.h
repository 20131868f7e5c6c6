// result/testing/heap.h: what a piece of code allocates: how often, and how much at once.
//
//   const HeapWatch heap;
//   Parse(text);
//   BERTH_CHECK(heap.most() < 4 << 20);
//
// It replaces operator new and delete: for programs of one source file (fuzz targets), which include it. Allocations that C libraries
// make for themselves are not seen. Counts those of the watching thread; several watches may overlap.
#pragma once

#include <malloc.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace berth::result::testing {

struct HeapCounts {
  std::int64_t live = 0, most = 0, bytes = 0, times = 0;
};
inline thread_local HeapCounts heap_counts;

class HeapWatch {
 public:
  HeapWatch() : before_(heap_counts) { heap_counts.most = heap_counts.live; }
  ~HeapWatch() { heap_counts.most = std::max(heap_counts.most, before_.most); }
  HeapWatch(const HeapWatch&) = delete;
  HeapWatch& operator=(const HeapWatch&) = delete;

  std::size_t most() const { return static_cast<std::size_t>(heap_counts.most - before_.live); }     // live at once, bytes
  std::size_t bytes() const { return static_cast<std::size_t>(heap_counts.bytes - before_.bytes); }  // all together
  std::size_t times() const { return static_cast<std::size_t>(heap_counts.times - before_.times); }

 private:
  const HeapCounts before_;
};

}  // namespace berth::result::testing

// Not inlined: gcc would see free() of what came from operator new, and refuse it.
[[gnu::noinline]] void* operator new(std::size_t size) {
  void* const made = std::malloc(size == 0 ? 1 : size);
  if (made == nullptr) std::abort();
  auto& counts = berth::result::testing::heap_counts;
  const auto got = static_cast<std::int64_t>(malloc_usable_size(made));
  counts.live += got, counts.bytes += got, ++counts.times;
  counts.most = std::max(counts.most, counts.live);
  return made;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return operator new(size); }
[[gnu::noinline]] void operator delete(void* gone) noexcept {
  if (gone != nullptr) berth::result::testing::heap_counts.live -= static_cast<std::int64_t>(malloc_usable_size(gone));
  std::free(gone);
}
void operator delete(void* gone, std::size_t) noexcept { operator delete(gone); }
