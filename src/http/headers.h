// http/headers.h: header fields in order, names compared without case.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace berth::http {

struct Header {
  std::string name, value;
  bool operator==(const Header&) const = default;
};

class Headers {
 public:
  Headers() = default;
  Headers(std::initializer_list<Header> all) : all_(all) {}

  void Add(std::string_view name, std::string_view value) { all_.push_back({std::string(name), std::string(value)}); }
  void Set(std::string_view name, std::string_view value) { Remove(name); Add(name, value); }
  void Remove(std::string_view name);

  const std::string* Find(std::string_view name) const;             // the first, or nullptr
  std::string_view Get(std::string_view name) const;                // the first, or ""
  std::vector<std::string_view> All(std::string_view name) const;   // every value, in order
  bool Has(std::string_view name) const { return Find(name) != nullptr; }

  std::size_t size() const { return all_.size(); }
  bool empty() const { return all_.empty(); }
  auto begin() const { return all_.begin(); }
  auto end() const { return all_.end(); }
  bool operator==(const Headers&) const = default;

 private:
  std::vector<Header> all_;
};

bool EqualNoCase(std::string_view a, std::string_view b);  // ASCII

}  // namespace berth::http
