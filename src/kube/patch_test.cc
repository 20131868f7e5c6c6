#include "kube/patch.h"

#include <gtest/gtest.h>

namespace berth::kube {
namespace {

json::Tree Read(const std::string& text) { return json::Tree(json::Document::Parse(text, Reason::kUsage)->root()); }

struct Row {
  std::string name, before, patch, after;  // after "": refused
  std::string kind = "Pod";
};
std::ostream& operator<<(std::ostream& out, const Row& r) { return out << r.name; }
class Strategic : public ::testing::TestWithParam<Row> {};
TEST_P(Strategic, Merges) {
  const Row& row = GetParam();
  json::Tree tree = Read(row.before);
  const auto patch = json::Document::Parse(row.patch, Reason::kUsage);
  ASSERT_TRUE(patch) << patch.error().Text();
  const auto applied = ApplyPatch(tree, PatchType::kStrategic, patch->root(), row.kind);
  ASSERT_EQ(applied.has_value(), !row.after.empty()) << (applied ? tree.Dump() : applied.error().message);
  if (applied) EXPECT_EQ(tree.Dump(), Read(row.after).Dump());
  else EXPECT_EQ(applied.error().code, 400);
}
INSTANTIATE_TEST_SUITE_P(
    All, Strategic,
    ::testing::Values(
        Row{"members", R"({"metadata":{"labels":{"a":"1","b":"2"}}})", R"({"metadata":{"labels":{"a":null,"c":"3"}}})", R"({"metadata":{"labels":{"b":"2","c":"3"}}})"},
        Row{"containers_by_name", R"({"spec":{"containers":[{"name":"a","image":"x:1"},{"name":"b","image":"y"}]}})",
            R"({"spec":{"containers":[{"name":"a","image":"x:2"}]}})", R"({"spec":{"containers":[{"name":"a","image":"x:2"},{"name":"b","image":"y"}]}})"},
        Row{"containers_added", R"({"spec":{"containers":[{"name":"a"}]}})", R"({"spec":{"containers":[{"name":"b","image":"y","command":null}]}})",
            R"({"spec":{"containers":[{"name":"a"},{"name":"b","image":"y"}]}})"},
        Row{"item_deleted", R"({"spec":{"containers":[{"name":"a"},{"name":"b"}]}})", R"({"spec":{"containers":[{"$patch":"delete","name":"a"}]}})",
            R"({"spec":{"containers":[{"name":"b"}]}})"},
        Row{"list_replaced", R"({"spec":{"containers":[{"name":"a"},{"name":"b"}]}})", R"({"spec":{"containers":[{"name":"c"},{"$patch":"replace"}]}})",
            R"({"spec":{"containers":[{"name":"c"}]}})"},
        Row{"object_replaced", R"({"metadata":{"labels":{"a":"1"}}})", R"({"metadata":{"labels":{"$patch":"replace","b":"2"}}})", R"({"metadata":{"labels":{"b":"2"}}})"},
        Row{"object_emptied", R"({"metadata":{"labels":{"a":"1"}}})", R"({"metadata":{"labels":{"$patch":"delete"}}})", R"({"metadata":{"labels":{}}})"},
        Row{"env_by_name", R"({"spec":{"containers":[{"name":"a","env":[{"name":"X","value":"1"},{"name":"Y","value":"2"}]}]}})",
            R"({"spec":{"containers":[{"name":"a","env":[{"name":"Y","value":"3"}]}]}})",
            R"({"spec":{"containers":[{"name":"a","env":[{"name":"X","value":"1"},{"name":"Y","value":"3"}]}]}})"},
        Row{"ports_by_number", R"({"spec":{"containers":[{"name":"a","ports":[{"containerPort":80}]}]}})",
            R"({"spec":{"containers":[{"name":"a","ports":[{"containerPort":80,"name":"http"},{"containerPort":81}]}]}})",
            R"({"spec":{"containers":[{"name":"a","ports":[{"containerPort":80,"name":"http"},{"containerPort":81}]}]}})"},
        Row{"pull_secrets_of_a_pod_merge", R"({"spec":{"imagePullSecrets":[{"name":"a"}]}})", R"({"spec":{"imagePullSecrets":[{"name":"b"}]}})",
            R"({"spec":{"imagePullSecrets":[{"name":"a"},{"name":"b"}]}})"},
        Row{"pull_secrets_of_an_account_do_not", R"({"imagePullSecrets":[{"name":"a"}]})", R"({"imagePullSecrets":[{"name":"b"}]})", R"({"imagePullSecrets":[{"name":"b"}]})",
            "ServiceAccount"},
        Row{"atomic_list", R"({"spec":{"containers":[{"name":"a","command":["x","y"]}]}})", R"({"spec":{"containers":[{"name":"a","command":["z"]}]}})",
            R"({"spec":{"containers":[{"name":"a","command":["z"]}]}})"},
        Row{"scalars_merge", R"({"metadata":{"finalizers":["a","b"]}})", R"({"metadata":{"finalizers":["b","c"]}})", R"({"metadata":{"finalizers":["a","b","c"]}})"},
        Row{"scalars_deleted", R"({"metadata":{"finalizers":["a","b"]}})", R"({"metadata":{"$deleteFromPrimitiveList/finalizers":["a"]}})", R"({"metadata":{"finalizers":["b"]}})"},
        Row{"scalars_in_order", R"({"metadata":{"finalizers":["a","x","b"]}})", R"({"metadata":{"$setElementOrder/finalizers":["b","a"]}})",
            R"({"metadata":{"finalizers":["x","b","a"]}})"},
        Row{"order_with_items", R"({"spec":{"containers":[{"name":"a"},{"name":"b"}]}})",
            R"({"spec":{"$setElementOrder/containers":[{"name":"c"},{"name":"a"}],"containers":[{"name":"c"}]}})",
            R"({"spec":{"containers":[{"name":"b"},{"name":"c"},{"name":"a"}]}})"},
        Row{"volume_changes_its_source", R"({"spec":{"volumes":[{"name":"v","emptyDir":{}}]}})",
            R"({"spec":{"volumes":[{"$retainKeys":["hostPath","name"],"name":"v","hostPath":{"path":"/x"}}]}})", R"({"spec":{"volumes":[{"name":"v","hostPath":{"path":"/x"}}]}})"},
        Row{"other_type", R"({"metadata":{"labels":{"a":"1"}}})", R"({"metadata":{"labels":["x"]}})", R"({"metadata":{"labels":["x"]}})"},
        Row{"unknown_directive", R"({"metadata":{}})", R"({"metadata":{"$patch":"burn"}})", ""},
        Row{"no_merge_key", R"({"spec":{"containers":[{"name":"a"}]}})", R"({"spec":{"containers":[{"image":"x"}]}})", ""},
        Row{"retain_does_not_fit", R"({"spec":{"volumes":[{"name":"v"}]}})", R"({"spec":{"volumes":[{"$retainKeys":["name"],"name":"v","emptyDir":{}}]}})", ""},
        Row{"no_object", R"({})", "[]", ""}),
    [](const auto& row) { return row.param.name; });

TEST(Patch, TheOtherTwo) {
  json::Tree tree = Read(R"({"spec":{"containers":[{"name":"a"}]}})");
  const auto merge = json::Document::Parse(R"({"spec":{"containers":[{"name":"b"}]}})", Reason::kUsage);
  ASSERT_TRUE(ApplyPatch(tree, PatchType::kMerge, merge->root(), "Pod"));
  EXPECT_EQ(tree.Dump(), R"({"spec":{"containers":[{"name":"b"}]}})") << "a merge patch knows no merge keys";
  const auto test = json::Document::Parse(R"([{"op":"test","path":"/spec/x","value":1}])", Reason::kUsage);
  const auto refused = ApplyPatch(tree, PatchType::kJson, test->root(), "Pod");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, 422);
  EXPECT_EQ(refused.error().message, "the server rejected our request due to an error in our request");
  EXPECT_FALSE(ApplyPatch(tree, PatchType::kJson, merge->root(), "Pod"));
}

}  // namespace
}  // namespace berth::kube
