#include "apiserver/watches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apiserver/testing/lab.h"
#include "time/testing/manual_clock.h"

namespace berth::apiserver {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using testing::Client;
using testing::Lab;

const std::string kMaps = "/api/v1/namespaces/default/configmaps";

std::string Map(const std::string& name, const std::string& value = "") {
  return R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":")" + name + R"("},"data":{"v":")" + value + "\"}}";
}

class WatchesTest : public ::testing::Test {
 protected:
  Client Watch(Lab& lab, const std::string& query, const std::string& accept = "application/json") {
    auto reply = lab.Call("GET", kMaps + "?watch=1" + query, "", {{"Accept", accept}});
    EXPECT_EQ(reply.status, 200) << reply.body;
    return Client(reply.stream);
  }
  void Put(Lab& lab, const std::string& name, const std::string& value) {
    if (lab.Call("PUT", kMaps + "/" + name, Map(name, value)).status != 404) return;
    ASSERT_EQ(lab.Call("POST", kMaps, Map(name, value)).status, 201);
  }
  time::testing::ManualClock clock_;
};

TEST_F(WatchesTest, FirstWhatIsThenWhatComes) {
  Lab lab(clock_);
  Put(lab, "a", "1");
  Client client = Watch(lab, "");
  EXPECT_THAT(client.Line(), StartsWith(R"({"type":"ADDED","object":{"apiVersion":"v1","data":{"v":"1"},"kind":"ConfigMap")"));
  Put(lab, "a", "2");
  EXPECT_THAT(client.Line(), StartsWith(R"({"type":"MODIFIED")"));
  ASSERT_EQ(lab.Call("DELETE", kMaps + "/a").status, 200);
  EXPECT_THAT(client.Line(), StartsWith(R"({"type":"DELETED")"));
}

TEST_F(WatchesTest, FromAVersionAndOfASelection) {
  Lab lab(clock_);
  Put(lab, "a", "1");
  const auto version = std::to_string(lab.store->version());
  Put(lab, "b", "1");
  Put(lab, "a", "2");
  Client all = Watch(lab, "&resourceVersion=" + version), one = Watch(lab, "&resourceVersion=" + version + "&fieldSelector=metadata.name%3Da");
  EXPECT_THAT(all.Line(), HasSubstr(R"("name":"b")"));
  EXPECT_THAT(all.Line(), HasSubstr(R"("name":"a")"));
  EXPECT_THAT(one.Line(), HasSubstr(R"({"v":"2"})"));
}

TEST_F(WatchesTest, InTables) {
  Lab lab(clock_);
  Put(lab, "a", "1");
  Client client = Watch(lab, "", "application/json;as=Table;v=v1;g=meta.k8s.io");
  EXPECT_THAT(client.Line(), HasSubstr(R"("columnDefinitions":[{)"));
  Put(lab, "a", "2");
  const std::string line = client.Line();
  EXPECT_THAT(line, HasSubstr(R"("columnDefinitions":[])"));
  EXPECT_THAT(line, HasSubstr(R"("cells":["a",1,"0s"])"));
}

TEST_F(WatchesTest, BookmarksAndTheEnd) {
  Lab lab(clock_);
  Client client = Watch(lab, "&allowWatchBookmarks=true&timeoutSeconds=90"), plain = Watch(lab, "&timeoutSeconds=60");
  Put(lab, "a", "1");
  EXPECT_THAT(client.Line(), StartsWith(R"({"type":"ADDED")"));
  EXPECT_THAT(plain.Line(), StartsWith(R"({"type":"ADDED")"));
  const std::string bookmark =
      R"({"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"creationTimestamp":null,"resourceVersion":")" +
      std::to_string(lab.store->version()) + "\"}}}";
  clock_.Advance(std::chrono::seconds(60));
  EXPECT_EQ(client.Line(), bookmark);
  EXPECT_EQ(plain.Line(), "");
  clock_.Advance(std::chrono::seconds(30));
  EXPECT_EQ(client.Line(), bookmark);
  EXPECT_EQ(client.Line(), "");
}

TEST_F(WatchesTest, ASlowOneIsDroppedWith410AndRecovers) {
  Lab lab(clock_, {.node_name = "n", .history = 50});
  Client slow = Watch(lab, "");
  const auto version = std::to_string(lab.store->version());
  for (int i = 0; i < 150; ++i) Put(lab, "a", std::string(2000, static_cast<char>('a' + i % 26)));
  // It reads now: what was on its way, then the end.
  std::string line, last;
  int lines = 0;
  while (!(line = slow.Line()).empty()) last = line, ++lines;
  EXPECT_LT(lines, 100);
  EXPECT_THAT(last, StartsWith(R"({"type":"ERROR","object":{"apiVersion":"v1","code":410)"));
  EXPECT_THAT(last, HasSubstr(R"("reason":"Expired")"));
  Client late = Watch(lab, "&resourceVersion=" + version);
  EXPECT_THAT(late.Line(), HasSubstr("too old resource version: " + version));
  EXPECT_EQ(late.Line(), "");
  EXPECT_THAT(Watch(lab, "").Line(), StartsWith(R"({"type":"ADDED")"));
}

TEST_F(WatchesTest, ALineLargerThanTheRoomGoesInParts) {
  Lab lab(clock_);
  Put(lab, "a", std::string(900'000, 'x'));
  EXPECT_GT(Watch(lab, "").Line().size(), 900'000u);
}

TEST_F(WatchesTest, ThoseWhoLeaveAreForgotten) {
  Lab lab(clock_, {.node_name = "n", .watches = 2});
  Client a = Watch(lab, ""), b = Watch(lab, "");
  EXPECT_EQ(lab.Call("GET", kMaps + "?watch=1").status, 429);
  a.Leave();
  b.Leave();
  int status = 429;
  for (int i = 0; status == 429 && i < 100'000; ++i) {  // their places come free on the pump's thread
    status = lab.Call("GET", kMaps + "?watch=1").status;
    std::this_thread::yield();
  }
  EXPECT_EQ(status, 200);
}

TEST_F(WatchesTest, AThousandSeeTheSame) {
  Lab lab(clock_, {.node_name = "n", .watches = 1'100});
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 1'000; ++i) clients.push_back(std::make_unique<Client>(Watch(lab, "")));
  for (int i = 0; i < 5; ++i) Put(lab, "a", std::to_string(i));
  for (const auto& client : clients)
    for (int i = 0; i < 5; ++i) ASSERT_THAT(client->Line(), HasSubstr("{\"v\":\"" + std::to_string(i) + "\"}"));
}

}  // namespace
}  // namespace berth::apiserver
