// metrics/registry.h: what is counted, and how Prometheus reads it.
//
//   metrics::Registry registry;                                          // main owns it
//   auto pulls = registry.Counters("berth_pulls_total", "Pulls that ended.", {{"registry", 50}, {"result", 8}});
//   pulls.With({"docker.io", "ok"}).Add();
//   registry.Collect("berth_images", "Images in the store.", metrics::Kind::kGauge, [&] { return … });   // asked at every scrape
//   registry.Text()                                                      // text format 0.0.4
//
// Counter, Gauge and Histogram are handles: cheap to copy, passed by constructor, safe for concurrent use, valid as long as
// the Registry. A default-made one counts nowhere, so that code under test needs no registry.
// Every label has a bound: the values beyond it are counted as "other", and a value is cut at 128 bytes. So nobody outside can
// make the number of series grow. Names are ours: one that is malformed, or taken with other labels, ends the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace berth::metrics {

class Counter {
 public:
  Counter() = default;
  explicit Counter(prometheus::Counter* counter) : counter_(counter) {}
  void Add(double n = 1) const;  // n >= 0

 private:
  prometheus::Counter* counter_ = nullptr;
};

class Gauge {
 public:
  Gauge() = default;
  explicit Gauge(prometheus::Gauge* gauge) : gauge_(gauge) {}
  void Set(double value) const;

 private:
  prometheus::Gauge* gauge_ = nullptr;
};

class Histogram {
 public:
  Histogram() = default;
  explicit Histogram(prometheus::Histogram* histogram) : histogram_(histogram) {}
  void Observe(double value) const;

 private:
  prometheus::Histogram* histogram_ = nullptr;
};

struct Label {
  std::string name;
  std::size_t values = 50;  // distinct ones, "other" not counted
};

// The same metric with the values of its labels.
template <class T>
class Family {
 public:
  struct Impl;
  Family() = default;
  explicit Family(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  // As many values as there are labels.
  T With(std::initializer_list<std::string_view> values) const;

 private:
  std::shared_ptr<Impl> impl_;
};

enum class Kind : std::uint8_t { kCounter, kGauge, kHistogram };

// One series of a metric that is kept elsewhere.
struct Sample {
  std::vector<std::pair<std::string, std::string>> labels;  // bounded by who gives them
  double value = 0;
  // Histograms: upper bounds with the counts of each bucket, not cumulative; the rest is above all of them. `value` is the sum.
  std::vector<std::pair<double, std::uint64_t>> buckets = {};
  std::uint64_t count = 0;
};

// Safe for concurrent use.
class Registry {
 public:
  Registry();
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  using Labels = std::vector<Label>;
  Counter MakeCounter(const std::string& name, const std::string& help);
  Gauge MakeGauge(const std::string& name, const std::string& help);
  Histogram MakeHistogram(const std::string& name, const std::string& help, std::vector<double> buckets);
  Family<Counter> Counters(const std::string& name, const std::string& help, Labels labels);
  Family<Gauge> Gauges(const std::string& name, const std::string& help, Labels labels);
  Family<Histogram> Histograms(const std::string& name, const std::string& help, Labels labels, std::vector<double> buckets);
  // `samples` is called by Text(), must not block for long, and must outlive the registry's last Text().
  void Collect(const std::string& name, const std::string& help, Kind kind, std::function<std::vector<Sample>()> samples);

  std::string Text() const;
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Buckets: start, start * factor, … (`count` of them).
std::vector<double> Exponential(double start, double factor, std::size_t count);

}  // namespace berth::metrics
