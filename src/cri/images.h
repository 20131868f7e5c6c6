// cri/images.h: the images of the store as CRI shows them, kept ready until one of them changes.
//
// One entry for each config digest, which is the image's id. A name belongs to the one image that it means on this machine (the
// best platform of its index): so status by id, by any tag and by any digest give the same Image, and images of other
// platforms are listed (they take space, and can be removed by id) but have no names. Newest pull first.
//
// A View is immutable and true as of one catalog::Catalog::version(). Lists are held in wire form, in parts that are
// messages of StreamImages and, put together, one message of ListImages: a list of 1,000 images is sent as it lies here,
// shared by all who read it. uid and user name come from the configs, which are read once: a digest's contents do not change.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "catalog/catalog.h"
#include "content/store.h"
#include "oci/oci.h"
#include "result/result.h"
#include "runtime/v1/api.pb.h"
#include "task/context.h"

namespace berth::cri {

namespace v1 = ::runtime::v1;

// How many hex digits at least a piece of an id must have: what people type to look, what tools print to remove.
inline constexpr std::size_t kDigitsToLook = 4, kDigitsToRemove = 12;

class View {
 public:
  struct Entry {
    v1::Image image;
    std::vector<digest::Digest> manifests;  // with this config; the one for this machine first
    bool config_read = true;                // else uid and username are missing
  };

  const std::vector<Entry>& entries() const { return entries_; }
  // By the digest of a config or manifest (reference::IsImageId), by name, by at least `digits` hex digits with
  // which exactly one id begins; in this order. nullptr: there is none, whatever the text is. kUsage: several begin so.
  Result<const Entry*> Find(std::string_view text, std::size_t digits) const;
  const Entry* FindName(const std::string& canonical) const;
  const Entry* FindId(const std::string& id) const;  // "sha256:…" of the config
  // The serialised list in parts; empty when there is no image.
  const std::vector<grpc::Slice>& parts() const { return parts_; }
  std::size_t bytes() const { return bytes_; }

 private:
  friend class Images;
  std::uint64_t version_ = 0;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::size_t> names_;
  std::map<std::string, std::size_t, std::less<>> ids_;  // "sha256:…" of configs
  std::unordered_map<std::string, std::size_t> manifests_;
  std::vector<grpc::Slice> parts_;
  std::size_t bytes_ = 0;
};

// Safe for concurrent use.
class Images {
 public:
  // `part_bytes`: of a part of the list, unless one image is longer.
  Images(catalog::Catalog& catalog, const content::Store& content, const oci::Platform& host, std::size_t part_bytes = 256u << 10)
      : catalog_(catalog), content_(content), matcher_(host), part_bytes_(part_bytes) {}

  // The list as it is now, if nothing has to be read for it. Never blocks.
  std::shared_ptr<const View> Ready() const;
  // The same, made anew when something changed: everything that was done when this is called is in it.
  Result<std::shared_ptr<const View>> Get();

 private:
  Result<std::shared_ptr<const View>> Build(const View* before) const;
  bool ReadUser(View::Entry& entry, const digest::Digest& config) const;

  catalog::Catalog& catalog_;
  const content::Store& content_;
  const oci::PlatformMatcher matcher_;
  const std::size_t part_bytes_;
  std::mutex building_;  // one at a time; taken before mutex_
  mutable std::mutex mutex_;
  std::shared_ptr<const View> view_;  // guarded by mutex_
};

}  // namespace berth::cri
