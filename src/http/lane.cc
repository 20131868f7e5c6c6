#include "http/lane.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace berth::http {

Lane::Lane(std::string lane_key, std::shared_ptr<const Trust> lane_trust)
    : multi(curl_multi_init()), key(std::move(lane_key)), trust(std::move(lane_trust)) {
  BERTH_CHECK(multi != nullptr);
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, static_cast<long>(kConnections));
}

void Lane::Visit(const Origin& origin) {
  std::erase(origins_, origin);
  origins_.push_back(origin);
  if (origins_.size() > kConnections) origins_.pop_front();
  fresh_.clear();
}

bool Lane::TcpConnected() const {
  return std::any_of(fresh_.begin(), fresh_.end(), [](int fd) {
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    return getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &length) == 0;
  });
}

int Lane::OnClose(void* self, curl_socket_t fd) {
  std::erase(static_cast<Lane*>(self)->fresh_, fd);
  return close(fd);
}

bool Lane::Knows(const Origin& origin) const { return std::find(origins_.begin(), origins_.end(), origin) != origins_.end(); }

Pool::Pool(ClientOptions o) : options(std::move(o)), trust(options.get_env) {
  // Safe from several threads since 7.84 and counted; the process keeps it.
  BERTH_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

std::unique_ptr<Lane> Pool::Take(const std::string& key, const Origin& origin, const std::shared_ptr<const Trust>& t) {
  std::unique_ptr<Lane> lane;
  {
    std::lock_guard lock(mutex_);
    const auto fits = [&](const auto& l) { return l->key == key && l->Knows(origin); };
    if (const auto it = std::find_if(idle_.rbegin(), idle_.rend(), fits); it != idle_.rend()) {
      lane = std::move(*it);
      idle_.erase(std::next(it).base());
      active_.insert(lane->multi);
    }
  }
  if (!lane) {
    lane = std::make_unique<Lane>(key, t);
    std::lock_guard lock(mutex_);
    active_.insert(lane->multi);
  }
  lane->Visit(origin);
  return lane;
}

void Pool::GiveBack(std::unique_ptr<Lane> lane) {
  std::unique_ptr<Lane> dropped;  // closing connections happens without the lock
  std::lock_guard lock(mutex_);
  active_.erase(lane->multi);
  dropped = std::move(lane);
  if (closed_ || options.idle_lanes == 0) return;
  idle_.push_back(std::move(dropped));
  if (idle_.size() > options.idle_lanes) {
    dropped = std::move(idle_.front());
    idle_.pop_front();
  }
}

void Pool::DropIdle() {
  std::deque<std::unique_ptr<Lane>> dropped;
  std::lock_guard lock(mutex_);
  dropped.swap(idle_);
}

void Pool::Close() {
  { std::lock_guard lock(mutex_); closed_ = true; }
  DropIdle();
}

void Pool::Nudge() {
  std::lock_guard lock(mutex_);  // a lane is not destroyed while it is in active_
  for (CURLM* multi : active_) curl_multi_wakeup(multi);
}

}  // namespace berth::http
