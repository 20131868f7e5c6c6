// apiserver/render.h: objects as the client wants them: whole, as rows of a table, or their metadata alone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apiserver/request.h"
#include "kube/objects.h"
#include "kube/status.h"
#include "objects/watch.h"
#include "time/clock.h"

namespace berth::apiserver {

// Pure, but for the ages of a table.
class Renderer {
 public:
  Renderer(std::string kind, Form form, Include include, const time::Clock& clock)
      : kind_(std::move(kind)), form_(form), include_(include), clock_(&clock) {}

  std::string One(const kube::Object& object) const;
  struct Page {
    std::int64_t version = 0;
    std::string next;                       // continue
    std::optional<std::int64_t> remaining;
  };
  std::string List(const std::vector<objects::ObjectPtr>& objects, const Page& page) const;

  // Lines of a watch. `first`: a table says its columns once.
  std::string Event(objects::WatchEvent::Type type, const kube::Object& object, bool first) const;
  std::string Bookmark(std::int64_t version) const;
  static std::string Failure(const kube::Status& status);

 private:
  std::string Table(const std::vector<const kube::Object*>& objects, const Page& page, bool columns) const;

  std::string kind_;
  Form form_;
  Include include_;
  const time::Clock* clock_;
};

}  // namespace berth::apiserver
