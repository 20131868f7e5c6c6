#include "resolve/registry_resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "admission/files.h"
#include "bytes/encoding.h"
#include "registry/testing/fake_registry.h"

namespace berth::resolve {
namespace {

class Resolving : public ::testing::Test {
 protected:
  Resolving() {
    options_.hosts.roots.clear();
    options_.hosts.plain_http = {registry_.host()};
    options_.retry.rounds = 1;
    image_ = registry_.PutImage("team/app", "v1", {"layer"}).manifest.digest.ToString();
  }
  void AddSecret(const std::string& ns, const std::string& name, const std::string& user, const std::string& password) {
    const std::string config = "{\"auths\":{\"" + registry_.host() + "\":{\"username\":\"" + user + "\",\"password\":\"" + password + "\"}}}";
    Add("{apiVersion: v1, kind: Secret, metadata: {name: " + name + ", namespace: " + ns + "}, type: kubernetes.io/dockerconfigjson, data: {.dockerconfigjson: " + bytes::ToBase64(bytes::AsView(config)) + "}}");
  }
  void Add(const std::string& yaml) { facts_.Add((*yaml::Parse(yaml, "t", Reason::kUsage))[0].root(), "default"); }
  Result<digest::Digest> Ask(std::vector<std::string> secrets, const std::string& tag = "v1", RegistryResolver::More more = nullptr) {
    registry::Client client(http_, time::SystemClock(), [] { return 0.5; }, options_);
    RegistryResolver resolver(client, facts_, sources_, std::move(more));
    return resolver.Resolve({}, {*reference::Reference::Parse(registry_.host() + "/team/app:" + tag), "shop", std::move(secrets)});
  }
  registry::testing::FakeRegistry registry_;
  http::Client http_;
  registry::ClientOptions options_;
  admission::FileFacts facts_;
  const credentials::Sources sources_{credentials::Profile::kDocumented, {}};
  std::string image_;
};

TEST_F(Resolving, AsksOnceWithTheSecretsOfTheNamespace) {
  registry_.RequireBasic("alice", "canary");
  AddSecret("shop", "regcred", "alice", "canary");
  AddSecret("other", "theirs", "alice", "canary");
  const auto found = Ask({"absent", "regcred"});
  ASSERT_TRUE(found) << found.error().Text();
  EXPECT_EQ(found->ToString(), image_);
  EXPECT_EQ(registry_.Count("GET"), 0) << "a HEAD is enough";
  const auto theirs = Ask({"theirs"});
  ASSERT_FALSE(theirs) << "another namespace's secret is not there";
  EXPECT_EQ(theirs.error().reason(), Reason::kUnauthorized);
  EXPECT_EQ(theirs.error().Text().find("canary"), std::string::npos);
}

TEST_F(Resolving, TriesWhatElseIsKnown) {
  registry_.RequireBasic("alice", "canary");
  EXPECT_TRUE(Ask({}, "v1", [](const reference::Reference&) {
    std::vector<credentials::Credential> more(1);
    more[0].username = "alice";
    more[0].password = secret::Secret("canary");
    return more;
  }));
}

TEST_F(Resolving, SaysWhatIsWrong) {
  EXPECT_EQ(Ask({}, "gone").error().reason(), Reason::kNotFound);
  Add("{apiVersion: v1, kind: Secret, metadata: {name: bad, namespace: shop}, type: kubernetes.io/dockerconfigjson, data: {.dockerconfigjson: " + bytes::ToBase64(bytes::AsView("{\"auths\":[]}")) + "}}");
  EXPECT_EQ(Ask({"bad"}).error().reason(), Reason::kInvalidCredentials);
}

}  // namespace
}  // namespace berth::resolve
