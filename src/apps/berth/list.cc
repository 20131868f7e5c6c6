#include "apps/berth/list.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "apps/berth/json.h"
#include "reference/reference.h"

namespace berth::cli {
namespace {

constexpr std::array<std::pair<std::string_view, Filter::Key>, 7> kKeys{{{"dangling", Filter::Key::kDangling},
                                                                         {"pinned", Filter::Key::kPinned},
                                                                         {"reference", Filter::Key::kReference},
                                                                         {"registry", Filter::Key::kRegistry},
                                                                         {"before", Filter::Key::kBefore},
                                                                         {"since", Filter::Key::kSince},
                                                                         {"label", Filter::Key::kLabel}}};

bool Tagged(const std::string& name) { return name.find('@') == name.npos; }

bool FitsPattern(const std::string& pattern, const std::string& name) {
  const auto fits = [&](const std::string& text) { return ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0; };
  const auto reference = reference::Reference::Parse(name);
  if (fits(name) || !reference) return fits(name);
  const std::string familiar = reference->Familiar();
  const std::size_t end = familiar.find_first_of(":@", familiar.rfind('/') + 1);  // not the colon of a port or in a digest
  return fits(reference->Repository()) || fits(familiar) || fits(familiar.substr(0, end));
}

using Less = std::function<bool(const v1::Image&, const v1::Image&)>;
template <class Member>
Less By(Member member) {
  return [member](const v1::Image& a, const v1::Image& b) { return member(a) < member(b); };
}
// Names, then numbers, then times, which are all UTC and of one length.
const std::vector<std::pair<std::string, Less>>& Orders() {
  static const std::vector<std::pair<std::string, Less>> orders{
      {"name", By([](const v1::Image& i) { return i.names_size() > 0 ? i.names(0) : std::string(); })},
      {"id", By([](const v1::Image& i) { return i.id(); })},
      {"platform", By([](const v1::Image& i) { return i.platform(); })},
      {"source", By([](const v1::Image& i) { return i.source(); })},
      {"size", By([](const v1::Image& i) { return i.size(); })},
      {"unpacked_size", By([](const v1::Image& i) { return i.unpacked_size(); })},
      {"unique_size", By([](const v1::Image& i) { return i.unique_size(); })},
      {"shared_size", By([](const v1::Image& i) { return SharedSize(i); })},
      {"pulled_at", &PulledBefore},
      {"last_used_at", By([](const v1::Image& i) { return i.last_used_at(); })}};
  return orders;
}

}  // namespace

Result<std::vector<Filter>> ParseFilters(const std::vector<std::string>& texts) {
  std::vector<Filter> filters;
  for (const auto& text : texts) {
    const auto equals = text.find('=');
    const auto key = std::ranges::find(kKeys, std::string_view(text).substr(0, equals), [](const auto& row) { return row.first; });
    if (equals == text.npos || key == kKeys.end()) {
      std::string keys;
      for (const auto& [name, unused] : kKeys) keys += (keys.empty() ? "" : ", ") + std::string(name);
      return Error(Reason::kUsage, "--filter wants KEY=VALUE, not " + Quoted(text)).Next("the keys are " + keys);
    }
    Filter filter{key->second, text.substr(equals + 1)};
    const bool boolean = filter.key == Filter::Key::kDangling || filter.key == Filter::Key::kPinned;
    if (filter.value.empty() || (boolean && filter.value != "true" && filter.value != "false"))
      return Error(Reason::kUsage, "--filter " + std::string(key->first) + " wants " + (boolean ? "true or false" : "a value") + ", not " + Quoted(filter.value))
          .Next("--filter " + std::string(key->first) + (boolean ? "=true" : "=VALUE"));
    filters.push_back(std::move(filter));
  }
  return filters;
}

bool Holds(const Filter& filter, const v1::Image& image) {
  const auto& names = image.names();
  const auto here = [&](const std::string& name) { return name.starts_with(filter.value + "/"); };
  const auto fits = [&](const std::string& name) { return FitsPattern(filter.value, name); };
  switch (filter.key) {
    case Filter::Key::kDangling: return std::ranges::none_of(names, Tagged) == (filter.value == "true");
    case Filter::Key::kPinned: return image.has_pin() == (filter.value == "true");
    case Filter::Key::kReference: return std::ranges::any_of(names, fits);
    case Filter::Key::kRegistry: return std::ranges::any_of(names, here);
    case Filter::Key::kBefore: case Filter::Key::kSince: case Filter::Key::kLabel: return true;
  }
  return true;
}

bool PulledBefore(const v1::Image& a, const v1::Image& b) {
  const auto moment = [](const v1::Image& i) { return std::pair(i.pulled_at(), i.pulled_at_nanos()); };  // the first is of an older berthd, too
  return moment(a) < moment(b);
}

const std::vector<std::string>& SortKeys() {
  static const std::vector<std::string> keys = [] {
    std::vector<std::string> names;
    for (const auto& [name, less] : Orders()) names.push_back(name);
    return names;
  }();
  return keys;
}

void SortImages(std::string_view key, google::protobuf::RepeatedPtrField<v1::Image>& images) {
  const bool down = key.starts_with('-');
  const auto order = std::ranges::find(Orders(), key.substr(down ? 1 : 0), [](const auto& row) { return row.first; });
  if (order == Orders().end()) return;
  const Less& less = order->second;
  std::stable_sort(images.begin(), images.end(), [&](const auto& a, const auto& b) { return down ? less(b, a) : less(a, b); });
}

}  // namespace berth::cli
