#include "pull/record.h"

#include "json/document.h"
#include "pull/puller.h"

namespace berth::pull {

void Record::Add(const registry::Attempt& attempt) {
  std::lock_guard lock(mutex_);
  if (first_.size() < kFirst) {
    first_.push_back(attempt);
    return;
  }
  if (last_.size() == kLast) {
    last_.erase(last_.begin());
    ++dropped_;
  }
  last_.push_back(attempt);
}

std::string Record::ToJson(Policy policy, const Asker& asker, const Pulled& pulled, const Error* error) const {
  json::Writer w;
  w.BeginObject();
  w.Key("policy").String(Name(policy));
  if (!asker.client.empty()) {
    w.Key("for").BeginObject();
    w.Key("client").String(asker.client);
    if (!asker.pod.empty()) w.Key("namespace").String(asker.pod_namespace).Key("pod").String(asker.pod).Key("uid").String(asker.pod_uid);
    if (!asker.annotations.empty()) {
      w.Key("annotations").BeginObject();
      for (const auto& [key, value] : asker.annotations) w.Key(key).String(value);
      w.EndObject();
    }
    w.EndObject();
  }
  w.Key("digest").String(error == nullptr ? pulled.target.ToString() : "");
  w.Key("host").String(pulled.host);
  w.Key("credential").String(pulled.credential);
  w.Key("bytes_fetched").Uint(pulled.fetched_bytes);
  w.Key("bytes_reused").Uint(pulled.reused_bytes);
  w.Key("bytes_resumed").Uint(pulled.resumed_bytes);
  w.Key("seconds").BeginObject();
  w.Key("queue").Double(pulled.queue_seconds);
  w.Key("resolve").Double(pulled.resolve_seconds);
  w.Key("fetch").Double(pulled.fetch_seconds);
  w.Key("unpack").Double(pulled.unpack_seconds);
  w.Key("total").Double(pulled.total_seconds);
  w.EndObject();
  if (error != nullptr) {
    w.Key("error").BeginObject();
    w.Key("code").String(error->info().code);
    w.Key("message").String(error->Text());
    w.Key("next").String(error->next_step());
    w.EndObject();
  }
  if (pulled.verdict) w.Key("verification").Raw(pulled.verdict->ToJson());
  w.Key("attempts").BeginArray();
  std::lock_guard lock(mutex_);
  const auto write = [&](const registry::Attempt& a) {
    w.BeginObject();
    w.Key("host").String(a.host);
    if (a.mirror) w.Key("mirror").Bool(true);
    w.Key("method").String(a.method);
    w.Key("what").String(a.what);
    w.Key("credential").String(a.credential);
    w.Key("status").Int(a.status);
    if (a.reason) w.Key("error").String(result::Describe(*a.reason).code);
    if (!a.registry_code.empty()) w.Key("registry_code").String(a.registry_code);
    w.Key("bytes").Uint(a.bytes);
    w.Key("ms").Int(a.took.count());
    if (!a.limit.empty()) w.Key("limit").String(a.limit);
    if (!a.warnings.empty()) {
      w.Key("warnings").BeginArray();
      for (const auto& text : a.warnings) w.String(text);
      w.EndArray();
    }
    if (!a.next.empty()) w.Key("next").String(a.next);
    w.EndObject();
  };
  for (const auto& attempt : first_) write(attempt);
  for (const auto& attempt : last_) write(attempt);
  w.EndArray();
  if (dropped_ > 0) w.Key("attempts_left_out").Uint(dropped_);
  w.EndObject();
  return std::move(w).Take();
}

}  // namespace berth::pull
