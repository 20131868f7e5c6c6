// policy/records.h: may this Pod use an image that is on the node already? The records on disk and the decision.
//
// Rules: kubelet-images 4.8. Below the root folder: image_manager/pulling (an intent for each pull that runs, by the
// user's spelling) and image_manager/pulled (a record for each image this node pulled, by image id); folders 0700, files
// 0600, readable by a kubelet and written by one.
//
//   auto intent = records.Begin(image);           // from here on others see a pull of ours
//   RETURN_IF_ERROR(intent.MakeDurable());        // before the first byte is asked for
//   … pull, which calls RecordComing(ids) before it makes images visible …
//   intent.Succeeded(image_ref, credential);      // or it goes: the pull failed
//
// An image without record and intent was not pulled by this node ("preloaded"). Where we are stricter than the kubelet:
//   - An image that a pull of ours makes visible has a record before (RecordComing); who pulled it is added when the pull has
//     succeeded. So no image that was pulled with a secret ever looks preloaded, under whatever name or id, though the pull be
//     cancelled or its success never recorded. Files are synced, the intent goes last: a crash at any point leaves one of the
//     two. Old files of interrupted writes are removed by Open().
//   - An intent counts for every spelling of its name while it runs, and after a crash for images whose names equal it once
//     normalised (AdoptIntents); the kubelet compares letters, so `busybox` never finds `docker.io/library/busybox:latest`.
//   - Prune() takes the ids of all images present, and spares a record that may be younger than `began` or whose image may be.
// There is no cache: the files are the truth, one decision reads at most two of them, and an operator who
// removes a file is obeyed at once.
//
// Errors: those of host; kCorrupt for files that cannot be read. Safe for concurrent use; decisions for different images do
// not wait for each other's disk writes (31 stripes of locks).
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/dir.h"
#include "policy/record.h"
#include "policy/verification.h"
#include "result/result.h"
#include "task/context.h"
#include "time/clock.h"

namespace berth::policy {

struct AccessDecision {
  // The label of kubelet_imagemanager_image_mustpull_checks_total; kNone is not counted.
  enum class Check : unsigned char { kNone, kPolicyAllowed, kRecordFound, kMustAuthenticate, kError };
  bool must_pull = true;
  Check check = Check::kNone;
  std::optional<Error> error;              // of looking up the Pod's credentials: ends the attempt
  // For explain.
  std::string why;                         // "no record says who may use the image"
  std::optional<AccessCredential> matched; // of the Pod
  std::vector<AccessCredential> proven;    // for this name
};
std::string_view Name(AccessDecision::Check check);  // "credentialRecordFound"

// Shared: pulls hold it until they have ended.
class Records : public std::enable_shared_from_this<Records> {
 public:
  static constexpr std::size_t kMaxSecrets = 100;  // of one image and name; more prove themselves by pulling
  struct Options {
    VerificationPolicy policy = VerificationPolicy::kNeverVerifyPreloaded;
    AllowList allow_list;
  };
  struct Opened {
    std::size_t leftovers = 0;  // unfinished files removed
    std::size_t migrated = 0;   // files of an older version written anew
    std::size_t unreadable = 0; // left where they are
  };
  struct PresentImage {
    std::string id;
    std::vector<std::string> names;  // tags and digests, normalised: "docker.io/library/busybox:latest"
  };

  // One at a time for one `root` (the kubelet's, or our own state folder). Makes the folders.
  static Result<std::shared_ptr<Records>> Open(const host::Dir& root, Options options, const time::Clock& clock);
  Records(const Records&) = delete;
  Records& operator=(const Records&) = delete;
  const Opened& opened() const { return opened_; }

  // A pull of ours. Move-only; unless it succeeded, it ends as failed.
  class Intent {
   public:
    Intent(Intent&& o) noexcept : owner_(std::exchange(o.owner_, nullptr)), image_(std::move(o.image_)), name_(std::move(o.name_)) {}
    Intent& operator=(Intent&&) = delete;
    ~Intent() { if (owner_ != nullptr) owner_->End(image_, name_, false); }

    Result<> MakeDurable();
    // The record first, durable; then the intent's file. On an error the file stays, and with it the duty to verify.
    Result<> Succeeded(const std::string& image_ref, const AccessCredential& credential);

   private:
    friend class Records;
    Intent(Records* owner, std::string image, std::string name) : owner_(owner), image_(std::move(image)), name_(std::move(name)) {}
    Records* owner_;
    std::string image_, name_;  // the user's spelling; normalised
  };
  Intent Begin(const std::string& image);  // REQUIRES: the Records outlive it

  // Images of these ids are about to become visible through a pull of ours: each gets a durable record that nobody has proven anything
  // for; one that is there keeps its proofs. On an error they must stay invisible. Who pulls keeps the answer until they are visible:
  // Prune() spares their records.
  Result<std::shared_ptr<const void>> RecordComing(const std::vector<std::string>& ids);

  // 4.8.4. `pod_credentials`: every secret that matches the image and the first service account; asked for only when they
  // decide. A secret that is recognised by its content or by its object is written to the record, too.
  using PodCredentials = std::function<Result<std::vector<AccessCredential>>()>;
  AccessDecision MustAttemptPull(const std::string& image, const std::string& image_ref, const PodCredentials& pod_credentials);

  // At start: what pulls left that a crash ended. Images they produced get a record that nobody has proven anything for.
  // Returns how many intents went; those without an image stay.
  Result<std::size_t> AdoptIntents(std::span<const PresentImage> images);
  // After garbage collection, which began at `began`: records of images that are gone. Returns how many.
  Result<std::size_t> Prune(const task::Context& ctx, const std::set<std::string>& present_ids, time::WallTime began);

  std::optional<PulledRecord> Find(const std::string& image_ref) const;  // for explain; nothing when unreadable, too
  std::size_t intents_on_disk() const { return intent_files_; }          // kubelet_imagemanager_ondisk_pullintents
  std::size_t records_on_disk() const { return record_files_; }          // …_ondisk_pulledrecords

 private:
  struct Running {
    int pulls = 0;
    bool written = false;  // the file is ours to remove
    bool keep = false;  // a record could not be written: the file stays
  };
  struct Coming {
    int pulls = 0;
    std::chrono::sys_seconds last{};  // when one of them ended
  };
  Records(host::Dir pulling, host::Dir pulled, Options options, const time::Clock& clock)
      : pulling_(std::move(pulling)), pulled_(std::move(pulled)), options_(std::move(options)), clock_(clock) {}
  Result<> Clean();
  std::mutex& StripeOf(std::string_view key) const { return stripes_[std::hash<std::string_view>()(key) % stripes_.size()]; }
  Result<bool> IntentExists(const std::string& image) const;
  Result<std::optional<PulledRecord>> Read(const std::string& image_ref) const;
  Result<> Write(PulledRecord record);  // stripe of the image_ref held
  Result<> WriteIntent(const std::string& image);
  // kYes: written even when it says nothing new, so that Prune() sees how young it is.
  enum class Refresh : bool { kNo, kYes };
  Result<> RecordPulled(const std::string& image_ref, const std::string& name, const AccessCredential& credential, Refresh refresh);
  void End(const std::string& image, const std::string& name, bool keep);
  bool VerificationRequired(const std::string& image, bool pulled_by_us) const;

  const host::Dir pulling_, pulled_;
  const Options options_;
  const time::Clock& clock_;
  Opened opened_;
  mutable std::array<std::mutex, 31> stripes_;  // of intents and records, by key; never two at once
  std::atomic<std::size_t> intent_files_ = 0, record_files_ = 0;
  mutable std::mutex running_mutex_;
  std::map<std::string, Running> running_;  // guarded by running_mutex_: by the user's spelling
  std::map<std::string, int> names_;        // guarded by running_mutex_: by normalised name
  std::map<std::string, Coming> coming_;    // guarded by running_mutex_: by id; until a Prune() that began after the last
};

}  // namespace berth::policy
