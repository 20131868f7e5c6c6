#include "apps/berth/session.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <grpcpp/create_channel_posix.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "apps/berth/format.h"
#include "apps/berth/trace.h"
#include "host/dir.h"
#include "json/document.h"
#include "yaml/document.h"
#include "yaml/writer.h"

namespace berth::cli {
namespace {

constexpr int kAnswerBytes = 64 << 20;  // the list of a node with tens of thousands of images

Error NoSocket(std::string message, std::string next) { return Error(Reason::kSocket, std::move(message)).Next(std::move(next)); }

}  // namespace

namespace {
// image-endpoint, else runtime-endpoint; a file that is not there or not crictl's says nothing.
Endpoint FromCrictl(World& world) {
  std::string path = world.Variable("CRI_CONFIG_FILE");
  if (path.empty()) path = "/etc/crictl.yaml";
  const auto text = host::ReadSmallFile(path, 64u << 10);
  world.Trace(4, "crictl's configuration " + Escape(path) + (text ? " is read" : " cannot be read"));
  const auto documents = text ? yaml::Parse(*text, path, Reason::kConfig) : Result<std::vector<yaml::Document>>(text.error());
  if (!documents || documents->empty()) return {};
  for (const char* key : {"image-endpoint", "runtime-endpoint"})
    if (const auto value = documents->front().root().Find(key); value && value->IsString() && !value->AsString()->empty())
      return {std::string(*value->AsString()), path};
  return {};
}
}  // namespace

Result<Endpoint> FindEndpoint(World& world, std::string_view flag) {
  Endpoint found{std::string(flag), "--socket"};
  for (const char* name : {"BERTH_SOCKET", "IMAGE_SERVICE_ENDPOINT", "CONTAINER_RUNTIME_ENDPOINT"})
    if (found.path.empty()) found = {world.Variable(name), name};
  // crictl's file is about the node's runtime, which is seldom us: it counts only where nothing is at our own place.
  if (found.path.empty() && ::access(std::string(kDefaultSocket).c_str(), F_OK) != 0) found = FromCrictl(world);
  if (found.path.empty()) return Endpoint{std::string(kDefaultSocket), "the default"};
  std::string_view path = found.path;
  if (path.starts_with("unix:")) path.remove_prefix(path.starts_with("unix://") ? 7 : 5);
  if (!path.starts_with('/') || path.size() >= sizeof(sockaddr_un::sun_path))
    return Error(Reason::kUsage, Quoted(found.path) + " (" + found.origin + ") is no path of a Unix socket")
        .Next("give an absolute path of at most 107 bytes, or unix:// and such a path");
  return Endpoint{std::string(path), found.origin};
}

Result<host::Fd> ConnectTo(const Endpoint& endpoint) {
  const std::string where = "socket " + Escape(endpoint.path) + " (" + endpoint.origin + ")";
  host::Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return host::OsError(errno, "make a socket");
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::memcpy(address.sun_path, endpoint.path.c_str(), endpoint.path.size() + 1);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    switch (errno) {
      case ENOENT: case ENOTDIR:
        return NoSocket(where + " does not exist", "start berthd, or name its socket with --socket");
      case EACCES: case EPERM:
        return NoSocket(where + " may not be used by this user", "run berth as root");
      case ECONNREFUSED:
        return NoSocket("nobody listens at " + where, "start berthd: systemctl start berthd");
      case EAGAIN:
        return NoSocket(where + " takes no more connections now", "try again; journalctl -u berthd tells what berthd is busy with");
      default: return NoSocket(host::OsError(errno, "connect to " + where).Text(), "berth doctor looks closer");
    }
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return host::OsError(errno, "ask who serves " + where);
  if (peer.uid != 0 && peer.uid != geteuid())
    return NoSocket(where + " is served by user " + std::to_string(peer.uid) + ", who is neither root nor you",
                    "check who put a socket there");
  return fd;
}

Failure FromStatus(const grpc::Status& status, const grpc::ClientContext& context) {
  const auto& trailers = context.GetServerTrailingMetadata();
  if (const auto found = trailers.find("berth-failure-bin"); found != trailers.end()) {
    v1::Failure failure;
    if (failure.ParseFromArray(found->second.data(), static_cast<int>(found->second.size())) && !failure.code().empty()) {
      // A daemon that says "failed" with status 0 must not make a script go on.
      const int exit_status = failure.exit_status();
      return {failure.code(), failure.message(), failure.next_step(), exit_status > 0 && exit_status < 256 ? exit_status : 1};
    }
  }
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return FromError(NoSocket("the connection to berthd broke", "journalctl -u berthd tells why; what a pull has fetched stays"));
    case grpc::StatusCode::UNIMPLEMENTED:
      return FromError(NoSocket("the program at the socket does not offer this: it is not berthd, or an older one",
                                "berth doctor shows who is there; name berthd's socket with --socket"));
    case grpc::StatusCode::CANCELLED: return FromError(Error(Reason::kCanceled, "the daemon canceled the request"));
    case grpc::StatusCode::DEADLINE_EXCEEDED: return FromError(Error(Reason::kTimeout, "the daemon gave up waiting"));
    default:
      return FromError(Error(Reason::kInternal, "berthd answered with gRPC status " + std::to_string(status.error_code()) +
                                                    " and no explanation").Next("journalctl -u berthd may tell more"));
  }
}

Session::Session(World& world, Globals globals) : world_(world), globals_(std::move(globals)), begun_(world.clock.SteadyNow()) {
  if (const auto timeout = ParseDuration(globals_.timeout); timeout && *timeout > time::Duration::zero()) {
    deadline_ = world_.clock.WallNow() + *timeout;
    steady_deadline_ = begun_ + *timeout;
  }
}

Colour Session::colour(const Stream& stream) const {
  if (globals_.colour != "auto") return globals_.colour == "always" ? Colour::kYes : Colour::kNo;
  const bool wanted = stream.terminal() && world_.Variable("NO_COLOR").empty() && world_.Variable("TERM") != "dumb";
  return wanted ? Colour::kYes : Colour::kNo;
}

void Session::Warn(std::string_view text) const {
  if (globals_.json_talk) {
    json::Writer w;
    w.BeginObject().Key("ts").String(Timestamp(world_.clock.WallNow())).Key("event").String("warning").Key("text").String(text).EndObject();
    return world_.err.Write(std::move(w).Take() + "\n");
  }
  world_.err.Write((colour(world_.err) == Colour::kYes ? "\x1b[33mwarning:\x1b[0m " : "warning: ") + Escape(text) + "\n");
}

void Session::OutJson(std::string_view json) const {
  if (globals_.output == Output::kJson) return Out(Indent(json));
  if (globals_.output == Output::kJsonl) return Out(std::string(json) + "\n");
  // Documents of the node's own lists and of images: many values, and deeper than what others send us.
  const auto document = json::Document::Parse(json, Reason::kInternal, {.bytes = 256u << 20, .depth = 100, .values = 50'000'000});
  if (!document) {
    output_status_ = Fail(FromError(document.error()));
    return;
  }
  if (globals_.output == Output::kYaml) return Out(yaml::Print(document->root()));
  const json::Tree tree(document->root());
  const auto* path = std::get_if<JsonPath>(&globals_.form);
  const auto text = path != nullptr ? path->Print(tree) : std::get<GoTemplate>(globals_.form).Print(tree);
  if (!text) {
    output_status_ = Fail(FromError(text.error()));
    return;
  }
  if (!world_.out.terminal()) return Out(*text);
  // Names and labels come from outside: on a terminal they move no cursor. Lines and tabs are the template's.
  std::string shown;
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find_first_of("\n\t", at), text->size());
    shown += Escape(std::string_view(*text).substr(at, end - at));
    if (end < text->size()) shown += (*text)[end];
    at = end + 1;
  }
  Out(shown);
}

int Session::Ended(std::string_view command, int status) const {
  const int all = MostActionable(std::array{status, output_status_});
  world_.Trace(1, std::string(command) + " ended with exit status " + std::to_string(all) + " after " + TraceTime(world_.clock.SteadyNow() - begun_));
  return all;
}

int Session::Fail(const Failure& failure) const {
  world_.err.Write(json_errors() ? JsonLine(failure) : Lines(failure, colour(world_.err)));
  return failure.exit_status;
}

Result<v1::Berth::Stub*> Session::Stub() {
  RETURN_IF_ERROR(Connect());
  if (stub_ == nullptr) stub_ = v1::Berth::NewStub(channel_);
  return stub_.get();
}

Result<> Session::Connect() {
  if (channel_ != nullptr) return {};
  ASSIGN_OR_RETURN(const Endpoint endpoint, FindEndpoint(world_, globals_.socket));
  ASSIGN_OR_RETURN(host::Fd fd, ConnectTo(endpoint));
  place_ = endpoint.path;
  world_.Trace(4, "connected to the socket " + Escape(endpoint.path) + " (" + endpoint.origin + ")");
  // Their own log lines are for their developers.
  if (world_.Variable("GRPC_VERBOSITY").empty()) gpr_set_log_function([](gpr_log_func_args*) {});
  google::protobuf::SetLogHandler(nullptr);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetMaxReceiveMessageSize(kAnswerBytes);
  if (world_.verbosity < 4) channel_ = grpc::CreateCustomInsecureChannelFromFd("localhost", fd.release(), arguments);
  else
    channel_ = grpc::experimental::CreateCustomInsecureChannelWithInterceptorsFromFd("localhost", fd.release(), arguments, CallTracers(world_));
  return {};
}

task::Context Session::context() const {
  const task::Context ctx(world_.stop, world_.clock);
  return steady_deadline_ ? ctx.WithDeadline(*steady_deadline_) : ctx;
}

void Session::Prepare(grpc::ClientContext& context) const {
  if (deadline_) context.set_deadline(std::chrono::time_point_cast<std::chrono::system_clock::duration>(*deadline_));
  else if (patience_)
    context.set_deadline(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(patience_->count(), GPR_TIMESPAN)));
}

Failure Session::Judge(const grpc::Status& status, const grpc::ClientContext& context) const {
  if (world_.stop.stop_requested() && status.error_code() == grpc::StatusCode::CANCELLED)
    return Judge(Error(Reason::kCanceled, ""));
  unanswered_ = patience_ && !deadline_ && status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (unanswered_)
    return FromError(NoSocket("berthd at " + Escape(place_) + " has not answered within " + Took(std::chrono::duration<double>(*patience_).count()),
                              "systemctl status berthd and journalctl -u berthd tell what it is busy with; or give a --timeout"));
  // The daemon knows the deadline too and may give up a moment before our own timer does, in its own words.
  const bool late = deadline_ && world_.clock.WallNow() + std::chrono::seconds(1) >= *deadline_;
  if (late && (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED || status.error_code() == grpc::StatusCode::CANCELLED))
    return Late();
  return FromStatus(status, context);
}

Failure Session::Late() const {
  Failure failure = FromError(Error(Reason::kTimeout, "not done within " + globals_.timeout + " (--timeout)")
                                  .Next("give it a longer --timeout; berth doctor shows whether berthd answers"));
  failure.exit_status = kTimeoutStatus;
  return failure;
}

Failure Session::Judge(const Error& error) const {
  if (error.reason() == Reason::kTimeout && steady_deadline_ && world_.clock.SteadyNow() >= *steady_deadline_) return Late();
  if (!error.cancelled() || !world_.stop.stop_requested()) return FromError(error);
  Failure failure = FromError(Error(Reason::kCanceled, "interrupted"));
  failure.exit_status = world_.interrupted_status();
  return failure;
}

}  // namespace berth::cli
