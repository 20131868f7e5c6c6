#include "kube/selector.h"

#include <gtest/gtest.h>

#include "kube/parse.h"

namespace berth::kube {
namespace {

struct LabelRow {
  std::string selector;
  StringMap labels;
  int matches;  // 1, 0; -1: refused
};
std::ostream& operator<<(std::ostream& out, const LabelRow& r) { return out << r.selector; }
class Labels : public ::testing::TestWithParam<LabelRow> {};
TEST_P(Labels, Select) {
  const auto selector = LabelSelector::Parse(GetParam().selector);
  ASSERT_EQ(selector.has_value(), GetParam().matches >= 0) << (selector ? "" : selector.error().message);
  if (selector) EXPECT_EQ(selector->Matches(GetParam().labels), GetParam().matches == 1);
  else EXPECT_EQ(selector.error().code, 400);
}
INSTANTIATE_TEST_SUITE_P(
    All, Labels,
    ::testing::Values(
        LabelRow{"", {}, 1}, LabelRow{"a=b", {{"a", "b"}}, 1}, LabelRow{"a==b", {{"a", "c"}}, 0},
        LabelRow{"a!=b", {}, 1}, LabelRow{"a!=b", {{"a", "b"}}, 0}, LabelRow{"a", {{"a", ""}}, 1},
        LabelRow{"!a", {{"a", ""}}, 0}, LabelRow{" ! a ", {}, 1}, LabelRow{"a in (b, c)", {{"a", "c"}}, 1},
        LabelRow{"a in (b)", {}, 0}, LabelRow{"a notin (b,c)", {{"a", "d"}}, 1},
        LabelRow{"a notin (b)", {}, 1}, LabelRow{"a notin (b)", {{"a", "b"}}, 0},
        LabelRow{"a=b,c=d", {{"a", "b"}, {"c", "d"}}, 1}, LabelRow{"a=b,c=d", {{"a", "b"}}, 0},
        LabelRow{"a=", {{"a", ""}}, 1}, LabelRow{"a>1", {{"a", "2"}}, 1}, LabelRow{"a<1", {{"a", "x"}}, 0},
        LabelRow{"x.test/a=b", {{"x.test/a", "b"}}, 1}, LabelRow{"a,", {}, -1}, LabelRow{"a=b c", {}, -1},
        LabelRow{"a in b", {}, -1}, LabelRow{"a in (b", {}, -1}, LabelRow{"=b", {}, -1},
        LabelRow{"a=b!", {}, -1}, LabelRow{"a>x", {}, -1}, LabelRow{"-a=b", {}, -1}, LabelRow{"!", {}, -1},
        LabelRow{"a=" + std::string(64, 'x'), {}, -1}));

struct FieldRow {
  std::string selector, object;
  int matches;
  std::string name = "";
};
std::ostream& operator<<(std::ostream& out, const FieldRow& r) { return out << r.selector; }
class Fields : public ::testing::TestWithParam<FieldRow> {};
TEST_P(Fields, Select) {
  const auto document = json::Document::Parse(GetParam().object, Reason::kUsage);
  const auto object = ParseObject(document->root());
  ASSERT_TRUE(object);
  const auto selector = FieldQuery::Parse(GetParam().selector, object->object.kind);
  ASSERT_EQ(selector.has_value(), GetParam().matches >= 0) << (selector ? "" : selector.error().message);
  if (!selector) {
    EXPECT_EQ(selector.error().code, 400);
    return;
  }
  EXPECT_EQ(selector->Matches(object->object), GetParam().matches == 1);
  EXPECT_EQ(selector->Name(), GetParam().name);
}
const std::string kPod =
    R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop"},)"
                         R"("spec":{"nodeName":"n","containers":[]},"status":{"phase":"Running","podIP":"1.1.1.1"}})";
const std::string kEvent =
    R"({"apiVersion":"v1","kind":"Event","metadata":{"name":"e"},"involvedObject":{"kind":"Pod","name":"a=b","uid":"u"},)"
                           R"("source":{"component":"kubelet"},"type":"Normal"})";
INSTANTIATE_TEST_SUITE_P(
    All, Fields,
    ::testing::Values(FieldRow{"", kPod, 1}, FieldRow{"metadata.name=web", kPod, 1, "web"}, FieldRow{"metadata.name==x", kPod, 0, "x"}, FieldRow{"metadata.name!=web", kPod, 0},
                      FieldRow{"spec.nodeName=n,status.phase!=Pending", kPod, 1}, FieldRow{"status.phase=Pending", kPod, 0}, FieldRow{"status.podIPs=1.1.1.1", kPod, 1},
                      FieldRow{"spec.hostNetwork=false", kPod, 1}, FieldRow{"spec.image=x", kPod, -1}, FieldRow{"metadata.name", kPod, -1}, FieldRow{"a\\b=c", kPod, -1},
                      FieldRow{"involvedObject.name=a\\=b,involvedObject.uid=u,source=kubelet", kEvent, 1}, FieldRow{"type=Warning", kEvent, 0},
                      FieldRow{"status.phase=x", kEvent, -1}, FieldRow{"reason=", kEvent, 1}));

}  // namespace
}  // namespace berth::kube
