#include "metrics/registry.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <span>
#include <sstream>
#include <type_traits>

#include "result/result.h"

namespace berth::metrics {
namespace {

constexpr std::size_t kLongestValue = 128;

bool GoodName(std::string_view name) {
  return !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == name.npos && (name[0] < '0' || name[0] > '9');
}

template <class T>
struct Of;
template <>
struct Of<Counter> { using Foreign = prometheus::Counter; };
template <>
struct Of<Gauge> { using Foreign = prometheus::Gauge; };
template <>
struct Of<Histogram> { using Foreign = prometheus::Histogram; };

}  // namespace

void Counter::Add(double n) const {
  if (counter_ != nullptr) counter_->Increment(n);
}
void Gauge::Set(double value) const {
  if (gauge_ != nullptr) gauge_->Set(value);
}
void Histogram::Observe(double value) const {
  if (histogram_ != nullptr) histogram_->Observe(value);
}

template <class T>
struct Family<T>::Impl {
  using Foreign = typename Of<T>::Foreign;
  Impl(prometheus::Family<Foreign>& f, std::vector<Label> l, std::vector<double> b)
      : foreign(f), labels(std::move(l)), buckets(std::move(b)), seen(labels.size()) {}

  T With(std::span<const std::string_view> values) {
    BERTH_CHECK(values.size() == labels.size());
    std::lock_guard lock(mutex);
    std::vector<std::string> key;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      std::string value(values[i].substr(0, kLongestValue));
      // What is no UTF-8 or has control bytes would spoil the whole page.
      if (const std::string quoted = Quoted(value); quoted.size() != value.size() + 2) value = quoted.substr(1, quoted.size() - 2);
      if (!seen[i].contains(value)) {
        if (seen[i].size() < labels[i].values) seen[i].insert(value);
        else value = "other";
      }
      key.push_back(std::move(value));
    }
    auto [it, fresh] = series.try_emplace(std::move(key), nullptr);
    if (fresh) {
      std::map<std::string, std::string> named;
      for (std::size_t i = 0; i < labels.size(); ++i) named[labels[i].name] = it->first[i];
      if constexpr (std::is_same_v<T, Histogram>) it->second = &foreign.Add(named, buckets);
      else it->second = &foreign.Add(named);
    }
    return T(it->second);
  }

  prometheus::Family<Foreign>& foreign;
  const std::vector<Label> labels;
  const std::vector<double> buckets;
  std::mutex mutex;
  std::vector<std::set<std::string>> seen;                // guarded by mutex: by label
  std::map<std::vector<std::string>, Foreign*> series;    // guarded by mutex
};

template <class T>
T Family<T>::With(std::initializer_list<std::string_view> values) const {
  return impl_ ? impl_->With({values.begin(), values.size()}) : T();
}
template class Family<Counter>;
template class Family<Gauge>;
template class Family<Histogram>;

struct Registry::State {
  struct Hook {
    std::string name, help;
    Kind kind;
    std::function<std::vector<Sample>()> samples;
  };
  prometheus::Registry foreign{prometheus::Registry::InsertBehavior::Throw};
  mutable std::mutex mutex;
  std::set<std::string> names;  // guarded by mutex
  std::vector<Hook> hooks;      // guarded by mutex

  void Claim(const std::string& name, const std::vector<Label>& labels) {
    BERTH_CHECK(GoodName(name));
    for (const auto& label : labels) BERTH_CHECK(GoodName(label.name));
    std::lock_guard lock(mutex);
    BERTH_CHECK(names.insert(name).second);
  }
  template <class T, class Builder>
  Family<T> Make(Builder builder, const std::string& name, const std::string& help, std::vector<Label> labels,
                 std::vector<double> buckets = {}) {
    Claim(name, labels);
    auto& family = builder.Name(name).Help(help).Register(foreign);
    return Family<T>(std::make_shared<typename Family<T>::Impl>(family, std::move(labels), std::move(buckets)));
  }
};

Registry::Registry() : state_(std::make_unique<State>()) {}
Registry::~Registry() = default;

Family<Counter> Registry::Counters(const std::string& name, const std::string& help, Labels labels) {
  return state_->Make<Counter>(prometheus::BuildCounter(), name, help, std::move(labels));
}
Family<Gauge> Registry::Gauges(const std::string& name, const std::string& help, Labels labels) {
  return state_->Make<Gauge>(prometheus::BuildGauge(), name, help, std::move(labels));
}
Family<Histogram> Registry::Histograms(const std::string& name, const std::string& help, Labels labels, std::vector<double> buckets) {
  return state_->Make<Histogram>(prometheus::BuildHistogram(), name, help, std::move(labels), std::move(buckets));
}
Counter Registry::MakeCounter(const std::string& name, const std::string& help) { return Counters(name, help, {}).With({}); }
Gauge Registry::MakeGauge(const std::string& name, const std::string& help) { return Gauges(name, help, {}).With({}); }
Histogram Registry::MakeHistogram(const std::string& name, const std::string& help, std::vector<double> buckets) {
  return Histograms(name, help, {}, std::move(buckets)).With({});
}

void Registry::Collect(const std::string& name, const std::string& help, Kind kind, std::function<std::vector<Sample>()> samples) {
  state_->Claim(name, {});
  std::lock_guard lock(state_->mutex);
  state_->hooks.push_back({name, help, kind, std::move(samples)});
}

std::string Registry::Text() const {
  std::vector<State::Hook> hooks;
  {
    std::lock_guard lock(state_->mutex);
    hooks = state_->hooks;
  }
  auto families = state_->foreign.Collect();
  for (const auto& hook : hooks) {
    prometheus::MetricFamily family{hook.name, hook.help, prometheus::MetricType::Gauge, {}};
    if (hook.kind == Kind::kCounter) family.type = prometheus::MetricType::Counter;
    if (hook.kind == Kind::kHistogram) family.type = prometheus::MetricType::Histogram;
    for (auto& sample : hook.samples()) {
      prometheus::ClientMetric metric;
      for (auto& [key, value] : sample.labels) metric.label.push_back({key, std::move(value)});
      metric.gauge.value = metric.counter.value = metric.histogram.sample_sum = sample.value;
      metric.histogram.sample_count = sample.count;
      std::uint64_t below = 0;
      for (const auto& [bound, count] : sample.buckets) metric.histogram.bucket.push_back({below += count, bound});
      family.metric.push_back(std::move(metric));
    }
    if (!family.metric.empty()) families.push_back(std::move(family));
  }
  std::erase_if(families, [](const auto& family) { return family.metric.empty(); });
  std::ranges::sort(families, {}, &prometheus::MetricFamily::name);
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return std::move(out).str();
}

std::vector<double> Exponential(double start, double factor, std::size_t count) {
  std::vector<double> buckets;
  for (; count > 0; --count, start *= factor) buckets.push_back(start);
  return buckets;
}

}  // namespace berth::metrics
