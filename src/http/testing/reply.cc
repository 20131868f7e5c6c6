#include <algorithm>
#include <charconv>

#include "http/testing/fault_server.h"

namespace berth::http::testing {
namespace {

std::string Lines(const Reply::Fields& fields) {
  std::string out;
  for (const auto& [name, value] : fields) out += name + ": " + value + "\r\n";
  return out;
}

std::string Hex(std::size_t n) {
  std::array<char, 20> text{};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), n, 16).ptr};
}

}  // namespace

void Gate::Open() {
  { std::lock_guard lock(mutex_); open_ = true; }
  changed_.notify_all();
}
void Gate::LetOnePass() {
  { std::lock_guard lock(mutex_); ++passes_; }
  changed_.notify_all();
}
void Gate::AwaitWaiters(int n) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return arrived_ >= n; });
}
void Gate::Wake() {
  { std::lock_guard lock(mutex_); }
  changed_.notify_all();
}
bool Gate::Wait(const std::function<bool()>& giving_up) {
  std::unique_lock lock(mutex_);
  ++arrived_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return open_ || passes_ > 0 || giving_up(); });
  if (open_) return true;
  if (passes_ == 0) return false;
  --passes_;
  return true;
}

std::string ServerRequest::header(std::string_view lower_name) const {
  for (const auto& [name, value] : headers)
    if (name == lower_name) return value;
  return "";
}
bool ServerRequest::has(std::string_view lower_name) const {
  return std::any_of(headers.begin(), headers.end(), [&](const auto& h) { return h.first == lower_name; });
}
std::string ServerRequest::path() const { return target.substr(0, target.find('?')); }

std::string StatusLine(int status) { return "HTTP/1.1 " + std::to_string(status) + " Scripted\r\n"; }

Reply Reply::Head(int status, std::optional<std::uint64_t> claimed, Fields headers) {
  if (claimed) headers.emplace_back("Content-Length", std::to_string(*claimed));
  Reply reply = Raw(StatusLine(status) + Lines(headers) + "\r\n");
  reply.hide_body_for_head_ = true;
  return reply;
}

Reply Reply::Text(int status, std::string_view body, Fields headers) {
  const bool bodiless = status == 204 || status == 304;
  Reply reply = Head(status, bodiless ? std::nullopt : std::optional<std::uint64_t>(body.size()), std::move(headers));
  return bodiless || body.empty() ? reply : reply.Send(body);
}
Reply Reply::Json(int status, std::string_view body, Fields headers) {
  headers.emplace_back("Content-Type", "application/json");
  return Text(status, body, std::move(headers));
}
Reply Reply::Redirect(int status, std::string_view location) { return Text(status, "", {{"Location", std::string(location)}}); }

Reply Reply::Chunked(int status, const std::vector<std::string>& chunks, Fields headers, Fields trailers) {
  headers.emplace_back("Transfer-Encoding", "chunked");
  Reply reply = Head(status, std::nullopt, std::move(headers));
  std::string body;
  for (const std::string& chunk : chunks) body += Hex(chunk.size()) + "\r\n" + chunk + "\r\n";
  return reply.Send(body + "0\r\n" + Lines(trailers) + "\r\n");
}

Reply Reply::Ranged(const ServerRequest& r, std::string_view whole, Fields headers) {
  const std::string range = r.header("range");
  if (range.empty()) return Text(200, whole, std::move(headers));
  std::uint64_t first = 0, last = whole.size() - 1;
  const std::string total = std::to_string(whole.size());
  const std::size_t dash = range.find('-');
  if (!range.starts_with("bytes=") || dash == std::string::npos) return Text(400, "");
  std::from_chars(range.data() + 6, range.data() + dash, first);
  if (dash + 1 < range.size()) std::from_chars(range.data() + dash + 1, range.data() + range.size(), last);
  last = std::min<std::uint64_t>(last, whole.size() - 1);
  if (whole.empty() || first > last) {
    headers.emplace_back("Content-Range", "bytes */" + total);
    return Text(416, "", std::move(headers));
  }
  headers.emplace_back("Content-Range", "bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" + total);
  return Text(206, whole.substr(first, last - first + 1), std::move(headers));
}

Reply Reply::Raw(std::string_view text) { return Reply().Send(text); }
Reply Reply::Silence() { return Reply().StaySilent(); }
Reply Reply::Reset() { return Reply().ResetNow(); }

Reply& Reply::Send(std::string_view text) {
  steps_.push_back({Step::Kind::kSend, std::string(text), nullptr});
  return *this;
}
Reply& Reply::Endless(std::string_view text) {
  steps_.push_back({Step::Kind::kEndless, std::string(text), nullptr});
  return *this;
}
Reply& Reply::Drip(std::string_view text, std::shared_ptr<Gate> gate) {
  steps_.push_back({Step::Kind::kDrip, std::string(text), std::move(gate)});
  return *this;
}
Reply& Reply::WaitFor(std::shared_ptr<Gate> gate) {
  steps_.push_back({Step::Kind::kWait, "", std::move(gate)});
  return *this;
}
Reply& Reply::Close() {
  steps_.push_back({Step::Kind::kClose, "", nullptr});
  return *this;
}
Reply& Reply::ResetNow() {
  steps_.push_back({Step::Kind::kReset, "", nullptr});
  return *this;
}
Reply& Reply::StaySilent() {
  steps_.push_back({Step::Kind::kSilence, "", nullptr});
  return *this;
}

Reply& Reply::CutAfter(std::size_t n, Step::Kind how) {
  for (auto it = steps_.begin(); it != steps_.end(); ++it) {
    if (it->kind != Step::Kind::kSend) continue;
    if (n >= it->text.size()) {
      n -= it->text.size();
      continue;
    }
    it->text.resize(n);
    steps_.erase(it + 1, steps_.end());
    break;
  }
  steps_.push_back({how, "", nullptr});
  return *this;
}
Reply& Reply::CutBodyAfter(std::size_t n, Step::Kind how) { return CutAfter(steps_.at(0).text.size() + n, how); }

}  // namespace berth::http::testing
