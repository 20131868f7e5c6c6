// -o go-template= and -o jsonpath= of whatever somebody types: within their bounds, and what they print is the same twice. The first byte
// chooses which.
#include <cstdint>

#include "apps/berth/go_template.h"
#include "apps/berth/json_path.h"
#include "result/result.h"

namespace {

using namespace berth;
using namespace berth::cli;

constexpr std::uint64_t kWork = 200'000;

template <class Form>
void Check(std::string_view source, const json::Tree& document) {
  const auto form = Form::Parse(source);
  if (!form) {
    BERTH_CHECK(form.error().reason() == Reason::kUsage && !form.error().next_step().empty());
    return;
  }
  const auto text = form->Print(document, kWork);
  if (!text) BERTH_CHECK(text.error().reason() == Reason::kUsage && !text.error().next_step().empty());
  else BERTH_CHECK(text->size() <= kWork && *form->Print(document, kWork) == *text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto document = json::Document::Parse(
      R"({"s":"te\"xt","n":7,"f":1.5,"big":-91226112,"t":true,"z":null,"e":[],"o":{"b":2,"a":1},)"
      R"("items":[{"name":"a","k":[1,2,3]},{"name":"b","k":[]}]})", Reason::kInternal);
  static const json::Tree tree(document->root());
  if (size == 0) return 0;
  const std::string_view source(reinterpret_cast<const char*>(data) + 1, size - 1);
  if ((data[0] & 1) != 0) Check<JsonPath>(source, tree);
  else Check<GoTemplate>(source, tree);
  return 0;
}
