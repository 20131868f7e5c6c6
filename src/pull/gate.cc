#include "pull/gate.h"

#include "log/log.h"

namespace berth::pull {

Result<std::optional<verify::Verdict>> Gate::Recall(const reference::Reference& name, const digest::Digest& digest) const {
  if (auto decided = verifier_->Decide(name, &digest)) return decided;
  ASSIGN_OR_RETURN(const auto kept, catalog_.FindVerdict(verifier_->KeyOf(name, digest)));
  if (!kept) return std::optional<verify::Verdict>();
  auto verdict = verify::Verdict::FromJson(kept->record);
  // One that cannot be read is none: it is asked for again.
  if (!verdict || !verifier_->Holds(*verdict, name)) return std::optional<verify::Verdict>();
  return std::optional(*std::move(verdict));
}

Result<verify::Verdict> Gate::Ask(const task::Context& ctx, const verify::Subject& subject, registry::Repository& repository) const {
  return verifier_->Verify(ctx, subject, repository);
}

catalog::VerdictRecord Gate::RecordOf(const verify::Subject& subject, const verify::Verdict& verdict) const {
  return {.subject = verifier_->KeyOf(subject.name, subject.digest), .target = subject.digest, .record = verdict.ToJson()};
}

Result<> Gate::Keep(const verify::Subject& subject, const verify::Verdict& verdict) const {
  return catalog_.KeepVerdict(RecordOf(subject, verdict));
}

Result<> Gate::CheckPresent(const reference::Reference& name, const digest::Digest& target) const {
  if (!on()) return {};
  ASSIGN_OR_RETURN(const auto verdict, Recall(name, target));
  if (verdict && !verdict->admitted()) return verdict->Refusal();
  if (verdict || !verifier_->MayRefuse(name)) return {};
  return verify::Verdict{.reason = "it was not verified under the rules that are in force now",
                         .next = "pull it again: berth pull --policy Always " + name.Familiar()}.Refusal();
}

Result<> Gate::CheckPresent(const catalog::ImageRecord& image) const {
  if (!on()) return {};
  Result<> last = Error(Reason::kSignature, "the image has no name by which it could be verified");
  for (const auto& text : image.names) {
    const auto name = reference::Reference::Parse(text);
    ASSIGN_OR_RETURN(const auto record, catalog_.FindName(text));
    if (!name || !record) continue;
    last = CheckPresent(*name, record->target);
    if (last) return last;
  }
  return last;
}

Result<> Gate::DropRefused(std::vector<catalog::ImageRecord>& images) const {
  Result<> last;
  std::erase_if(images, [&](const catalog::ImageRecord& image) {
    last = CheckPresent(image);
    return !last;
  });
  return images.empty() ? last : Result<>();
}

Result<std::string> Gate::Record(const catalog::NameRecord& name) const {
  const auto reference = reference::Reference::Parse(name.name);
  if (verifier_ == nullptr || !reference) return std::string();
  ASSIGN_OR_RETURN(const auto kept, catalog_.FindVerdict(verifier_->KeyOf(*reference, name.target)));
  return kept ? kept->record : std::string();
}

}  // namespace berth::pull
