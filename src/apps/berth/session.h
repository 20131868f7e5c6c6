// apps/berth/session.h: one run of a command: where the daemon is, how to ask it, how to answer the person.
//
// The connection is made on the first call: connect() ourselves, so that a missing socket, a forbidden one and a dead one
// are told apart; then gRPC over that descriptor (no resolver, no proxies, no reconnecting). A socket that is served by
// neither root nor the caller is refused: names and passwords would go to a stranger. One thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "apps/berth/failure.h"
#include "apps/berth/go_template.h"
#include "apps/berth/json_path.h"
#include "apps/berth/world.h"
#include "berth/v1/berth.grpc.pb.h"
#include "berth/v1/explain.grpc.pb.h"
#include "berth/v1/node.grpc.pb.h"
#include "host/fd.h"
#include "task/context.h"

namespace berth::cli {

namespace v1 = berth::v1;

inline constexpr std::string_view kDefaultSocket = "/run/berth/berth.sock";
inline constexpr int kTimeoutStatus = 124;  // --timeout, as timeout(1) has it

enum class Output : std::uint8_t { kTable, kWide, kJson, kJsonl, kName, kYaml, kTemplate };

struct Globals {
  std::string socket;              // --socket
  std::string colour = "auto";     // --color
  std::string timeout;             // --timeout, of the whole command
  Output output = Output::kTable;  // -o
  std::variant<std::monostate, GoTemplate, JsonPath> form;  // of kTemplate
  bool no_headers = false, no_trunc = false, quiet = false;
  bool json_talk = false;          // --progress json: a program reads stderr
};

struct Endpoint {
  std::string path;
  std::string origin;  // "--socket", "BERTH_SOCKET", …
};
// --socket, BERTH_SOCKET, IMAGE_SERVICE_ENDPOINT, CONTAINER_RUNTIME_ENDPOINT, the default, and where nothing is there crictl's
// configuration (CRI_CONFIG_FILE, /etc/crictl.yaml); "unix:///x", "unix:/x" and "/x" are spellings of one path.
Result<Endpoint> FindEndpoint(World& world, std::string_view flag);
// kSocket with what is wrong and what to do about it.
Result<host::Fd> ConnectTo(const Endpoint& endpoint);

// What a call's status means. The daemon's Failure message wins; without one (no daemon, cut connection, a stranger at
// the socket) the gRPC code tells.
Failure FromStatus(const grpc::Status& status, const grpc::ClientContext& context);

class Session {
 public:
  Session(World& world, Globals globals);

  World& world() const { return world_; }
  const Globals& globals() const { return globals_; }
  // What is printed is made of JSON: the document itself, lines, or a template over the document.
  bool json() const { return globals_.output == Output::kTemplate || json_documents(); }
  bool json_errors() const { return globals_.json_talk || json_documents(); }
  // For programs: JSON or YAML.
  bool data() const { return json() || globals_.output == Output::kYaml; }
  // Digests on a terminal are cut to 12 digits; on a pipe nothing ever is.
  bool whole() const { return globals_.no_trunc || !world_.out.terminal(); }
  Colour colour(const Stream& stream) const;

  void Out(std::string_view text) const { world_.out.Write(text); }
  void Talk(std::string_view text) const { if (!globals_.quiet) world_.err.Write(text); }
  void Warn(std::string_view text) const;  // an event among the others with --progress json
  // -o json: indented; -o jsonl: one line; -o yaml: that; a template: what it makes of the document. Once per command, but for jsonl
  // (see Documents) and watches. What goes wrong with a template is said here and counts in Ended().
  void OutJson(std::string_view json) const;
  // Says it on stderr (as JSON when the output or the progress is) and returns its exit status.
  int Fail(const Failure& failure) const;
  // The exit status of the command that says `status`; at -v 1 with its duration.
  int Ended(std::string_view command, int status) const;

  // Connected stub. Fails with kSocket, or kUsage for an endpoint that is none.
  Result<v1::Berth::Stub*> Stub();
  template <class StubType>
  Result<StubType*> StubOf();
  // For what waits for somebody other than the daemon: stdin, prompts, helpers. Signals and --timeout end it.
  task::Context context() const;
  // For commands that tell whether berthd answers: without --timeout, a call that has no answer within `patience` is kSocket.
  void BeImpatient(time::Duration patience) { patience_ = patience; }
  // Whether the last call that failed did so for that.
  bool unanswered() const { return unanswered_; }
  // The deadline of --timeout on a call; Cancelled calls and passed deadlines are told from the daemon's own here.
  void Prepare(grpc::ClientContext& context) const;
  Failure Judge(const grpc::Status& status, const grpc::ClientContext& context) const;
  // kCanceled by a signal: with that signal's exit status; kTimeout of context(): as that of a call.
  Failure Judge(const Error& error) const;

  // One call with one answer, of either service; the failure if it failed. Stops when a signal comes.
  template <class StubType, class Request, class Response>
  std::optional<Failure> Call(grpc::Status (StubType::*method)(grpc::ClientContext*, const Request&, Response*), const Request& request,
                              Response& response) {
    const auto stub = StubOf<StubType>();
    if (!stub) return FromError(stub.error());
    grpc::ClientContext context;
    Prepare(context);
    const std::stop_callback cancel(world_.stop, [&] { context.TryCancel(); });
    const grpc::Status status = ((*stub)->*method)(&context, request, &response);
    if (status.ok()) return std::nullopt;
    return Judge(status, context);
  }
  // A call of either service that answers with a stream; `each` returns false when it has seen enough, which is no failure.
  template <class StubType, class Request, class Event, class Each>
  std::optional<Failure> Read(std::unique_ptr<grpc::ClientReader<Event>> (StubType::*method)(grpc::ClientContext*, const Request&),
                              const Request& request, Each each) {
    const auto stub = StubOf<StubType>();
    if (!stub) return FromError(stub.error());
    grpc::ClientContext context;
    Prepare(context);
    const std::stop_callback cancel(world_.stop, [&] { context.TryCancel(); });
    const auto reader = ((*stub)->*method)(&context, request);
    bool enough = false;
    for (Event event; !enough && reader->Read(&event);) enough = !each(event);
    if (enough) context.TryCancel();
    const grpc::Status status = reader->Finish();
    if (status.ok() || enough) return std::nullopt;
    return Judge(status, context);
  }

 private:
  bool json_documents() const { return globals_.output == Output::kJson || globals_.output == Output::kJsonl; }
  Result<> Connect();
  Failure Late() const;
  World& world_;
  const Globals globals_;
  const time::SteadyTime begun_;
  mutable int output_status_ = 0;
  std::optional<time::Duration> patience_;
  mutable bool unanswered_ = false;
  std::string place_;  // of the socket, once connected
  std::optional<time::WallTime> deadline_;
  std::optional<time::SteadyTime> steady_deadline_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Berth::Stub> stub_;
  std::unique_ptr<v1::Node::Stub> node_stub_;
  std::unique_ptr<v1::Explain::Stub> explain_stub_;
};

// What a command has to say of each of several names, as one document: an array, of one name the value itself; jsonl: lines.
class Documents {
 public:
  Documents(const Session& session, bool several)
      : session_(session), array_(several && session.globals().output != Output::kJsonl) {}
  void Add(std::string_view json) {
    if (!array_) return session_.OutJson(json);
    all_ += (all_.empty() ? "" : ",") + std::string(json);
  }
  void End() const {
    if (array_) session_.OutJson("[" + all_ + "]");
  }

 private:
  const Session& session_;
  const bool array_;
  std::string all_;
};

template <>
inline Result<v1::Berth::Stub*> Session::StubOf<v1::Berth::Stub>() {
  return Stub();
}
template <>
inline Result<v1::Node::Stub*> Session::StubOf<v1::Node::Stub>() {
  RETURN_IF_ERROR(Connect());
  if (node_stub_ == nullptr) node_stub_ = v1::Node::NewStub(channel_);
  return node_stub_.get();
}
template <>
inline Result<v1::Explain::Stub*> Session::StubOf<v1::Explain::Stub>() {
  RETURN_IF_ERROR(Connect());
  if (explain_stub_ == nullptr) explain_stub_ = v1::Explain::NewStub(channel_);
  return explain_stub_.get();
}

}  // namespace berth::cli
