// apiserver/watches.h: watches of any number of clients, on two threads.
//
// A watch is a queue of pointers in the store (objects/watch.h) and at most 8 KiB between us and the client. A client that
// takes nothing keeps its place while the store keeps the changes it has not seen; then it is dropped: it gets an ERROR event with
// the Status 410 "Expired" when it reads again, lists anew, and goes on. Its connection is cut by the server when it reads nothing for
// httpd's `idle`. A silent watch costs no thread and no time.
// Safe for concurrent use.
#pragma once

#include <memory>
#include <optional>

#include "apiserver/render.h"
#include "httpd/stream.h"
#include "objects/store.h"

namespace berth::apiserver {

struct WatchWish {
  objects::Filter filter;
  std::optional<std::int64_t> from;     // behind this version; nullopt: first what there is, as ADDED
  bool bookmarks = false;               // one a minute and one at the end
  std::optional<time::Duration> limit;  // nullopt: about an hour
};

class Watches {
 public:
  Watches(objects::Store& store, const time::Clock& clock);
  ~Watches();                           // cuts what is left
  // What the client gets. A version that is too old is no refusal but a stream that says so. 429 when there are too many.
  kube::Answer<httpd::StreamBody> Start(WatchWish wish, Renderer renderer);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::apiserver
