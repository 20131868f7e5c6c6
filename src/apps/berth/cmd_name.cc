#include <array>

#include "apps/berth/commands.h"
#include "apps/berth/files.h"
#include "apps/berth/format.h"
#include "json/document.h"
#include "reference/reference.h"

namespace berth::cli {
namespace {

struct Tally { std::size_t names = 0, bad = 0; };

std::string Line(std::string_view input, Tally& tally) {
  const auto name = reference::Reference::Parse(input);
  ++tally.names;
  if (!name) ++tally.bad;
  json::Writer w;
  w.BeginObject();
  w.Key("input").String(input).Key("ok").Bool(name.has_value());
  w.Key("error").String(name ? "" : name.error().Text());
  w.Key("domain").String(name ? name->domain() : "").Key("path").String(name ? name->path() : "");
  w.Key("tag").String(name ? name->tag().value_or("") : "");
  w.Key("digest").String(name && name->digest() ? name->digest()->ToString() : "");
  w.Key("canonical").String(name ? name->Canonical() : "").Key("familiar").String(name ? name->Familiar() : "");
  w.Key("cri").String(name ? name->CriSpelling() : "");
  w.EndObject();
  return std::move(w).Take() + "\n";
}

// Lines of stdin, whatever their length: of one longer than any name only the beginning is kept (and refused).
Result<> FromStdin(Session& session, Tally& tally) {
  std::array<std::byte, 64 << 10> room;
  std::string line, out;
  bool pending = false;
  const task::Context ctx = session.context();
  for (;;) {
    ASSIGN_OR_RETURN(const std::size_t n, ReadSomeOfStdin(ctx, session.world(), room));
    if (n == 0) break;
    for (const char c : bytes::AsText(bytes::View(room).first(n))) {
      pending = c != '\n';
      if (pending) {
        if (line.size() <= reference::kMaxText) line += c;
        continue;
      }
      out += Line(line, tally);
      line.clear();
    }
    session.Out(out);
    out.clear();
  }
  if (pending) session.Out(Line(line, tally));
  return {};
}

}  // namespace

int Name(Session& session, const std::vector<std::string>& names) {
  Tally tally;
  if (names.empty()) {
    if (const auto read = FromStdin(session, tally); !read) return session.Fail(session.Judge(read.error()));
  } else {
    std::string out;
    for (const auto& name : names) out += Line(name, tally);
    session.Out(out);
  }
  if (tally.bad == 0) return 0;
  return session.Fail(FromError(Error(Reason::kInvalidReference, std::to_string(tally.bad) + " of " + Count(tally.names, "text") + " " +
                                                                     (tally.bad == 1 ? "is no image name" : "are no image names"))
                                    .Next("\"error\" in the line of each says why")));
}

}  // namespace berth::cli
