#include "kube/write.h"

#include <gtest/gtest.h>

#include "kube/parse.h"

namespace berth::kube {
namespace {

TEST(Write, AStatusReadsBackTheSame) {
  const std::string status =
      R"({"conditions":[{"lastProbeTime":null,"lastTransitionTime":"2026-11-25T13:58:12Z","observedGeneration":2,"status":"True","type":"Ready"}],)"
      R"("containerStatuses":[{"containerID":"c","image":"i","imageID":"d",)"
      R"("lastState":{"terminated":{"exitCode":1,"finishedAt":"2026-11-25T13:58:12Z",)"
      R"("reason":"Error","signal":9}},"name":"a","ready":true,"restartCount":3,"started":true,"state":{"running":{"startedAt":"2026-11-25T13:58:12Z"}},)"
      R"("volumeMounts":[{"mountPath":"/i","name":"v","readOnly":true,"volumeStatus":{"image":{"imageRef":"r"}}}]}],"hostIP":"1.1.1.1",)"
      R"("hostIPs":[{"ip":"1.1.1.1"}],"phase":"Pending","qosClass":"Burstable"})";
  const auto document = json::Document::Parse(R"({"apiVersion":"v1","kind":"Pod","status":)" + status + "}", Reason::kUsage);
  ASSERT_TRUE(document);
  const auto parsed = ParseObject(document->root());
  ASSERT_TRUE(parsed);
  EXPECT_EQ(WriteStatus(ReadPod(parsed->object).status).Dump(), status);
}

}  // namespace
}  // namespace berth::kube
