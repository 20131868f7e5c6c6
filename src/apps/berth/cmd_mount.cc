#include "apps/berth/commands.h"
#include "apps/berth/format.h"
#include "json/document.h"

namespace berth::cli {
namespace {

// The daemon's working directory is not ours.
Result<std::string> Target(const World& world, const std::string& directory) {
  ASSIGN_OR_RETURN(std::string path, world.Absolute(directory));
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

void Write(json::Writer& w, const v1::MountResponse& mount) {
  w.BeginObject();
  w.Key("target").String(mount.target()).Key("manifest").String(mount.manifest()).Key("form").String(mount.form());
  w.EndObject();
}

int List(Session& session) {
  v1::ListMountsResponse answer;
  if (const auto failure = session.Call(&v1::Berth::Stub::ListMounts, v1::ListMountsRequest(), answer)) return session.Fail(*failure);
  if (session.json() && session.globals().output != Output::kJsonl) {
    json::Writer w;
    w.BeginObject().Key("mounts").BeginArray();
    for (const auto& mount : answer.mounts()) Write(w, mount);
    w.EndArray().EndObject();
    session.OutJson(w.text());
    return 0;
  }
  Table table({"TARGET", "MANIFEST", "FORM"});
  std::string lines;
  for (const auto& mount : answer.mounts()) {
    table.Row({mount.target(), Digest(mount.manifest(), session.whole()), mount.form()});
    json::Writer w;
    if (session.json()) Write(w, mount), lines += w.text() + "\n";
    else lines += Escape(mount.target()) + "\n";
  }
  const bool names = session.globals().quiet || session.globals().output == Output::kName;
  session.Out(session.json() || names ? lines : table.Text(!session.globals().no_headers));
  return 0;
}

}  // namespace

int Mount(Session& session, const MountOptions& options) {
  if (options.image.empty()) return List(session);
  if (options.directory.empty())
    return session.Fail(FromError(Error(Reason::kUsage, "mount needs an image and a directory").Next("berth mount IMAGE DIR; berth mount alone lists")));
  v1::MountRequest request;
  v1::MountResponse answer;
  request.set_image(options.image);
  auto target = Target(session.world(), options.directory);
  if (!target) return session.Fail(FromError(target.error()));
  request.set_target(*std::move(target));
  request.set_writable(options.writable);
  request.set_platform(options.platform);
  if (const auto failure = session.Call(&v1::Berth::Stub::Mount, request, answer)) return session.Fail(At(options.image, *failure));
  if (session.json()) {
    json::Writer w;
    Write(w, answer);
    session.OutJson(w.text());
    return 0;
  }
  session.Talk("mounted " + Escape(options.image) + " (" + Digest(answer.manifest(), false) + ", " + Escape(answer.form()) +
               (options.writable ? ", writable until it is unmounted)\n" : ")\n"));
  session.Out(Escape(answer.target()) + "\n");
  return 0;
}

int Unmount(Session& session, const std::vector<std::string>& directories) {
  std::vector<int> statuses;
  for (const auto& directory : directories) {
    v1::UnmountRequest request;
    v1::UnmountResponse answer;
    auto target = Target(session.world(), directory);
    if (!target) {
      statuses.push_back(session.Fail(FromError(target.error())));
      continue;
    }
    request.set_target(*std::move(target));
    if (const auto failure = session.Call(&v1::Berth::Stub::Unmount, request, answer))
      statuses.push_back(session.Fail(At(request.target(), *failure)));
    else
      session.Talk("unmounted " + Escape(request.target()) + "\n");
  }
  return MostActionable(statuses);
}

}  // namespace berth::cli
