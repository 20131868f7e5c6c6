// kubelet-images 8.1 and 6.6 through the store: which secrets a Pod's pulls see, and what is told of those that fail.
#include "node/pod_credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/testing/scratch.h"
#include "node/testing/lab.h"
#include "time/testing/manual_clock.h"

namespace berth::node {
namespace {

using credentials::Profile;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class PodCredentialsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    store_ = *objects::Store::Open(scratch_.path("objects.db"), clock_, [this] { return ++random_; });
    for (const char* ns : {"shop", "other"}) Apply(std::string("{apiVersion: v1, kind: Namespace, metadata: {name: ") + ns + "}}");
    sources_.emplace(Profile::kDocumented, credentials::Sources::Parts{});
  }
  void Apply(const std::string& yaml) {
    const auto documents = yaml::Parse(yaml, "t", Reason::kUsage);
    ASSERT_TRUE(documents) << documents.error().Text();
    const auto applied = store_->Apply(json::Tree((*documents)[0].root()));
    ASSERT_TRUE(applied) << applied.error().ForPeople();
  }
  void Secret(const std::string& name, const std::string& user, const std::string& ns = "shop", const std::string& type = "kubernetes.io/dockerconfigjson",
              const std::string& key = ".dockerconfigjson") {
    const std::string entry = "{\"reg.test\":{\"username\":\"" + user + "\",\"password\":\"canary\"}}";
    Apply("{apiVersion: v1, kind: Secret, metadata: {name: " + name + ", namespace: " + ns + "}, type: " + type + ", stringData: {" + key + ": '" +
          (key == ".dockercfg" ? entry : "{\"auths\":" + entry + "}") + "'}}");
  }
  kube::Pod Pod(const std::string& secrets) {
    return testing::PodFrom("{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop}, spec: {serviceAccountName: builder, imagePullSecrets: [" + secrets +
                            "], containers: [{name: c, image: i}]}}");
  }
  PodCredentials::Found For(const kube::Pod& pod) {
    return SecretCredentials(*store_, *sources_).For({}, pod, [this](const policy::Event& event) { told_.push_back(event); });
  }
  std::vector<std::string> Users(const PodCredentials::Found& found, const std::string& repository = "reg.test/app") {
    const auto all = found.source->Find({}, repository);
    if (!all) return {"error: " + all.error().Text()};
    std::vector<std::string> users;
    for (const auto& c : *all) users.push_back(c.credential.Describe());
    return users;
  }

  host::testing::Scratch scratch_;
  time::testing::ManualClock clock_;
  std::uint64_t random_ = 0;
  std::unique_ptr<objects::Store> store_;
  std::optional<credentials::Sources> sources_;
  std::vector<policy::Event> told_;
};

TEST_F(PodCredentialsTest, TheSecretsOfItsListInItsNamespace) {
  Secret("a", "anna");
  Secret("b", "ben");
  Secret("c", "cleo", "other");
  Secret("old", "otto", "shop", "kubernetes.io/dockercfg", ".dockercfg");
  const auto found = For(Pod("{name: b}, {name: ''}, {name: c}, {name: a}, {name: gone}, {name: old}"));
  EXPECT_THAT(found.missing, ElementsAre("c", "gone")) << "8.4: in the order of the list, empty names left out";
  EXPECT_THAT(Users(found), ElementsAre("secret shop/b (ben)", "secret shop/a (anna)", "secret shop/old (otto)"));
  EXPECT_THAT(Users(found, "other.test/app"), IsEmpty());
  EXPECT_THAT(told_, IsEmpty());
}

TEST_F(PodCredentialsTest, WhatIsRecordedNamesTheSecretAndItsContents) {
  Secret("a", "anna");
  const auto all = For(Pod("{name: a}")).source->Find({}, "reg.test/app");
  ASSERT_TRUE(all);
  ASSERT_THAT(*all, SizeIs(1));
  const auto& access = (*all)[0].access;
  EXPECT_EQ(access.kind, policy::AccessCredential::Kind::kSecret);
  EXPECT_EQ(access.name, "a");
  EXPECT_EQ(access.space, "shop");
  EXPECT_EQ(access.uid, (*store_->Get({"Secret", "shop", "a"}))->metadata.uid);
  EXPECT_THAT(access.hash, SizeIs(64));
}

TEST_F(PodCredentialsTest, ASecretThatComesOrChangesLaterCountsAtTheNextTry) {
  EXPECT_THAT(For(Pod("{name: a}")).missing, ElementsAre("a"));
  Secret("a", "anna");
  EXPECT_THAT(Users(For(Pod("{name: a}"))), ElementsAre("secret shop/a (anna)"));
  Secret("a", "adam");
  EXPECT_THAT(Users(For(Pod("{name: a}"))), ElementsAre("secret shop/a (adam)"));
}

TEST_F(PodCredentialsTest, OneOfAnotherTypeCountsAsIfItWereNotListed) {
  Apply("{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: shop}, stringData: {.dockerconfigjson: '{}'}}");
  const auto found = For(Pod("{name: a}"));
  EXPECT_THAT(found.missing, IsEmpty());
  EXPECT_THAT(Users(found), IsEmpty());
}

TEST_F(PodCredentialsTest, AMalformedOneFailsTheLookUpWithoutItsValue) {
  Apply("{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: shop}, type: kubernetes.io/dockerconfigjson, "
        "stringData: {.dockerconfigjson: '{\"auths\":{\"reg.test\":{\"auth\":\"canary\"}}}'}}");
  const auto users = Users(For(Pod("{name: a}")));
  ASSERT_THAT(users, SizeIs(1));
  EXPECT_THAT(users[0], ::testing::AllOf(HasSubstr("error: "), HasSubstr("shop/a"), Not(HasSubstr("canary"))));
}

TEST_F(PodCredentialsTest, APluginThatFailsIsToldOfToTheOwnerOfThePod) {
  ASSERT_TRUE(scratch_.dir().MakeDir("bin", 0755));
  const auto script = [&](std::string_view text) {
    ASSERT_TRUE(scratch_.dir().OpenDir("bin")->WriteDurably("plug", bytes::AsView(text), 0755));
  };
  script("#!/bin/sh\necho oh no >&2\nexit 3\n");
  ASSERT_TRUE(scratch_.dir().WriteDurably("config.json", bytes::AsView(R"({"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig",)"
      R"("providers":[{"name":"plug","matchImages":["reg.test"],"defaultCacheDuration":"0s",)"
      R"("apiVersion":"credentialprovider.kubelet.k8s.io/v1"}]})"), 0600));
  auto plugins = credentials::ProviderSet::Load({.config = scratch_.path("config.json"), .bin_dir = scratch_.path("bin")}, clock_, nullptr);
  ASSERT_TRUE(plugins) << plugins.error().Text();
  sources_.emplace(Profile::kDocumented, credentials::Sources::Parts{.plugins = plugins->get()});
  Secret("a", "anna");
  const auto found = For(Pod("{name: a}"));
  EXPECT_THAT(told_, IsEmpty()) << "nothing is asked before it matters";
  EXPECT_THAT(Users(found), ElementsAre("secret shop/a (anna)")) << "the pull goes on";
  ASSERT_THAT(told_, SizeIs(1));
  EXPECT_EQ(told_[0], (policy::Event{"FailedCredentialProvider", true,
                                     "plug-in plug: error execing credential provider plugin plug for image reg.test/app: exit status 3"}))
      << "its words are not for everybody who may read events";
  told_.clear();
  Users(found, "other.test/app");
  EXPECT_THAT(told_, IsEmpty()) << "it is for others";
  Users(found, "reg.test/" + std::string(2000, 'a'));
  ASSERT_THAT(told_, SizeIs(1));
  EXPECT_EQ(told_[0].message.size(), 1000u);
}

}  // namespace
}  // namespace berth::node
