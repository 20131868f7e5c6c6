#include "cri/images.h"

#include <algorithm>
#include <optional>

#include "log/log.h"
#include "reference/reference.h"

namespace berth::cri {
namespace {

constexpr std::size_t kConfigBytes = 64u << 20;  // far above any limit under which one was stored

}  // namespace

// --- View

const View::Entry* View::FindName(const std::string& canonical) const {
  const auto found = names_.find(canonical);
  return found == names_.end() ? nullptr : &entries_[found->second];
}

const View::Entry* View::FindId(const std::string& id) const {
  const auto found = ids_.find(id);
  return found == ids_.end() ? nullptr : &entries_[found->second];
}

Result<const View::Entry*> View::Find(std::string_view text, std::size_t digits) const {
  if (const auto whole = reference::ParseImageId(text)) {
    const std::string id = whole->ToString();
    if (const Entry* entry = FindId(id)) return entry;
    const auto found = manifests_.find(id);
    return found == manifests_.end() ? nullptr : &entries_[found->second];
  }
  const std::string_view hex = reference::IdDigits(text);
  if (hex.empty() || hex.size() == text.size()) {
    if (const auto reference = reference::Reference::Parse(text))
      if (const Entry* named = FindName(reference->Canonical())) return named;
  }
  if (hex.size() < digits || hex.size() >= 2 * digest::ByteLength(digest::Algorithm::kSha512)) return nullptr;
  const Entry* only = nullptr;
  for (const auto algorithm : digest::kAlgorithms) {
    const std::string begin = std::string(digest::Name(algorithm)) + ':' + std::string(hex);
    if (hex.size() != text.size() && text != begin) continue;
    for (auto at = ids_.lower_bound(begin); at != ids_.end() && at->first.starts_with(begin); ++at) {
      if (only != nullptr) return Error(Reason::kUsage, "several image ids begin with " + Quoted(text)).Next("give more digits");
      only = &entries_[at->second];
    }
  }
  return only;
}

// --- Images

std::shared_ptr<const View> Images::Ready() const {
  const std::uint64_t now = catalog_.version();
  std::lock_guard lock(mutex_);
  return view_ && view_->version_ == now ? view_ : nullptr;
}

Result<std::shared_ptr<const View>> Images::Get() {
  if (auto view = Ready()) return view;
  std::lock_guard one(building_);
  if (auto view = Ready()) return view;
  // Only the builder replaces it, and that is us.
  const std::shared_ptr<const View> before = [&] {
    std::lock_guard lock(mutex_);
    return view_;
  }();
  ASSIGN_OR_RETURN(auto view, Build(before.get()));
  std::lock_guard lock(mutex_);
  view_ = view;
  return view;
}

bool Images::ReadUser(View::Entry& entry, const digest::Digest& config) const {
  const auto user = [&]() -> Result<> {
    ASSIGN_OR_RETURN(const std::string bytes, content_.ReadDocument(config, kConfigBytes));
    ASSIGN_OR_RETURN(const auto parsed, oci::ImageConfig::Parse(bytes, {.document_bytes = kConfigBytes}));
    if (const auto uid = parsed.Uid()) entry.image.mutable_uid()->set_value(*uid);
    entry.image.set_username(parsed.Username());
    return {};
  }();
  // Listed all the same: it can be seen and removed. Who would run it reads the config, and fails.
  if (!user) log::Warning("the config of an image cannot be read", {{"image", config.ToString()}, {"error", user.error()}});
  return user.has_value();
}

Result<std::shared_ptr<const View>> Images::Build(const View* before) const {
  auto view = std::make_shared<View>();
  view->version_ = catalog_.version();  // before the question: what changes meanwhile makes the next one
  ASSIGN_OR_RETURN(const auto records, catalog_.ListImages());

  // Which of its images a name means here.
  struct Meaning {
    std::size_t rank, record;
  };
  std::map<std::string_view, std::optional<std::size_t>> ranks;  // few platforms, many images
  std::map<std::string_view, Meaning> meanings;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const auto [known, fresh] = ranks.try_emplace(records[i].platform);
    if (fresh) known->second = matcher_.Rank(records[i].platform);
    if (!known->second) continue;
    for (const auto& name : records[i].names) {
      const auto [best, first] = meanings.try_emplace(name, Meaning{*known->second, i});
      if (!first && *known->second < best->second.rank) best->second = {*known->second, i};
    }
  }

  view->entries_.reserve(records.size());
  view->names_.reserve(meanings.size());
  view->manifests_.reserve(records.size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    const auto& record = records[i];
    const std::string id = record.config.ToString();
    const auto [place, fresh] = view->ids_.try_emplace(id, view->entries_.size());
    if (fresh) {
      auto& entry = view->entries_.emplace_back();
      entry.image.set_id(id);
      const View::Entry* known = before == nullptr ? nullptr : before->FindId(id);
      if (known != nullptr && known->config_read) {
        if (known->image.has_uid()) *entry.image.mutable_uid() = known->image.uid();
        entry.image.set_username(known->image.username());
      } else {
        entry.config_read = ReadUser(entry, record.config);
      }
    }
    auto& entry = view->entries_[place->second];
    bool meant = false;
    for (const auto& name : record.names) {
      const auto meaning = meanings.find(name);
      if (meaning == meanings.end() || meaning->second.record != i) continue;
      meant = true;
      *(name.find('@') == name.npos ? entry.image.add_repo_tags() : entry.image.add_repo_digests()) = name;
      view->names_.emplace(name, place->second);
    }
    entry.manifests.insert(meant ? entry.manifests.begin() : entry.manifests.end(), record.manifest);
    entry.image.set_size(std::max(entry.image.size(), record.size));
    if (record.pin) entry.image.set_pinned(true);
    view->manifests_.emplace(record.manifest.ToString(), place->second);
  }

  v1::StreamImagesResponse part;
  std::size_t bytes = 0;
  const auto close = [&] {
    view->parts_.emplace_back(part.SerializeAsString());
    view->bytes_ += view->parts_.back().size();
    part.clear_images();
    bytes = 0;
  };
  for (auto& entry : view->entries_) {
    std::ranges::sort(*entry.image.mutable_repo_tags());
    std::ranges::sort(*entry.image.mutable_repo_digests());
    const std::size_t size = entry.image.ByteSizeLong() + 8;
    if (bytes > 0 && bytes + size > part_bytes_) close();
    *part.add_images() = entry.image;
    bytes += size;
  }
  if (bytes > 0) close();
  return std::shared_ptr<const View>(std::move(view));
}

}  // namespace berth::cri
