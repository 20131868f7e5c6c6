// Files of access records: what is read is written as something that reads the same; nothing but kCorrupt and kLimitExceeded.
#include <cstdint>
#include <cstdlib>

#include "policy/record.h"

namespace {

void Require(bool truth) {
  if (!truth) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto known = [](const Error& e) { return e.reason() == Reason::kCorrupt || e.reason() == Reason::kLimitExceeded; };
  if (const auto record = policy::DecodeRecord(text)) {
    const std::string written = policy::EncodeRecord(record->record);
    const auto again = policy::DecodeRecord(written);
    Require(again && !again->outdated && again->record == record->record && policy::EncodeRecord(again->record) == written);
    // Merging what is there already changes nothing; the node's credential ends all lists.
    for (const auto& [name, access] : record->record.access) {
      auto merged = record->record;
      Require(policy::Merge(merged, name, {}) == !access.node_pods && merged.access[name].node_pods);
      const policy::AccessCredential secret{.kind = policy::AccessCredential::Kind::kSecret, .uid = "u", .name = "n"};
      Require(!policy::Merge(merged, name, secret));
    }
  } else {
    Require(known(record.error()));
  }
  if (const auto intent = policy::DecodeIntent(text)) {
    const auto again = policy::DecodeIntent(policy::EncodeIntent(intent->image));
    Require(again && again->image == intent->image && !again->outdated);
  } else {
    Require(known(intent.error()));
  }
  return 0;
}
