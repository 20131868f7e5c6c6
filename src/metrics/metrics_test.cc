#include <gtest/gtest.h>

#include <thread>

#include "metrics/process.h"
#include "metrics/registry.h"

namespace berth::metrics {
namespace {

bool Has(const std::string& text, const std::string& line) { return ("\n" + text).find("\n" + line + "\n") != std::string::npos; }

TEST(RegistryTest, WritesWhatPrometheusReads) {
  Registry registry;
  const auto pulls = registry.Counters("berth_pulls_total", "Pulls that ended.", {{"registry", 50}, {"result", 8}});
  pulls.With({"docker.io", "ok"}).Add();
  pulls.With({"docker.io", "ok"}).Add(2);
  pulls.With({"ghcr.io", "failed"}).Add();
  registry.MakeGauge("berth_images", "Images.").Set(3.5);
  const auto took = registry.MakeHistogram("berth_seconds", "Time.", {1, 5, 10});
  for (const double s : {0.5, 1.0, 7.0, 100.0}) took.Observe(s);
  const std::string text = registry.Text();
  for (const char* line : {"# HELP berth_pulls_total Pulls that ended.", "# TYPE berth_pulls_total counter",
                           "berth_pulls_total{registry=\"docker.io\",result=\"ok\"} 3", "berth_pulls_total{registry=\"ghcr.io\",result=\"failed\"} 1",
                           "# TYPE berth_images gauge", "berth_images 3.5", "# TYPE berth_seconds histogram", "berth_seconds_bucket{le=\"1\"} 2",
                           "berth_seconds_bucket{le=\"5\"} 2", "berth_seconds_bucket{le=\"10\"} 3", "berth_seconds_bucket{le=\"+Inf\"} 4",
                           "berth_seconds_count 4", "berth_seconds_sum 108.5"})
    EXPECT_TRUE(Has(text, line)) << line << "\n" << text;
}

TEST(RegistryTest, NoLabelGrowsBeyondItsBound) {
  Registry registry;
  const auto family = registry.Counters("berth_requests_total", "Requests.", {{"host", 3}, {"code", 2}});
  for (int i = 0; i < 1000; ++i) family.With({"h" + std::to_string(i), std::to_string(i)}).Add();
  const std::string text = registry.Text();
  EXPECT_TRUE(Has(text, "berth_requests_total{code=\"other\",host=\"other\"} 997")) << text;
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 2 + 4 * 3);
}

TEST(RegistryTest, WhatAStrangerCallsHimselfCannotForgeALine) {
  Registry registry;
  registry.Counters("berth_x_total", "X.", {{"host", 3}}).With({"a\"} 1\nberth_forged 2\n\xff"}).Add();
  registry.Counters("berth_y_total", "Y.", {{"host", 3}}).With({std::string(10'000, 'y')}).Add();
  const std::string text = registry.Text();
  EXPECT_EQ(text.find("\nberth_forged"), text.npos) << text;
  EXPECT_EQ(text.find('\xff'), text.npos);
  EXPECT_LT(text.size(), 1000u);
}

TEST(RegistryTest, WhatIsKeptElsewhereIsAskedForAtEveryScrape) {
  Registry registry;
  double images = 1;
  registry.Collect("berth_images", "Images.", Kind::kGauge, [&] { return std::vector<Sample>{{{{"pinned", "no"}}, images++}}; });
  registry.Collect("berth_none", "Nothing.", Kind::kGauge, [] { return std::vector<Sample>{}; });
  registry.Collect("berth_seconds", "S.", Kind::kHistogram, [] { return std::vector<Sample>{{{}, 12.5, {{1, 2}, {5, 3}}, 6}}; });
  EXPECT_TRUE(Has(registry.Text(), "berth_images{pinned=\"no\"} 1"));
  const std::string text = registry.Text();
  for (const char* line : {"berth_images{pinned=\"no\"} 2", "berth_seconds_bucket{le=\"1\"} 2", "berth_seconds_bucket{le=\"5\"} 5",
                           "berth_seconds_bucket{le=\"+Inf\"} 6", "berth_seconds_sum 12.5", "berth_seconds_count 6"})
    EXPECT_TRUE(Has(text, line)) << line << "\n" << text;
  EXPECT_EQ(text.find("berth_none"), text.npos);
}

TEST(RegistryTest, HandlesWithoutARegistryCountNowhere) {
  Counter().Add();
  Gauge().Set(1);
  Histogram().Observe(1);
  Family<Counter>().With({"any", "number"}).Add();
  EXPECT_EQ(Registry().Text(), "");
}

TEST(RegistryTest, ManyThreadsCountAndRead) {
  Registry registry;
  const auto family = registry.Counters("berth_x_total", "X.", {{"who", 4}});
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&, i] { for (int n = 0; n < 1000; ++n) family.With({std::to_string(i)}).Add(); });
    for (int i = 0; i < 20; ++i) EXPECT_FALSE(registry.Text().find("nan") != std::string::npos);
  }
  EXPECT_TRUE(Has(registry.Text(), "berth_x_total{who=\"3\"} 1000"));
}

TEST(RegistryDeathTest, ANameIsGivenOnce) {
  Registry registry;
  registry.MakeCounter("berth_x_total", "X.");
  EXPECT_DEATH(registry.MakeGauge("berth_x_total", "X."), "");
  EXPECT_DEATH(registry.MakeGauge("Berth", "X."), "");
}

TEST(ProcessTest, SaysWhatItTakes) {
  Registry registry;
  AddProcess(registry);
  const std::string text = registry.Text();
  for (const char* name : {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_threads",
                           "process_start_time_seconds", "process_open_fds", "process_max_fds"}) {
    const auto at = text.find("\n" + std::string(name) + " ");
    ASSERT_NE(at, text.npos) << name;
    if (std::string_view(name) == "process_cpu_seconds_total") continue;  // a short test may have used none
    EXPECT_GT(std::stod(text.substr(at + 2 + std::string(name).size())), 0) << name;
  }
}

TEST(ProcessTest, ANameMayHoldAnything) {
  EXPECT_EQ(StatFields("12 (a) b ) S 1 2\n"), (std::vector<std::string_view>{"S", "1", "2"}));
  EXPECT_TRUE(StatFields("").empty());
  EXPECT_TRUE(StatFields("12 (never closed").empty());
}

}  // namespace
}  // namespace berth::metrics
