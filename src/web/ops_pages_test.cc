#include "web/ops_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "host/listen.h"

namespace berth::web {
namespace {

using ::testing::HasSubstr;

class OpsPagesTest : public ::testing::Test {
 protected:
  httpd::Response Get(const std::string& path, httpd::Fields query = {}, const std::string& method = "GET") {
    return pages_.Answer({}, {.method = method, .path = path, .query = std::move(query)});
  }
  Result<> catalog_, space_;
  metrics::Registry registry_;
  OpsPages pages_{{registry_,
                   {{"catalog", true, [this](const task::Context&) { return catalog_; }},
                    {"space", false, [this](const task::Context&) { return space_; }}},
                   [] { return std::string("kind: X\n"); }}};
};

TEST_F(OpsPagesTest, AllIsWell) {
  for (const char* page : {"/livez", "/readyz", "/healthz", "/readyz/"}) {
    EXPECT_EQ(Get(page).status, 200) << page;
    EXPECT_EQ(Get(page).body, "ok") << page;
  }
  EXPECT_EQ(Get("/readyz", {{"verbose", ""}}).body, "[+]catalog ok\n[+]space ok\nreadyz check passed\n");
  EXPECT_EQ(Get("/livez", {{"verbose", ""}}).body, "[+]catalog ok\nlivez check passed\n");
  EXPECT_TRUE(pages_.Live({}));
}

TEST_F(OpsPagesTest, WhatFailsSaysWhyAndOnlyWhereItCounts) {
  space_ = Error(Reason::kNoSpace, "the store has no room");
  EXPECT_EQ(Get("/livez").status, 200);
  const auto ready = Get("/readyz");
  EXPECT_EQ(ready.status, 500);
  EXPECT_THAT(ready.body, HasSubstr("[+]catalog ok\n[-]space failed: E-"));
  EXPECT_THAT(ready.body, HasSubstr("the store has no room\nreadyz check failed\n"));
  EXPECT_EQ(Get("/readyz", {{"exclude", "space"}}).status, 200);
  EXPECT_THAT(Get("/readyz", {{"verbose", ""}, {"exclude", "space"}, {"exclude", "moon"}}).body,
              HasSubstr("[+]space excluded: ok\nwarn: there is no check \"moon\" to exclude\n"));
  EXPECT_EQ(Get("/readyz/space").status, 500);
  EXPECT_EQ(Get("/readyz/catalog").status, 200);
  EXPECT_TRUE(pages_.Live({}));
  catalog_ = Error(Reason::kIo, "no answer");
  EXPECT_EQ(Get("/livez").status, 500);
  EXPECT_FALSE(pages_.Live({}));
}

TEST_F(OpsPagesTest, OtherPages) {
  registry_.MakeGauge("berth_images", "Images.").Set(2);
  EXPECT_THAT(Get("/metrics").body, HasSubstr("\nberth_images 2\n"));
  EXPECT_EQ(Get("/configz").body, "kind: X\n");
  for (const char* path : {"/", "/readyz/moon", "/readyzz", "/metrics/x"}) EXPECT_EQ(Get(path).status, 404) << path;
  EXPECT_EQ(Get("/metrics", {}, "POST").status, 405);
}

TEST_F(OpsPagesTest, ServersComeAndGoWithTheSettings) {
  std::string folder = (std::filesystem::temp_directory_path() / "berth-ops-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string unix_socket = "unix://" + folder + "/ops.sock";
  OpsServers servers(pages_, {});
  EXPECT_EQ(servers.Serve({"127.0.0.1:0", unix_socket}), 0u);
  const auto first = servers.addresses();
  ASSERT_EQ(first.size(), 2u);
  EXPECT_EQ(servers.Serve({"127.0.0.1:0", unix_socket, first[0]}), 1u) << "its port is taken";
  EXPECT_EQ(servers.addresses(), first) << "what is served stays";
  EXPECT_EQ(servers.Serve({unix_socket}), 0u);
  EXPECT_EQ(servers.Serve({unix_socket, first[0]}), 0u) << "and is free now";
  servers.Stop();
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace berth::web
