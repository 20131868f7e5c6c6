// explain/journal.h: the facts of a pull that is over, from the daemon's journal (pull/record.h writes it).
//
// Records of other versions are read as far as they can be: what is missing stays empty. Pure.
#pragma once

#include "catalog/catalog.h"
#include "explain/facts.h"

namespace berth::explain {

// kCorrupt: the record is no JSON object.
Result<Facts> FromJournal(const catalog::JournalEntry& entry);

}  // namespace berth::explain
