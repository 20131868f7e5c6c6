#include "httpd/client_authority.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "bytes/bytes.h"
#include "host/dir.h"
#include "host/listen.h"
#include "httpd/server.h"
#include "httpd/testing/authority.h"
#include "httpd/testing/client.h"

namespace berth::httpd {
namespace {

using digest::Purpose;
using testing::Client;
using testing::Issue;
using testing::Issued;
using testing::MakeAuthority;
using std::chrono::hours;

const time::WallTime kNow = std::chrono::system_clock::now();

class ClientAuthorityTest : public ::testing::Test {
 protected:
  ~ClientAuthorityTest() override { std::filesystem::remove_all(folder_); }
  static std::string MakeFolder() {
    std::string folder = (std::filesystem::temp_directory_path() / "berth-clients-XXXXXX").string();
    EXPECT_NE(::mkdtemp(folder.data()), nullptr);
    return folder;
  }
  std::string Save(const std::string& name, std::string_view text) {
    EXPECT_TRUE((*host::Dir::Open(folder_)).WriteDurably(name, bytes::AsView(text), 0600));
    return folder_ + "/" + name;
  }
  Client::Self Self(const std::string& name, const Issued& issued) {
    return {Save(name + ".crt", issued.certificate_pem), Save(name + ".key", issued.key_pem.Reveal())};
  }
  // Whether a client that shows this gets an answer.
  bool Served(const Client::Self& self, const std::string& priority = "") {
    Client client(server_->port(), Client::Transport::kTls, ca_file_, self, priority);
    // Under TLS 1.3 a client learns only after its handshake that it is not wanted.
    return client.ok() && client.Ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").has_value();
  }
  void Start(std::optional<ClientAuthority> clients) {
    const Issued leaf = Issue(authority_, {"webhook.svc", "127.0.0.1"}, Purpose::kServer, kNow, hours(24));
    server_ = *Server::Start(*host::ListenTcp({.ip = "127.0.0.1"}),
                             [](const task::Context&, const Request&) { return Response::Text(200, "hi\n"); },
                             {.certificate = *Certificate::Parse(leaf.certificate_pem, leaf.key_pem), .clients = std::move(clients)});
  }

  const std::string folder_ = MakeFolder();  // the first of the members: the others are saved in it
  const Issued authority_ = MakeAuthority("berth", kNow, hours(48));
  const std::string ca_file_ = Save("trusted.crt", authority_.certificate_pem);
  std::unique_ptr<Server> server_;
};

TEST_F(ClientAuthorityTest, AServerWithACertificateOfOursIsTrusted) {
  Start(std::nullopt);
  EXPECT_TRUE(Served({}));
  EXPECT_FALSE(Served({}, "NORMAL:-VERS-ALL:+VERS-TLS1.1")) << "H-07: TLS 1.1";
  EXPECT_TRUE(Served({}, "NORMAL:-VERS-ALL:+VERS-TLS1.2"));
  const Issued other = MakeAuthority("other", kNow, hours(48));
  Client stranger(server_->port(), Client::Transport::kTls, Save("other.crt", other.certificate_pem));
  EXPECT_FALSE(stranger.ok()) << "a client that trusts another authority";
}

TEST_F(ClientAuthorityTest, OnlyClientsOfTheAuthorityGetIn) {
  const Issued clients = MakeAuthority("clients", kNow, hours(48));
  const auto issue = [&](const Issued& by, const std::string& name, Purpose purpose, time::WallTime when) {
    return Issue(by, {name}, purpose, when, hours(24));
  };
  Start(*ClientAuthority::Parse(clients.certificate_pem, {"kube-apiserver"}));
  for (const std::string priority : {"NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3"}) {
    EXPECT_TRUE(Served(Self("good", issue(clients, "kube-apiserver", Purpose::kClient, kNow)), priority)) << priority;
    EXPECT_FALSE(Served({}, priority)) << priority << " no certificate";
    EXPECT_FALSE(Served(Self("name", issue(clients, "pod", Purpose::kClient, kNow)), priority)) << priority << " another name";
    EXPECT_FALSE(Served(Self("ca", issue(authority_, "kube-apiserver", Purpose::kClient, kNow)), priority)) << priority << " another authority";
    EXPECT_FALSE(Served(Self("old", issue(clients, "kube-apiserver", Purpose::kClient, kNow - hours(72))), priority)) << priority << " expired";
    EXPECT_FALSE(Served(Self("server", issue(clients, "kube-apiserver", Purpose::kServer, kNow)), priority)) << priority << " made for servers";
  }
  server_->SetClients(*ClientAuthority::Parse(authority_.certificate_pem));
  EXPECT_TRUE(Served(Self("ca", issue(authority_, "anybody", Purpose::kClient, kNow)))) << "the authority was changed, all names";
  EXPECT_FALSE(Served(Self("good", issue(clients, "kube-apiserver", Purpose::kClient, kNow))));
}

TEST_F(ClientAuthorityTest, WhatIsNone) {
  EXPECT_EQ(ClientAuthority::Parse("").error().reason(), Reason::kConfig);
  EXPECT_EQ(ClientAuthority::Parse("no certificate").error().reason(), Reason::kConfig);
}

}  // namespace
}  // namespace berth::httpd
