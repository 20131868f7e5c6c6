// http/lane.h: libcurl multi handles with their connections, and the pool where they wait (private to http/).
#pragma once

#include <curl/curl.h>

#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "http/client.h"
#include "http/trust.h"

namespace berth::http {

// A multi handle and what its connections were made with. One exchange at a time; no lock.
class Lane {
 public:
  Lane(std::string lane_key, std::shared_ptr<const Trust> lane_trust);
  ~Lane() { curl_multi_cleanup(multi); }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  static constexpr std::size_t kConnections = 4;

  void Visit(const Origin& origin);  // remembers it as the newest, and starts without fresh sockets
  bool Knows(const Origin& origin) const;

  // Sockets opened since Visit(). curl tells of a TCP connection only when TLS is through as well.
  void Opened(int fd) { fresh_.push_back(fd); }
  bool TcpConnected() const;
  // CURLOPT_CLOSESOCKETFUNCTION; the data is the lane, which outlives its connections.
  static int OnClose(void* self, curl_socket_t fd);

  CURLM* const multi;
  const std::string key;                     // TLS, proxy, overrides
  const std::shared_ptr<const Trust> trust;  // curl keeps a pointer into it

 private:
  std::deque<Origin> origins_;  // at most kConnections
  std::vector<int> fresh_;
};

class Pool {
 public:
  explicit Pool(ClientOptions options);

  std::unique_ptr<Lane> Take(const std::string& key, const Origin& origin, const std::shared_ptr<const Trust>& trust);
  void GiveBack(std::unique_ptr<Lane> lane);
  void DropIdle();
  void Close();
  void Nudge();

  const ClientOptions options;
  TrustCache trust;

 private:
  std::mutex mutex_;
  std::deque<std::unique_ptr<Lane>> idle_;  // guarded by mutex_; the longest idle first
  std::set<CURLM*> active_;                 // guarded by mutex_
  bool closed_ = false;                     // guarded by mutex_
};

}  // namespace berth::http
