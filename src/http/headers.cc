#include "http/headers.h"

#include <algorithm>

namespace berth::http {
namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

bool EqualNoCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return Lower(x) == Lower(y); });
}

void Headers::Remove(std::string_view name) {
  std::erase_if(all_, [&](const Header& h) { return EqualNoCase(h.name, name); });
}

const std::string* Headers::Find(std::string_view name) const {
  const auto it = std::find_if(all_.begin(), all_.end(), [&](const Header& h) { return EqualNoCase(h.name, name); });
  return it == all_.end() ? nullptr : &it->value;
}

std::string_view Headers::Get(std::string_view name) const {
  const std::string* value = Find(name);
  return value ? std::string_view(*value) : std::string_view();
}

std::vector<std::string_view> Headers::All(std::string_view name) const {
  std::vector<std::string_view> values;
  for (const Header& h : all_)
    if (EqualNoCase(h.name, name)) values.push_back(h.value);
  return values;
}

}  // namespace berth::http
