// pull/gate.h: the verdicts on images: asked for once, kept with the image, void when the rules change.
//
// The one place that stands between an image and its use, on every way: a pull passes it after resolve and before any other byte, and
// before it publishes when the rules changed meanwhile; what is here already passes it before it is used, whatever the policy and
// however it came (reliability-security B-64).
// Refusals are kSignature errors. Without a verifier, or while it is off, everything passes.
// Safe for concurrent use.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "reference/reference.h"
#include "registry/client.h"
#include "result/result.h"
#include "task/context.h"
#include "verify/verifier.h"

namespace berth::pull {

class Gate {
 public:
  // `verifier`: nullptr for none; outlives the Gate.
  Gate(const verify::Verifier* verifier, catalog::Catalog& catalog) : verifier_(verifier), catalog_(catalog) {}

  bool on() const { return verifier_ != nullptr && verifier_->enabled(); }
  // A refusal of that name, whatever it stands for. REQUIRES: on(), here and below unless it says otherwise.
  std::optional<verify::Verdict> Refusal(const reference::Reference& name) const {
    auto verdict = verifier_->Decide(name, nullptr);
    return verdict && !verdict->admitted() ? verdict : std::nullopt;
  }
  // By the rules alone or from the record; nothing when somebody has to be asked.
  Result<std::optional<verify::Verdict>> Recall(const reference::Reference& name, const digest::Digest& digest) const;
  // Is a verdict of earlier one of the rules in force?
  bool Holds(const verify::Verdict& verdict, const reference::Reference& name) const { return verifier_->Holds(verdict, name); }
  // Whatever is on record.
  Result<verify::Verdict> Ask(const task::Context& ctx, const verify::Subject& subject, registry::Repository& repository) const;
  // What the catalog keeps of it.
  catalog::VerdictRecord RecordOf(const verify::Subject& subject, const verify::Verdict& verdict) const;
  Result<> Keep(const verify::Subject& subject, const verify::Verdict& verdict) const;

  // May what is here be used under this name, without asking anybody? An error says why not. Also while it is off.
  Result<> CheckPresent(const reference::Reference& name, const digest::Digest& target) const;
  // The same for an image under any of its names.
  Result<> CheckPresent(const catalog::ImageRecord& image) const;
  // Of the images with one id: takes out those that may not be used; an error when that are all.
  Result<> DropRefused(std::vector<catalog::ImageRecord>& images) const;
  // The record of the last verdict as JSON, "" when there is none. Also while it is off.
  Result<std::string> Record(const catalog::NameRecord& name) const;

 private:
  const verify::Verifier* verifier_;
  catalog::Catalog& catalog_;
};

}  // namespace berth::pull
