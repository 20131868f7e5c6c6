// fake_berthd SOCKET: pulls that take their time, for looking at berth's progress on a real terminal. Not installed.
#include <cstdio>
#include <string>

#include "apps/berth/testing/fake_berthd.h"
#include "time/clock.h"

using berth::cli::testing::FakeBerthd;
namespace v1 = berth::v1;

namespace {

constexpr std::uint64_t kMiB = 1u << 20;

std::string Digest(std::uint64_t seed) {
  std::string digest = "sha256:";
  for (int i = 0; i < 64; ++i, seed = seed * 6364136223846793005u + 1442695040888963407u) digest += "0123456789abcdef"[seed >> 60];
  return digest;
}

// Layers of 4, 8, … MiB, four at a time at 5 MiB/s each; the second one resumed, the first one here already.
grpc::Status Pull(grpc::ServerContext& context, const v1::PullRequest& request, grpc::ServerWriter<v1::PullEvent>& writer) {
  const auto& clock = berth::time::SystemClock();
  v1::PullEvent event;
  event.set_phase("resolving");
  writer.Write(event);
  clock.SleepFor({}, std::chrono::milliseconds(700));
  if (request.image().ends_with(":nope"))
    return berth::cli::testing::Failed(context, "E-MANIFEST-404", "reg.test:5712 has no tag nope of team/app", "check the tag: skopeo list-tags", 3);
  const std::uint64_t seed = std::hash<std::string>()(request.image());
  const int count = request.image().find("big") != std::string::npos ? 30 : 5;
  event.set_phase("fetching");
  event.set_digest(Digest(seed));
  event.set_platforms("linux/amd64");
  event.set_credential("secret shop/regcred (alice)");
  event.set_host("reg.test:5712");
  for (int i = 0; i < count; ++i) {
    v1::LayerState& layer = *event.add_layers();
    layer.set_digest(Digest(seed + 1 + static_cast<std::uint64_t>(i)));
    layer.set_total((4 + 4 * static_cast<std::uint64_t>(i % 7)) * kMiB);
    layer.set_phase(i == 0 ? "present" : "waiting");
    if (i == 1) layer.set_resumed_from(3 * kMiB), layer.set_current(3 * kMiB);
  }
  std::vector<int> unpacking(static_cast<std::size_t>(count), 0);
  for (bool all = false; !all && !context.IsCancelled();) {
    int active = 0;
    all = true;
    for (int i = 0; i < count; ++i) {
      v1::LayerState& layer = *event.mutable_layers(i);
      if (layer.phase() == "present" || layer.phase() == "done") continue;
      all = false;
      if (++active > 4) continue;
      if (layer.current() < layer.total()) {
        layer.set_phase("fetching");
        layer.set_current(std::min(layer.total(), layer.current() + kMiB / 2));
      } else {
        layer.set_phase(++unpacking[static_cast<std::size_t>(i)] > 20 ? "done" : "unpacking");
      }
    }
    writer.Write(event);
    clock.SleepFor({}, std::chrono::milliseconds(100));
  }
  if (context.IsCancelled()) return {grpc::StatusCode::CANCELLED, ""};
  v1::Pulled& pulled = *event.mutable_pulled();
  pulled.set_name("reg.test:5712/team/app:v1");
  pulled.set_digest(event.digest());
  pulled.set_bytes_fetched(60 * kMiB);
  pulled.set_bytes_resumed(3 * kMiB);
  pulled.set_bytes_reused(4 * kMiB);
  pulled.set_resolve_seconds(0.7);
  pulled.set_total_seconds(7.9);
  event.set_phase("ended");
  writer.Write(event);
  return grpc::Status::OK;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  FakeBerthd daemon(argv[1]);
  daemon.pull = Pull;
  daemon.list = [](grpc::ServerContext&, const v1::ListImagesRequest&, v1::ListImagesResponse& answer) {
    for (std::uint64_t i = 0; i < 20; ++i) {
      v1::Image& image = *answer.add_images();
      image.set_id(Digest(i));
      image.set_manifest(Digest(100 + i));
      image.set_platform("linux/amd64");
      image.set_size(i * 7 * kMiB);
      image.set_unpacked_size(i * 15 * kMiB);
      image.set_pulled_at("2026-11-20T06:37:46.113Z");
      image.add_names("reg.test:5712/team/app" + std::to_string(i) + ":v1");
    }
    return grpc::Status::OK;
  };
  std::puts("serving");
  std::fflush(stdout);
  (void)std::getchar();  // until stdin ends
  return 0;
}
