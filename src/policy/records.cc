#include "policy/records.h"

#include <algorithm>

#include "log/log.h"
#include "reference/reference.h"

namespace berth::policy {
namespace {

using Check = AccessDecision::Check;

constexpr std::string_view kPrefix = "sha256-";
constexpr std::size_t kMaxFile = 4u << 20;
constexpr std::uint32_t kFileMode = 0600, kDirMode = 0700;

// The name under which the image service would know it; the spelling itself when it does not parse.
std::string Normalised(std::string_view image) {
  const auto reference = reference::Reference::Parse(image);
  return reference ? reference->Canonical() : std::string(image);
}

}  // namespace

std::string_view Name(Check check) {
  switch (check) {
    case Check::kNone: return "";
    case Check::kPolicyAllowed: return "credentialPolicyAllowed";
    case Check::kRecordFound: return "credentialRecordFound";
    case Check::kMustAuthenticate: return "mustAuthenticate";
    case Check::kError: return "error";
  }
  return "";
}

Result<std::shared_ptr<Records>> Records::Open(const host::Dir& root, Options options, const time::Clock& clock) {
  ASSIGN_OR_RETURN(const host::Dir base, root.MakeAndOpenDir("image_manager", kDirMode));
  ASSIGN_OR_RETURN(host::Dir pulling, base.MakeAndOpenDir("pulling", kDirMode));
  ASSIGN_OR_RETURN(host::Dir pulled, base.MakeAndOpenDir("pulled", kDirMode));
  RETURN_IF_ERROR(base.Sync());
  RETURN_IF_ERROR(root.Sync());
  std::shared_ptr<Records> out(new Records(std::move(pulling), std::move(pulled), std::move(options), clock));
  RETURN_IF_ERROR(out->Clean());
  return out;
}

Result<> Records::Clean() {
  const auto clean = [&](const host::Dir& dir, std::atomic<std::size_t>& count, const auto& renew) -> Result<> {
    ASSIGN_OR_RETURN(const auto names, dir.List());
    for (const auto& name : names) {
      if (name.ends_with(".tmp") || name.starts_with(".tmp-")) {
        RETURN_IF_ERROR(dir.Unlink(name));
        ++opened_.leftovers;
        continue;
      }
      if (!name.starts_with(kPrefix)) continue;
      ++count;
      const auto text = dir.ReadSmall(name, kMaxFile);
      const Result<bool> renewed = text ? renew(name, *text) : Result<bool>(text.error());
      if (renewed) {
        opened_.migrated += *renewed ? 1 : 0;
      } else {
        ++opened_.unreadable;
        log::Warning("a record of image access cannot be used", {{"file", name}, {"error", renewed.error()}});
      }
    }
    return {};
  };
  const auto renew_intent = [&](const std::string& name, const std::string& text) -> Result<bool> {
    ASSIGN_OR_RETURN(const auto intent, DecodeIntent(text));
    if (intent.outdated) RETURN_IF_ERROR(pulling_.WriteDurably(name, bytes::AsView(EncodeIntent(intent.image)), kFileMode));
    return intent.outdated;
  };
  const auto renew_record = [&](const std::string& name, const std::string& text) -> Result<bool> {
    ASSIGN_OR_RETURN(const auto decoded, DecodeRecord(text));
    if (decoded.outdated) RETURN_IF_ERROR(pulled_.WriteDurably(name, bytes::AsView(EncodeRecord(decoded.record)), kFileMode));
    return decoded.outdated;
  };
  RETURN_IF_ERROR(clean(pulling_, intent_files_, renew_intent));
  return clean(pulled_, record_files_, renew_record);
}

Result<bool> Records::IntentExists(const std::string& image) const {
  const auto text = pulling_.ReadSmall(RecordFileName(image), kMaxFile);
  if (!text && text.error().reason() == Reason::kMissing) return false;
  if (!text) return text.error();
  ASSIGN_OR_RETURN(const auto intent, DecodeIntent(*text));
  return intent.image == image;
}

Result<std::optional<PulledRecord>> Records::Read(const std::string& image_ref) const {
  const auto text = pulled_.ReadSmall(RecordFileName(image_ref), kMaxFile);
  if (!text && text.error().reason() == Reason::kMissing) return std::optional<PulledRecord>();
  if (!text) return text.error();
  ASSIGN_OR_RETURN(auto decoded, DecodeRecord(*text));
  if (decoded.record.image_ref != image_ref) return std::optional<PulledRecord>();
  return std::optional(std::move(decoded.record));
}

Result<> Records::Write(PulledRecord record) {
  record.updated = std::chrono::floor<std::chrono::seconds>(clock_.WallNow());
  const std::string name = RecordFileName(record.image_ref), text = EncodeRecord(record);
  // What could not be read back would lock everybody out.
  if (text.size() > kMaxFile) return Error(Reason::kLimitExceeded, "the access record of an image would be larger than 4 MiB");
  ASSIGN_OR_RETURN(const bool known, pulled_.Exists(name));
  RETURN_IF_ERROR(pulled_.WriteDurably(name, bytes::AsView(text), kFileMode));
  record_files_ += known ? 0 : 1;
  return {};
}

Records::Intent Records::Begin(const std::string& image) {
  std::string name = Normalised(image);
  std::lock_guard lock(running_mutex_);
  ++running_[image].pulls;
  ++names_[name];
  return Intent(this, image, std::move(name));
}

Result<> Records::Intent::MakeDurable() { return owner_->WriteIntent(image_); }

Result<> Records::WriteIntent(const std::string& image) {
  const std::string file = RecordFileName(image);
  std::lock_guard lock(StripeOf(image));
  // A concurrent pull of the same name has written it, and durably: it holds the stripe until then.
  if (const auto there = IntentExists(image); !there || !*there) {
    ASSIGN_OR_RETURN(const bool known, pulling_.Exists(file));
    RETURN_IF_ERROR(pulling_.WriteDurably(file, bytes::AsView(EncodeIntent(image)), kFileMode));
    intent_files_ += known ? 0 : 1;
  }
  std::lock_guard running(running_mutex_);
  running_[image].written = true;
  return {};
}

Result<> Records::Intent::Succeeded(const std::string& image_ref, const AccessCredential& credential) {
  Records* owner = std::exchange(owner_, nullptr);
  auto recorded = owner->RecordPulled(image_ref, image_, credential, Refresh::kYes);
  owner->End(image_, name_, !recorded);
  return recorded;
}

Result<> Records::RecordPulled(const std::string& image_ref, const std::string& image, const AccessCredential& credential,
                               Refresh refresh) {
  ASSIGN_OR_RETURN(const std::string name, reference::TrimTagAndDigest(image));
  std::lock_guard lock(StripeOf(image_ref));
  auto read = Read(image_ref);
  // An unreadable record is replaced: what it said cannot be trusted, and this pull has just been allowed.
  PulledRecord record = read && *read ? std::move(**read) : PulledRecord{.image_ref = image_ref};
  if (!Merge(record, name, credential) && refresh == Refresh::kNo) return {};
  return Write(std::move(record));
}

Result<std::shared_ptr<const void>> Records::RecordComing(const std::vector<std::string>& ids) {
  struct Hold {
    Hold(std::shared_ptr<Records> o, std::vector<std::string> i) : owner(std::move(o)), held(std::move(i)) {
      std::lock_guard lock(owner->running_mutex_);
      for (const auto& id : held) ++owner->coming_[id].pulls;
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() {
      std::lock_guard lock(owner->running_mutex_);
      for (const auto& id : held) {
        Coming& coming = owner->coming_[id];
        --coming.pulls;
        coming.last = std::chrono::floor<std::chrono::seconds>(owner->clock_.WallNow());
      }
    }
    const std::shared_ptr<Records> owner;
    const std::vector<std::string> held;
  };
  // Before the files: a Prune() that has not looked yet spares them, one that has is overtaken by the stripe.
  auto hold = std::make_shared<const Hold>(shared_from_this(), ids);
  const auto record = [&](const std::string& id) -> Result<> {
    std::lock_guard lock(StripeOf(id));
    auto read = Read(id);
    if (!read && read.error().reason() != Reason::kCorrupt) return read.error();
    if (read && *read) return {};
    return Write(PulledRecord{.image_ref = id});
  };
  for (const auto& id : ids)
    if (auto recorded = record(id); !recorded)
      return std::move(recorded).error()
          .Context("record of who may use the image " + Quoted(id) + " in image_manager/pulled, without which it may not appear")
          .Next("see that berthd can write to that folder of its store; the pull is tried again");
  return std::shared_ptr<const void>(std::move(hold));
}

void Records::End(const std::string& image, const std::string& name, bool keep) {
  // The stripe first: a pull that begins meanwhile finds the file either kept or gone, and writes its own.
  std::lock_guard stripe(StripeOf(image));
  {
    std::lock_guard lock(running_mutex_);
    if (const auto it = names_.find(name); it != names_.end() && --it->second == 0) names_.erase(it);
    const auto it = running_.find(image);
    it->second.keep |= keep;
    if (--it->second.pulls > 0 || it->second.keep) return;
    const bool written = it->second.written;
    running_.erase(it);
    if (!written) return;
  }
  const auto gone = pulling_.Unlink(RecordFileName(image));
  if (!gone) log::Warning("an intent to pull an image stays: the image counts as pulled by this node", {{"image", image}, {"error", gone.error()}});
  else intent_files_ -= *gone ? 1 : 0;
}

bool Records::VerificationRequired(const std::string& image, bool pulled_by_us) const {
  switch (options_.policy) {
    case VerificationPolicy::kNeverVerify: return false;
    case VerificationPolicy::kNeverVerifyPreloaded: return pulled_by_us;
    case VerificationPolicy::kNeverVerifyAllowlisted: return !options_.allow_list.Matches(image);
    case VerificationPolicy::kAlwaysVerify: return true;
  }
  return true;
}

AccessDecision Records::MustAttemptPull(const std::string& image, const std::string& image_ref, const PodCredentials& pod_credentials) {
  const auto decide = [](bool must, Check check, std::string why) {
    AccessDecision d;
    d.must_pull = must;
    d.check = check;
    d.why = std::move(why);
    return d;
  };
  if (image_ref.empty()) return decide(true, Check::kNone, "the image is not on the node");

  // Intent before record: a pull that ends in between has written the record before its intent went.
  bool intent = false;
  {
    std::lock_guard lock(running_mutex_);
    intent = running_.contains(image) || names_.contains(Normalised(image));
  }
  if (!intent) {
    const auto on_disk = IntentExists(image);
    if (!on_disk) return decide(true, Check::kError, "the intent to pull the image cannot be read: " + on_disk.error().Text());
    intent = *on_disk;
  }
  const auto read = Read(image_ref);
  if (!read) return decide(true, Check::kError, "the record of the image cannot be read: " + read.error().Text());
  const auto& record = *read;

  if (!VerificationRequired(image, intent || record)) {
    return decide(false, Check::kPolicyAllowed, std::string(Name(options_.policy)) + ": no proof is asked for" + (record ? "" : "; no Pod's pull brought it: it was preloaded (berth pull)"));
  }
  if (!record) return decide(true, Check::kMustAuthenticate, "no record says who may use the image");
  const auto name = reference::TrimTagAndDigest(image);
  if (!name) return decide(true, Check::kError, name.error().Text());
  const auto found = record->access.find(*name);
  if (found == record->access.end()) return decide(true, Check::kMustAuthenticate, "the image was never pulled by the name " + Quoted(*name));
  const Access& access = found->second;
  if (access.node_pods) return decide(false, Check::kRecordFound, "pulled without a Pod's credentials: open to every Pod of the node");

  AccessDecision out = decide(true, Check::kMustAuthenticate, "none of the Pod's credentials has proven itself for the image");
  out.proven = access.secrets;
  out.proven.insert(out.proven.end(), access.accounts.begin(), access.accounts.end());
  if (out.proven.empty()) return out;
  const auto pod = pod_credentials();
  if (!pod) {
    out.check = Check::kError;
    out.why = "the Pod's credentials cannot be looked up";
    out.error = pod.error();
    return out;
  }
  const auto allow = [&](const AccessCredential& credential, std::string_view why, bool news) {
    out.must_pull = false;
    out.check = Check::kRecordFound;
    out.matched = credential;
    out.why = credential.Describe() + std::string(why);
    if (news)
      if (const auto written = RecordPulled(image_ref, image, credential, Refresh::kNo); !written)
        log::Warning("a proven credential could not be recorded", {{"image", image}, {"error", written.error()}});
    return std::move(out);
  };
  const bool room = access.secrets.size() < kMaxSecrets;
  for (const auto& credential : *pod) {
    if (credential.kind != AccessCredential::Kind::kSecret) continue;
    for (const auto& stored : access.secrets) {
      const bool same = stored.SameObject(credential);
      if (!stored.hash.empty() && stored.hash == credential.hash)
        return allow(credential, same ? " has proven itself before" : " holds what " + stored.Describe() + " has proven", !same && room);
      if (same && room) return allow(credential, " has proven itself before, with other content", true);
    }
  }
  for (const auto& credential : *pod) {
    if (credential.kind != AccessCredential::Kind::kServiceAccount) continue;
    const auto same = [&](const AccessCredential& stored) { return stored.SameObject(credential); };
    if (std::any_of(access.accounts.begin(), access.accounts.end(), same)) return allow(credential, " has proven itself before", false);
    break;  // the first one only
  }
  return out;
}

Result<std::size_t> Records::AdoptIntents(std::span<const PresentImage> images) {
  ASSIGN_OR_RETURN(const auto files, pulling_.List());
  std::size_t adopted = 0;
  for (const auto& file : files) {
    if (!file.starts_with(kPrefix)) continue;
    const auto text = pulling_.ReadSmall(file, kMaxFile);
    const auto intent = text ? DecodeIntent(*text) : Result<DecodedIntent>(text.error());
    if (!intent) continue;  // Clean() has said so
    const std::string name = Normalised(intent->image);
    bool found = false;
    for (const auto& image : images) {
      const auto names = [&](const std::string& n) { return n == intent->image || n == name; };
      if (std::none_of(image.names.begin(), image.names.end(), names)) continue;
      found = true;
      std::lock_guard lock(StripeOf(image.id));
      const auto read = Read(image.id);
      if (!read || !*read) RETURN_IF_ERROR(Write({.image_ref = image.id}));
    }
    if (!found) continue;
    std::lock_guard stripe(StripeOf(intent->image));
    {
      std::lock_guard lock(running_mutex_);
      if (running_.contains(intent->image)) continue;  // a new pull needs it
    }
    ASSIGN_OR_RETURN(const bool gone, pulling_.Unlink(file));
    intent_files_ -= gone ? 1 : 0;
    ++adopted;
  }
  return adopted;
}

Result<std::size_t> Records::Prune(const task::Context& ctx, const std::set<std::string>& present_ids, time::WallTime began) {
  ASSIGN_OR_RETURN(const auto files, pulled_.List());
  std::size_t pruned = 0;
  // Times are whole seconds: what is of the second in which `began` lies may be younger.
  const auto since = std::chrono::floor<std::chrono::seconds>(began);
  {
    std::lock_guard lock(running_mutex_);
    std::erase_if(coming_, [&](const auto& entry) { return entry.second.pulls == 0 && entry.second.last < since; });
  }
  for (const auto& file : files) {
    RETURN_IF_ERROR(ctx.Check());
    if (!file.starts_with(kPrefix)) continue;
    const auto text = pulled_.ReadSmall(file, kMaxFile);
    const auto decoded = text ? DecodeRecord(*text) : Result<DecodedRecord>(text.error());
    if (!decoded) continue;
    const std::string& id = decoded->record.image_ref;
    if (present_ids.contains(id)) continue;
    std::lock_guard lock(StripeOf(id));
    const auto now = Read(id);  // it may have been written since
    if (!now || !*now || (*now)->updated >= since || RecordFileName(id) != file) continue;
    {
      std::lock_guard running(running_mutex_);
      if (coming_.contains(id)) continue;  // it may be present by now
    }
    ASSIGN_OR_RETURN(const bool gone, pulled_.Unlink(file));
    record_files_ -= gone ? 1 : 0;
    pruned += gone ? 1 : 0;
  }
  return pruned;
}

std::optional<PulledRecord> Records::Find(const std::string& image_ref) const {
  auto read = Read(image_ref);
  return read ? *std::move(read) : std::nullopt;
}

}  // namespace berth::policy
