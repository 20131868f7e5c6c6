#include "registry/blob_stream.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace berth::registry {

std::optional<ContentRange> ParseContentRange(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const auto number = [&](char after) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end == text.data()) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (after == '\0') return text.empty() ? std::optional(value) : std::nullopt;
    if (!text.starts_with(after)) return std::nullopt;
    text.remove_prefix(1);
    return value;
  };
  ContentRange range;
  const auto first = number('-');
  const auto last = first ? number('/') : std::nullopt;
  if (!last || *last < *first) return std::nullopt;
  range.first = *first;
  range.last = *last;
  if (text == "*") return range;
  range.total = number('\0');
  return range.total && range.last < *range.total ? std::optional(range) : std::nullopt;
}

namespace {

// A server may give a blob in parts, each of which is a good answer; but not byte by byte.
constexpr std::uint64_t kLeastPart = 4096;

// May the request have been refused for its Range?
bool MayBeOfRange(Reason reason) {
  switch (reason) {
    case Reason::kRange: case Reason::kUnexpectedStatus: case Reason::kServerError: case Reason::kBlobNotFound:
    case Reason::kSizeMismatch: case Reason::kDenied: return true;
    default: return false;
  }
}

}  // namespace

ResumingBlob::ResumingBlob(std::shared_ptr<Session> session, const task::Context& ctx, const oci::Descriptor& descriptor,
                           std::uint64_t offset, bool restarted, Standby* standby)
    : session_(std::move(session)), ctx_(ctx), digest_(descriptor.digest), size_(descriptor.size), restarted_(restarted),
      route_(*session_, Need::kPull, digest_, "blob " + digest_.ToString(), standby), position_(offset) {}

ResumingBlob::~ResumingBlob() {
  if (!response_) return;
  record_.attempt().bytes = taken_;
  record_.Finish(position_ == size_ ? "" : "given up by us");
}

Error ResumingBlob::Fail(Error error) {
  failed_ = error;
  response_.reset();
  return error;
}

Result<> ResumingBlob::Open() {
  if (position_ == size_) return {};
  for (;;) {
    auto next = route_.Next(ctx_);
    if (!next) return Fail(std::move(next).error());
    Host* const host = *next;
    for (bool again = true; std::exchange(again, false);) {
      Ask ask{.method = http::Method::kGet, .path = "blobs/" + digest_.ToString(), .what = "blob " + digest_.ToString(), .accept = "*/*"};
      if (position_ > 0 && !no_ranges_.contains(host)) ask.from = position_;
      auto tried = session_->Exchange(ctx_, *host, ask);
      Result<> good = tried.result ? Accept(**tried.result, ask) : Result<>(std::move(tried.result).error());
      if (good) {
        host_ = host;
        host_name_ = host->Name();
        response_ = *std::move(tried.result);
        record_ = std::move(tried.record);
        skip_ = ask.from && response_->status() == 206 ? 0 : position_;
        progress_ = taken_ = 0;
        const auto range = response_->status() == 206 ? ParseContentRange(response_->headers().Get("Content-Range")) : std::nullopt;
        part_ = range && range->last + 1 < size_ ? range->last - range->first + 1 : 0;
        resumed_from_ = position_;
        return {};
      }
      tried.record.attempt().reason = good.error().reason();
      // What may pass by itself is worth the bytes that are here already: only when the host is about to be given up is it put
      // down to Range. kRange and a wrong length are never that. Who says when to come back refuses no Range.
      const Error& error = good.error();
      const bool certain = error.reason() == Reason::kRange || error.reason() == Reason::kSizeMismatch;
      if (ask.from && MayBeOfRange(error.reason()) && !error.retry_after() && (certain || route_.GivesUp(*host, error))) {
        no_ranges_.insert(host);
        tried.record.Finish("again, from the start");
        again = true;
        continue;
      }
      if (error.transient()) no_ranges_.erase(host);  // it was not the Range, or not it alone
      tried.record.Finish(route_.Failed(*host, std::move(good).error()));
    }
  }
}

Result<> ResumingBlob::Accept(const http::Response& response, const Ask& ask) {
  const std::string type = oci::BareMediaType(response.headers().Get("Content-Type"));
  const std::string place = response.url().origin().ToString();
  const auto length = response.content_length();
  if (response.status() != 206) {
    if (length == size_) return {};
    if (type == "text/html") return Error(Reason::kInvalidManifest, "the answer of " + place + " is not a registry answer (text/html)");
    if (!length) return {};
    return Error(Reason::kSizeMismatch, place + " has " + std::to_string(*length) + " bytes for " + ask.what + ", which has " +
                                            std::to_string(size_));
  }
  const auto range = type.starts_with("multipart/") ? std::nullopt : ParseContentRange(response.headers().Get("Content-Range"));
  if (!range || range->first != position_ || range->last >= size_ || (range->total && *range->total != size_) ||
      (length && *length != range->last - range->first + 1))
    return Error(Reason::kRange, place + " answered with another part of " + ask.what + " than it was asked for");
  return {};
}

void ResumingBlob::Broke(Error error) {
  if (skip_ > 0) no_ranges_.erase(host_);  // before anything new came: perhaps it gives the rest by now
  response_.reset();
  record_.attempt().bytes = taken_;
  record_.attempt().reason = error.reason();
  record_.Finish(route_.Failed(*host_, std::move(error), progress_));
}

Result<std::size_t> ResumingBlob::AtEnd() {
  if (!response_) return 0;
  std::byte extra;
  const auto n = response_->Read(bytes::MutableView(&extra, 1));
  record_.attempt().bytes = taken_;
  if (n && *n == 0) {
    response_.reset();
    record_.Finish("");
    return 0;
  }
  Error error = n ? Error(Reason::kSizeMismatch, host_name_ + " sent more than the " + std::to_string(size_) + " bytes of blob " +
                                                     digest_.ToString())
                  : Error(n.error());
  if (n) session_->engine.memory.Ban(host_->id, digest_, session_->engine.options.retry.liar_for);
  record_.attempt().reason = error.reason();
  record_.Finish("");
  return Fail(std::move(error));
}

Result<std::size_t> ResumingBlob::Read(bytes::MutableView room) {
  if (failed_) return *failed_;
  if (room.empty()) return 0;
  for (;;) {
    if (position_ == size_) return AtEnd();
    if (!response_) RETURN_IF_ERROR(Open());
    const std::uint64_t most = skip_ > 0 ? skip_ : size_ - position_;
    auto n = response_->Read(room.first(static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), most))));
    if (n && *n == 0 && taken_ == part_ && part_ >= kLeastPart) {
      route_.Progressed(*host_, progress_);
      response_.reset();
      record_.attempt().bytes = taken_;
      record_.Finish("next part");
      continue;
    }
    if (n && *n == 0)
      n = Error(Reason::kUnexpectedEof, host_name_ + " ended blob " + digest_.ToString() + " after " + std::to_string(position_) +
                                            " of " + std::to_string(size_) + " bytes");
    if (!n) {
      Broke(std::move(n).error());
      continue;
    }
    received_ += *n;
    taken_ += *n;
    if (skip_ > 0) {
      skip_ -= *n;
      continue;
    }
    if (progress_ == 0) session_->Contributed(digest_, *host_);
    progress_ += *n;
    position_ += *n;
    return n;
  }
}

}  // namespace berth::registry
