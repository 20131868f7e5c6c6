#include <algorithm>
#include <optional>
#include <set>

#include "apps/berth/commands.h"
#include "apps/berth/format.h"
#include "apps/berth/json.h"
#include "apps/berth/list.h"
#include "json/document.h"
#include "reference/reference.h"

namespace berth::cli {
namespace {

// The names a person would use; those by digest only when there are no others.
std::vector<std::string> NamesToShow(const v1::Image& image, bool all) {
  std::vector<std::string> names;
  for (const auto& name : image.names())
    if (all || name.find('@') == std::string::npos) names.push_back(name);
  if (names.empty() && image.names_size() > 0) names.push_back(image.names(0));
  if (names.empty()) names.emplace_back("<none>");
  return names;
}

// "repository@sha256:12 digits" on a terminal.
std::string ShortName(const std::string& name, bool whole) {
  const auto at = name.find('@');
  return at == std::string::npos ? name : name.substr(0, at + 1) + Digest(std::string_view(name).substr(at + 1), whole);
}

std::string PulledAt(const v1::Image& image, const Session& session) {
  const auto then = ParseTime(image.pulled_at());
  return then ? Ago(*then, session.world().clock.WallNow()) : image.pulled_at();
}

std::string LastUsed(const std::string& at, const Session& session) {
  const auto then = ParseTime(at);
  return then ? Ago(*then, session.world().clock.WallNow()) : at.empty() ? "never" : at;
}

std::string Pinned(const v1::Image& image) {
  if (!image.has_pin()) return "";
  const auto& pin = image.pin();
  if (pin.owner().empty() && pin.reason().empty()) return "yes";
  return pin.owner() + (pin.owner().empty() || pin.reason().empty() ? "" : ": ") + pin.reason();
}

}  // namespace

namespace {

// Takes away what a filter does not let through.
std::optional<Failure> Apply(Session& session, const Filter& filter, google::protobuf::RepeatedPtrField<v1::Image>& images) {
  v1::Image than;
  if (filter.key == Filter::Key::kBefore || filter.key == Filter::Key::kSince) {
    v1::InspectImageRequest request;
    v1::InspectImageResponse other;
    request.set_image(filter.value);
    if (auto failure = session.Call(&v1::Berth::Stub::InspectImage, request, other)) return At(filter.value, *std::move(failure));
    than.Swap(other.mutable_image());
  }
  google::protobuf::RepeatedPtrField<v1::Image> kept;
  for (auto& image : images) {
    bool holds = Holds(filter, image);
    if (filter.key == Filter::Key::kBefore) holds = PulledBefore(image, than);
    if (filter.key == Filter::Key::kSince) holds = PulledBefore(than, image);
    if (holds) *kept.Add() = std::move(image);
  }
  images.Swap(&kept);
  return std::nullopt;
}

}  // namespace

int Images(Session& session, const ImagesOptions& options) {
  const auto filters = ParseFilters(options.filters);
  if (!filters) return session.Fail(FromError(filters.error()));
  v1::ListImagesRequest request;
  v1::ListImagesResponse answer;
  request.set_filter(options.name);
  for (const Filter& filter : *filters)
    if (filter.key == Filter::Key::kLabel) request.add_labels(filter.value);
  if (const auto failure = session.Call(&v1::Berth::Stub::ListImages, request, answer)) return session.Fail(*failure);
  if (request.labels_size() > 0 && !answer.labels_judged())
    return session.Fail(FromError(Error(Reason::kSocket, "this berthd is older and does not know --filter label").Next("restart berthd after the upgrade")));
  for (const Filter& filter : *filters)
    if (const auto failure = Apply(session, filter, *answer.mutable_images())) return session.Fail(*failure);
  SortImages(options.sort_by, *answer.mutable_images());
  const Globals& globals = session.globals();
  const bool whole = session.whole(), wide = globals.output == Output::kWide;
  if (session.data()) {
    const bool lines = globals.output == Output::kJsonl;
    json::Writer w;
    w.BeginObject().Key("images").BeginArray();
    for (const auto& image : answer.images()) {
      json::Writer one;
      WriteImage(one, image);
      if (lines) session.OutJson(one.text());
      else w.Raw(one.text());
    }
    w.EndArray().EndObject();
    if (!lines) session.OutJson(w.text());
    return 0;
  }
  std::string out;
  if (globals.quiet) {
    for (const auto& image : answer.images()) out += Digest(image.id(), whole) + "\n";
  } else if (globals.output == Output::kName) {
    std::set<std::string> said;  // an image of another platform has the same names
    for (const auto& image : answer.images())
      for (const auto& name : image.names())
        if (said.insert(name).second) out += Escape(name) + "\n";
  } else {
    std::vector<std::string> headers{"NAME", "IMAGE ID", "PLATFORM", "SIZE", "UNIQUE", "PULLED"};
    if (wide) headers.insert(headers.end(), {"MANIFEST", "UNPACKED", "SHARED", "LAYERS", "LAST USED", "PINNED", "SOURCE"});
    Table table(std::move(headers));
    for (const auto& image : answer.images())
      for (const auto& name : NamesToShow(image, wide)) {
        std::vector<std::string> row{ShortName(name, whole), Digest(image.id(), whole), image.platform(), Size(image.size()),
                                     Size(image.unique_size()), PulledAt(image, session)};
        if (wide)
          row.insert(row.end(), {Digest(image.manifest(), whole), Size(image.unpacked_size()), Size(SharedSize(image)),
                                 std::to_string(image.layers_size()), LastUsed(image.last_used_at(), session), Pinned(image),
                                 image.source()});
        table.Row(std::move(row));
      }
    out = table.Text(!globals.no_headers);
  }
  session.Out(out);
  return 0;
}

int Remove(Session& session, const RemoveOptions& options) {
  std::vector<int> statuses;
  Documents documents(session, options.images.size() > 1);
  // What goes with an earlier argument is done: the name by digest with the last tag, names with their image.
  std::set<std::string> before;
  if (v1::ListImagesResponse all; options.images.size() > 1 && !session.Call(&v1::Berth::Stub::ListImages, v1::ListImagesRequest(), all))
    for (const auto& image : all.images()) {
      before.insert(image.id());
      before.insert(image.names().begin(), image.names().end());
    }
  const auto was_there = [&](const std::string& word) {
    const auto name = reference::Reference::Parse(word);
    return before.contains(word) || (name && before.contains(name->Canonical()));
  };
  bool removed = false;
  for (const auto& image : options.images) {
    v1::RemoveImageRequest request;
    v1::RemoveImageResponse answer;
    request.set_image(image);
    request.set_all_names(options.all_names);
    request.set_force(options.force);
    const auto failure = session.Call(&v1::Berth::Stub::RemoveImage, request, answer);
    if (failure && !(removed && failure->code == Error(Reason::kNotFound, "").info().code && was_there(image))) {
      statuses.push_back(session.Fail(At(image, *failure)));
      continue;
    }
    removed = true;
    if (session.json()) {
      json::Writer w;
      w.BeginObject();
      WriteStrings(w, "names", answer.names());
      WriteStrings(w, "manifests", answer.manifests());
      w.Key("freed_bytes").Uint(answer.freed_bytes()).EndObject();
      documents.Add(w.text());
      continue;
    }
    std::string out;
    for (const auto& name : answer.names()) out += "untagged " + Escape(name) + "\n";
    for (const auto& manifest : answer.manifests()) out += "removed " + Digest(manifest, session.whole()) + "\n";
    session.Out(out);
    if (answer.freed_bytes() > 0) session.Talk("freed " + Size(answer.freed_bytes()) + "\n");
  }
  if (session.json()) documents.End();
  return MostActionable(statuses);
}

namespace {

template <class Request>
int EachPin(Session& session, const std::vector<std::string>& images, Request request, std::string_view done,
            grpc::Status (v1::Berth::Stub::*method)(grpc::ClientContext*, const Request&, v1::PinImageResponse*)) {
  std::vector<int> statuses;
  Documents documents(session, images.size() > 1);
  for (const auto& image : images) {
    request.set_image(image);
    v1::PinImageResponse answer;
    if (const auto failure = session.Call(method, request, answer)) {
      statuses.push_back(session.Fail(At(image, *failure)));
      continue;
    }
    if (session.json()) {
      json::Writer w;
      w.BeginObject();
      WriteStrings(w, "ids", answer.ids());
      WriteStrings(w, "names", answer.names());
      w.EndObject();
      documents.Add(w.text());
      continue;
    }
    std::string out;
    for (const auto& id : answer.ids()) out += std::string(done) + " " + Digest(id, session.whole()) + "\n";
    session.Out(out);
  }
  if (session.json()) documents.End();
  return MostActionable(statuses);
}

}  // namespace

int Pin(Session& session, const PinOptions& options) {
  v1::PinImageRequest request;
  request.set_reason(options.reason);
  const std::string real = session.world().Variable("SUDO_USER");  // the daemon knows us as root
  request.set_owner(real.empty() ? session.world().Variable("USER") : real);
  return EachPin(session, options.images, std::move(request), "pinned", &v1::Berth::Stub::PinImage);
}

int Unpin(Session& session, const std::vector<std::string>& images) {
  return EachPin(session, images, v1::UnpinImageRequest(), "unpinned", &v1::Berth::Stub::UnpinImage);
}

}  // namespace berth::cli
