// Files of access records: what is read is written as something that reads the same; nothing but kCorrupt and kLimitExceeded.
#include <cstdint>

#include "policy/record.h"
#include "result/result.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto known = [](const Error& e) { return e.reason() == Reason::kCorrupt || e.reason() == Reason::kLimitExceeded; };
  if (const auto record = policy::DecodeRecord(text)) {
    const std::string written = policy::EncodeRecord(record->record);
    const auto again = policy::DecodeRecord(written);
    BERTH_CHECK(again && !again->outdated && again->record == record->record && policy::EncodeRecord(again->record) == written);
    // Merging what is there already changes nothing; the node's credential ends all lists.
    for (const auto& [name, access] : record->record.access) {
      auto merged = record->record;
      BERTH_CHECK(policy::Merge(merged, name, {}) == !access.node_pods && merged.access[name].node_pods);
      const policy::AccessCredential secret{.kind = policy::AccessCredential::Kind::kSecret, .uid = "u", .name = "n"};
      BERTH_CHECK(!policy::Merge(merged, name, secret));
    }
  } else {
    BERTH_CHECK(known(record.error()));
  }
  if (const auto intent = policy::DecodeIntent(text)) {
    const auto again = policy::DecodeIntent(policy::EncodeIntent(intent->image));
    BERTH_CHECK(again && again->image == intent->image && !again->outdated);
  } else {
    BERTH_CHECK(known(intent.error()));
  }
  return 0;
}
