// catalog/leases.h: who is using which object right now, and which are on their way out.
//
// A running pull leases every object (document, blob, layer) it relies on, before it looks whether the object is there;
// a removal claims the objects it is about to delete. The two exclude each other: what is leased cannot be claimed,
// and a lease on a claimed object waits until the object is gone. Leases live in memory: berthd is the only writer of
// the store, and after a crash nothing of the old process runs.
//
// Safe for concurrent use. Leases outlive neither the Leases object.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "digest/digest.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::catalog {

class Leases {
 public:
  // Gives its objects back when it goes.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& o) noexcept : owner_(std::exchange(o.owner_, nullptr)), objects_(std::move(o.objects_)) {}
    Lease& operator=(Lease&& o) noexcept;
    ~Lease() { Release(); }
    void Release();

   private:
    friend class Leases;
    Lease(Leases* owner, std::vector<digest::Digest> objects) : owner_(owner), objects_(std::move(objects)) {}
    Leases* owner_ = nullptr;
    std::vector<digest::Digest> objects_;
  };
  // The objects of one removal: from the decision that nobody needs them to their last unlink.
  class Claim {
   public:
    Claim() = default;
    Claim(Claim&& o) noexcept : owner_(std::exchange(o.owner_, nullptr)), objects_(std::move(o.objects_)) {}
    Claim& operator=(Claim&& o) noexcept;
    ~Claim() { Release(); }
    void Release();
    const std::vector<digest::Digest>& objects() const { return objects_; }

   private:
    friend class Leases;
    Claim(Leases* owner, std::vector<digest::Digest> objects) : owner_(owner), objects_(std::move(objects)) {}
    Leases* owner_ = nullptr;
    std::vector<digest::Digest> objects_;
  };

  // Waits while any of them is claimed; all or nothing. Errors: those of the context.
  Result<Lease> Acquire(const task::Context& ctx, std::vector<digest::Digest> objects);
  // Those of `objects` that nobody leases and nobody claimed yet.
  Claim ClaimFree(const std::vector<digest::Digest>& objects);
  bool leased(const digest::Digest& object) const;
  bool claimed(const digest::Digest& object) const;  // on its way out: as good as gone for whoever looks now
  std::size_t size() const;  // objects leased now

 private:
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<digest::Digest, int> leased_;  // guarded by mutex_: how many leases hold it
  std::set<digest::Digest> claimed_;      // guarded by mutex_
};

}  // namespace berth::catalog
