// Whatever is in a file, an image's name or a journal: no crash, reports stay printable, and their JSON is JSON.
#include <cstdint>
#include <string>
#include <string_view>

#include "explain/journal.h"
#include "explain/lint.h"
#include "explain/question.h"
#include "explain/report.h"
#include "json/document.h"

using namespace berth;

namespace {

void Check(explain::Facts facts) {
  const auto report = explain::MakeReport(std::move(facts));
  BERTH_CHECK(!report.verdict.next.text.empty());
  BERTH_CHECK(report.verdict.ok() || report.verdict.exit_status != 0);
  BERTH_CHECK(json::Document::Parse(explain::ToJson(report), Reason::kInternal, {.bytes = 64u << 20}).has_value());
  for (const char c : explain::ToText(report, {})) BERTH_CHECK(static_cast<unsigned char>(c) >= ' ' || c == '\n');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const auto profile : {credentials::Profile::kDocumented, credentials::Profile::kKubelet})
    if (const auto findings = explain::LintObjects(text, "f", "default", profile)) {
      BERTH_CHECK(json::Document::Parse(explain::LintJson(*findings), Reason::kInternal, {.bytes = 64u << 20}).has_value());
      for (const auto& f : *findings) BERTH_CHECK(f.line >= 1 && !f.rule.empty());
    }
  if (auto questions = explain::AskAboutFile(text, "f", "default", nullptr))
    for (auto& q : *questions) {
      explain::Facts facts;
      facts.image = q.image;
      facts.ns = q.ns, facts.pod = q.pod, facts.container = q.container;
      facts.missing = q.missing;
      if (auto reference = reference::Reference::Parse(q.image)) facts.reference = *std::move(reference);
      else facts.failure = std::move(reference).error();
      Check(std::move(facts));
    }
  if (auto facts = explain::FromJournal({.image = "reg.test/app:1", .record = text})) Check(*std::move(facts));
  explain::Facts named;
  named.image = text;
  if (auto reference = reference::Reference::Parse(text)) named.reference = *std::move(reference);
  else named.failure = std::move(reference).error();
  Check(std::move(named));
  return 0;
}
