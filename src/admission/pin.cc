#include "admission/pin.h"

#include <algorithm>
#include <map>
#include <set>

#include "credentials/match.h"
#include "kube/validate.h"
#include "time/go_duration.h"

namespace berth::admission {
namespace {

using json::Tree;

constexpr std::string_view kPlugin = "PinImages";

enum class Mode : std::uint8_t { kOff, kDryRun, kEnforce };

bool Matches(const std::vector<std::string>& patterns, const std::string& repository) {
  return std::ranges::any_of(patterns, [&](const std::string& p) {
    const auto key = credentials::IndexKey(credentials::Profile::kDocumented, p);
    return key && credentials::Matches(credentials::Profile::kDocumented, *key, repository);
  });
}

kube::Answer<Mode> ModeOf(const task::Context& ctx, const Request& request, Facts* facts, const PinOptions& options) {
  const Mode enforce = options.dry_run ? Mode::kDryRun : Mode::kEnforce;
  if (std::ranges::find(options.exempt_namespaces, request.ns) != options.exempt_namespaces.end()) return Mode::kOff;
  if (options.label.empty()) return enforce;
  if (facts == nullptr) return Mode::kOff;
  auto labels = facts->NamespaceLabels(ctx, request.ns);
  if (!labels) return kube::Refusal(labels);
  const auto label = labels->find(options.label);
  if (label == labels->end()) return Mode::kOff;
  if (label->second == "Enforce") return enforce;
  if (label->second == "DryRun") return Mode::kDryRun;
  // Off would be a way around, and a typing error.
  return kube::Status::Forbidden("namespaces", request.ns, "label " + options.label + " is " + Quoted(label->second) + ", supported values: \"Enforce\", \"DryRun\"");
}

std::vector<std::string> PullSecrets(const PodPart& pod) {
  std::vector<std::string> names;
  if (const Tree* list = pod.spec->Find("imagePullSecrets"))
    for (const Tree& entry : list->items())
      if (!entry.Text("name").empty()) names.emplace_back(entry.Text("name"));
  return names;
}

std::string Key(const Image& image) { return std::string(image.IsVolume() ? kPinnedVolume : kPinnedFrom) + std::string(image.owner_name); }

// The same container or volume of the old object.
const Image* Before(const std::optional<PodPart>& old, const Image& image) {
  if (!old) return nullptr;
  const auto same = [&](const Image& i) { return i.kind == image.kind && i.owner_name == image.owner_name; };
  const auto it = std::ranges::find_if(old->images, same);
  return it == old->images.end() ? nullptr : &*it;
}

// Kubernetes refuses what has no name or two of the same; until then it could not be said whose annotation it is.
kube::Answer<> CheckNames(const std::vector<const Image*>& images, const PodPart& pod, const Request& request) {
  kube::FieldErrors errors;
  for (const Image* i : images) {
    const auto same = [&](const Image& o) { return o.IsVolume() == i->IsVolume() && o.owner_name == i->owner_name; };
    const std::string field = i->owner_place.Member("name").field;
    if (i->owner_name.empty()) errors.push_back({kube::FieldError::Type::kRequired, field, "", ""});
    else if (const std::string why = kube::Dns1123Label(i->owner_name); !why.empty())
      errors.push_back({kube::FieldError::Type::kInvalid, field, Quoted(i->owner_name), why});
    else if (std::ranges::count_if(pod.images, same) > 1)
      errors.push_back({kube::FieldError::Type::kDuplicate, field, Quoted(i->owner_name), ""});
  }
  if (errors.empty()) return {};
  if (errors.size() > 10) errors.resize(10);
  return kube::Status::Invalid(request.kind->kind, request.name, errors);
}

std::string Sentence(const Error& error) { return error.Text() + (error.next_step().empty() ? "" : "; " + error.next_step()); }

class Pinner {
 public:
  Pinner(Draft& draft, const PodPart& pod, const Request& request, const PinOptions& options, Mode mode, Pinned& notes)
      : draft_(draft), pod_(pod), request_(request), options_(options), mode_(mode), notes_(notes) {}

  kube::Answer<> Run(const task::Context& ctx, DigestCache& digests) {
    if (!request_.create() && request_.old != nullptr) {
      auto old = FindPod(*request_.old, *request_.kind);
      if (!old) return kube::Refusal(old);
      old_ = *std::move(old);
    }
    for (const Image& i : pod_.images) Look(i);
    if (lookups_.size() > options_.images)
      return request_.Forbidden("it has " + std::to_string(lookups_.size()) + " different images to pin, " + std::to_string(options_.images) + " at most (limit: images)");
    if (!request_.ephemeral() && mode_ == Mode::kEnforce)
      if (auto fine = CheckNames(names_, pod_, request_); !fine) return fine;
    for (const auto& [image, error] : barred_)
      if (auto fine = Answered(*image, error); !fine) return fine;
    for (const auto& [image, text] : kept_) Apply(*image, text, "applied again as it was written: it keeps its digest");
    const auto answers = digests.Resolve(ctx, lookups_);
    for (const auto& [image, at] : asked_)
      if (auto fine = Answered(*image, answers[at]); !fine) return fine;
    return {};
  }

 private:
  void Look(const Image& image) {
    const std::string_view text = image.name();
    if (text.empty() || (request_.ephemeral() && image.kind != Image::Kind::kEphemeral)) return;
    const Image* before = Before(old_, image);
    if (before != nullptr && before->name() == text) return;
    const auto name = reference::Reference::Parse(text);
    if (!name) return Warn(image, "is no image name, the node will refuse it: " + name.error().message());
    if (name->digest() || Matches(options_.exempt_images, name->Repository())) return;
    names_.push_back(&image);
    if (before != nullptr && old_->Annotation(Key(image)) == text) {
      const auto pinned = reference::Reference::Parse(before->name());
      if (pinned && pinned->digest() && pinned->Repository() == name->Repository()) {
        kept_.emplace_back(&image, std::string(before->name()));
        return;
      }
    }
    if (options_.registries && !Matches(*options_.registries, name->Repository())) {
      barred_.emplace_back(&image, Error(Reason::kPolicy, Quoted(name->domain()) + " is not among the registries that admission may ask")
                                       .Next("name it by digest, or have the registry added (pin.registries)"));
      return;
    }
    const auto [it, fresh] = places_.try_emplace(name->ToString(), lookups_.size());
    if (fresh) lookups_.push_back({*name, request_.ns, secrets_});
    asked_.emplace_back(&image, it->second);
  }

  kube::Answer<> Answered(const Image& image, const Result<Resolution>& answer) {
    if (answer) {
      if (answer->age)
        Warn(image, "the registry does not answer; the digest of " + time::FormatGoDuration(std::chrono::floor<std::chrono::seconds>(*answer->age)) + " ago is used");
      Apply(image, std::string(image.name()) + "@" + answer->digest.ToString(), "the tag stands for this digest now");
      return {};
    }
    const Error& error = answer.error();
    const bool down = error.transient() || error.cancelled();
    const std::string why = "cannot be resolved to a digest: " + Sentence(error);
    if (mode_ == Mode::kDryRun || (down ? options_.unavailable : options_.unresolved) == OnFailure::kAllow) {
      Warn(image, mode_ == Mode::kDryRun ? why + " (dry run)" : why + "; the tag stays");
      return {};
    }
    notes_.cause = error.reason();
    return request_.Forbidden(image.place.Member(image.image_key()).field + ": " + Quoted(image.name()) + " " + why);
  }

  void Apply(const Image& image, std::string text, std::string why) {
    if (mode_ == Mode::kDryRun) return Warn(image, "would become " + Quoted(text) + " (dry run)");
    const std::string was(image.name());
    draft_.Set(*image.owner, image.place, image.image_key(), Tree(text), kPlugin, std::move(why));
    if (request_.ephemeral()) return;
    if (const std::string_view policy = pod_.Annotation(kPinnedPolicy);
        request_.create() && (policy == "IfNotPresent" || policy == "Always" || policy == "Never"))
      draft_.Set(*image.owner, image.place, image.policy_key(), Tree(policy), kPlugin, "annotation " + std::string(kPinnedPolicy));
    Annotate(Key(image), was);
  }

  void Annotate(const std::string& key, const std::string& value) {
    Tree& holder = *pod_.holder;
    for (Tree* at = &holder; const char* part : {"metadata", "annotations"}) {
      if (const Tree* there = at->Find(part); there == nullptr || there->IsNull())
        draft_.Set(*at, at == &holder ? pod_.place : pod_.place.Member("metadata"), part, Tree::Object(), kPlugin, "to keep the names as they were written");
      at = at->Find(part);
    }
    draft_.Set(*holder.Find("metadata")->Find("annotations"), pod_.place.Member("metadata").Member("annotations"), key, Tree(value), kPlugin,
               "the name as it was written");
  }

  void Warn(const Image& image, const std::string& what) {
    notes_.warnings.push_back(image.place.Member(image.image_key()).field + ": " + Quoted(image.name()) + " " + what);
  }

  Draft& draft_;
  const PodPart& pod_;
  const Request& request_;
  const PinOptions& options_;
  const Mode mode_;
  Pinned& notes_;
  const std::vector<std::string> secrets_ = PullSecrets(pod_);
  std::optional<PodPart> old_;
  std::vector<const Image*> names_;
  std::vector<std::pair<const Image*, std::string>> kept_;
  std::vector<std::pair<const Image*, Error>> barred_;
  std::vector<std::pair<const Image*, std::size_t>> asked_;
  std::map<std::string, std::size_t> places_;  // one answer for all that name the same: never two digests in one object
  std::vector<Lookup> lookups_;
};

}  // namespace

kube::Answer<> Pin(const task::Context& ctx, Draft& draft, const PodPart& pod, const Request& request, Facts* facts, DigestCache& digests,
                   const PinOptions& options, Pinned& notes) {
  if (request.kind == nullptr || pod.spec == nullptr || !(request.subresource.empty() || request.ephemeral())) return {};
  if (request.kind->IsPod() && !pod.Annotation(kube::kMirrorAnnotation).empty()) return {};
  // Most objects that come here are pinned already, and need nobody's label.
  const auto done = [](const Image& i) { return i.name().empty() || i.name().find('@') != std::string_view::npos; };
  if (std::ranges::all_of(pod.images, done)) return {};
  auto mode = ModeOf(ctx, request, facts, options);
  if (!mode) return kube::Refusal(mode);
  if (*mode == Mode::kOff) return {};
  return Pinner(draft, pod, request, options, *mode, notes).Run(ctx, digests);
}

}  // namespace berth::admission
