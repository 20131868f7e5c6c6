// What a sync of a running Pod costs (an image that is there and whose secret is known), and a pull's records.
#include <benchmark/benchmark.h>

#include "host/testing/scratch.h"
#include "policy/records.h"

namespace berth::policy {
namespace {

AccessCredential Secret(int i) { return {AccessCredential::Kind::kSecret, "uid", "shop", "secret" + std::to_string(i), "hash" + std::to_string(i)}; }

void BM_Decision(benchmark::State& state) {
  host::testing::Scratch scratch;
  const auto records = *Records::Open(scratch.dir(), {}, time::SystemClock());
  for (int i = 0; i < state.range(0); ++i) {
    auto intent = records->Begin("reg.example/app:1");
    (void)intent.Succeeded("sha256:id", Secret(i));
  }
  const std::vector<AccessCredential> pod{Secret(static_cast<int>(state.range(0)) - 1)};
  for (auto _ : state) benchmark::DoNotOptimize(records->MustAttemptPull("reg.example/app:1", "sha256:id", [&] { return pod; }));
}
BENCHMARK(BM_Decision)->Arg(1)->Arg(10)->Arg(100);

void BM_IntentAndRecord(benchmark::State& state) {
  host::testing::Scratch scratch;
  const auto records = *Records::Open(scratch.dir(), {}, time::SystemClock());
  int i = 0;
  for (auto _ : state) {
    auto intent = records->Begin("reg.example/app:1");
    (void)intent.MakeDurable();
    (void)intent.Succeeded("sha256:id" + std::to_string(++i), Secret(0));
  }
}
BENCHMARK(BM_IntentAndRecord)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace berth::policy
