#include "apiserver/request.h"

#include <gtest/gtest.h>

namespace berth::apiserver {
namespace {

struct PathRow {
  std::string path, expected;  // "kind ns name subresource", "" for none
};
std::ostream& operator<<(std::ostream& out, const PathRow& r) { return out << r.path; }
class Paths : public ::testing::TestWithParam<PathRow> {};
TEST_P(Paths, AreResources) {
  const auto at = ParseResource(GetParam().path);
  const auto show = [](const std::string& s) { return s.empty() ? std::string("-") : s; };
  EXPECT_EQ(at ? at->kind + " " + show(at->ns) + " " + show(at->name) + " " + show(at->subresource) : "", GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(All, Paths,
                         ::testing::Values(PathRow{"pods", "Pod - - -"}, PathRow{"pods/", "Pod - - -"}, PathRow{"namespaces/a/pods", "Pod a - -"},
                                           PathRow{"namespaces/a/pods/b", "Pod a b -"}, PathRow{"namespaces/a/pods/b/log", "Pod a b log"},
                                           PathRow{"namespaces/a/pods/b/status", "Pod a b status"}, PathRow{"namespaces/a/pods/b/exec", ""},
                                           PathRow{"namespaces/a/pods/b/log/c", ""}, PathRow{"pods/b", ""}, PathRow{"namespaces", "Namespace - - -"},
                                           PathRow{"namespaces/a", "Namespace - a -"}, PathRow{"namespaces/a/status", "Namespace - a status"},
                                           PathRow{"namespaces/a/finalize", ""}, PathRow{"namespaces/a/nodes", ""}, PathRow{"namespaces/a/namespaces", ""},
                                           PathRow{"nodes/n", "Node - n -"}, PathRow{"nodes/n/log", ""}, PathRow{"", ""}, PathRow{"/pods", ""}, PathRow{"namespaces//pods", ""},
                                           PathRow{"namespaces/pods/pods", "Pod pods - -"}, PathRow{"deployments", ""}, PathRow{"namespaces/a/secrets/s/log", ""}));

struct AcceptRow {
  std::string accept;
  int form;  // -1: none
};
std::ostream& operator<<(std::ostream& out, const AcceptRow& r) { return out << r.accept; }
class Accepts : public ::testing::TestWithParam<AcceptRow> {};
TEST_P(Accepts, Choose) {
  const auto form = ParseAccept(GetParam().accept);
  EXPECT_EQ(form ? static_cast<int>(*form) : -1, GetParam().form);
}
INSTANTIATE_TEST_SUITE_P(
    All, Accepts,
    ::testing::Values(AcceptRow{"", 0}, AcceptRow{"*/*", 0}, AcceptRow{"application/json", 0}, AcceptRow{"Application/JSON; q=0.5", 0},
                      AcceptRow{"application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", 1},
                      AcceptRow{"application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", 0}, AcceptRow{"application/json;as=Table;v=v1;g=other", -1},
                      AcceptRow{"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io, application/json", 0},
                      AcceptRow{"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", 2}, AcceptRow{"application/yaml", -1}, AcceptRow{";;==,", -1},
                      AcceptRow{"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json", 0}));

TEST(MediaTypes, WithoutParameters) {
  EXPECT_EQ(MediaType("Application/JSON ; charset=utf-8"), "application/json");
  EXPECT_EQ(MediaType(""), "");
}

}  // namespace
}  // namespace berth::apiserver
