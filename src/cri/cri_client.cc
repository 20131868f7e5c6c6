// cri/cri_client.cc: how long a CRI server takes for its calls; JSON of milliseconds on standard output. lab/bench_cri.py runs it.
//
//   cri_client SOCKET list N | status N NAME… | pull NAME… | leave MS NAME
// One connection, one call at a time, after as many calls again to warm both sides (at most 50). `pull` is not warmed: it
// fills a store, and says nothing but the ids. `leave` pulls with a deadline and prints the code and when the call ended, on the
// clock that Python calls time.monotonic().
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "runtime/v1/api.grpc.pb.h"

namespace {

namespace v1 = ::runtime::v1;

void Must(const grpc::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "cri_client: %s\n", status.error_message().c_str());
  std::exit(1);
}

void Measure(int n, const std::function<void(int)>& call) {
  for (int i = 0; i < std::min(n, 50); ++i) call(i);
  std::vector<double> took;
  for (int i = 0; i < n; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call(i);
    took.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::ranges::sort(took);
  const auto at = [&](double share) { return took[static_cast<std::size_t>(share * static_cast<double>(took.size() - 1))]; };
  std::printf("{\"n\": %d, \"min\": %.4f, \"median\": %.4f, \"p99\": %.4f, \"max\": %.4f}\n", n, at(0), at(0.5), at(0.99), at(1));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return std::fputs("cri_client SOCKET list N | status N NAME... | pull NAME... | leave MS NAME\n", stderr), 2;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(16 << 20);
  const auto stub = v1::ImageService::NewStub(
      grpc::CreateCustomChannel("unix:" + std::string(argv[1]), grpc::InsecureChannelCredentials(), arguments));
  const std::string what = argv[2];
  const std::vector<std::string> names(argv + (what == "pull" ? 3 : 4), argv + argc);
  if (what == "list") {
    int images = 0;
    Measure(std::atoi(argv[3]), [&](int) {
      grpc::ClientContext context;
      v1::ListImagesResponse answer;
      Must(stub->ListImages(&context, {}, &answer));
      images = answer.images_size();
    });
    std::fprintf(stderr, "%d images\n", images);
  } else if (what == "status" && !names.empty()) {
    Measure(std::atoi(argv[3]), [&](int i) {
      grpc::ClientContext context;
      v1::ImageStatusRequest request;
      request.mutable_image()->set_image(names[static_cast<std::size_t>(i) % names.size()]);
      v1::ImageStatusResponse answer;
      Must(stub->ImageStatus(&context, request, &answer));
      if (!answer.has_image()) Must(grpc::Status(grpc::StatusCode::NOT_FOUND, request.image().image() + " is not there"));
    });
  } else if (what == "pull") {
    for (const auto& name : names) {
      grpc::ClientContext context;
      v1::PullImageRequest request;
      request.mutable_image()->set_image(name);
      v1::PullImageResponse answer;
      Must(stub->PullImage(&context, request, &answer));
      std::printf("%s\n", answer.image_ref().c_str());
    }
  } else if (what == "leave" && names.size() == 1) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(std::atoi(argv[3])));
    v1::PullImageRequest request;
    request.mutable_image()->set_image(names[0]);
    v1::PullImageResponse answer;
    const auto status = stub->PullImage(&context, request, &answer);
    const double now = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    std::printf("{\"code\": %d, \"at\": %.6f}\n", static_cast<int>(status.error_code()), now);
  } else {
    return 2;
  }
}
