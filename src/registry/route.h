// registry/route.h: which host is asked next, when, and which error is told in the end. Internal.
//
//   Route route(...);
//   for (;;) {
//     ASSIGN_OR_RETURN(Host* host, route.Next(ctx));   // waits as long as it has to
//     auto tried = ask(*host);
//     if (tried.result) return …;
//     tried.record.Finish(route.Failed(*host, tried.result.error()));
//   }
// Every host once, in order, those known to be dead or to lie about the digest last; then rounds with back-off among
// those that may still help. 429 is waited for at the host that said it, by all of one pull (Session::HoldOff), and what the
// Standby gives back is not held meanwhile. A host that failed and said for how long is passed over until then by all of one
// pull, and waited for like that when no other is left. One that tells us to wait `rounds` times in a row, whichever documents
// and blobs of the pull asked, is out for all of them. When the registry itself has given a final answer, mirrors are not
// asked again. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "digest/digest.h"
#include "registry/session.h"
#include "registry/standby.h"

namespace berth::registry {

enum class Need : bool { kResolve, kPull };

class Route {
 public:
  Route(Session& session, Need need, std::optional<digest::Digest> digest, std::string what, Standby* standby = nullptr);

  // The first call reads the hosts. Fails with the error of the whole undertaking.
  Result<Host*> Next(const task::Context& ctx);
  // Returns what happens next, for the record. `progress`: new bytes that this try brought.
  std::string Failed(Host& host, Error error, std::uint64_t progress = 0);
  // The same credit for bytes that came without a failure, when there are more to ask for.
  void Progressed(Host& host, std::uint64_t progress) { Credit(states_[IndexOf(host)], progress); }
  // Would Failed() with this error, which brought nothing, be the end of the host, or leave it one try?
  bool GivesUp(const Host& host, const Error& error) const;

 private:
  struct State {
    Host* host;
    int tries = 0;
    int odd = 0;  // of them, since the last progress, those that are worth one repetition only
    bool out = false;
    std::optional<Error> last;
    time::SteadyTime not_before{};
  };
  Result<> Start();
  Result<> SitOut(const task::Context& ctx, time::Duration wait, const std::string& why, const std::stop_token& over) const;
  void Spend(State& state) const;
  bool Credit(State& state, std::uint64_t progress);  // whether it was worth a try
  std::size_t IndexOf(const Host& host) const;
  std::string Choose(std::size_t from, time::SteadyTime now);
  Error Final() const;

  Session& session_;
  const Need need_;
  const std::optional<digest::Digest> digest_;
  const std::string what_;
  Standby* const standby_;
  std::vector<State> states_;
  std::optional<std::size_t> next_;  // nothing: it is over
  std::optional<Error> fatal_;
  time::SteadyTime wait_until_{};
  bool waiting_ = false;
  int round_ = 0;
  std::uint64_t progress_ = 0;
};

// Of several causes the one the user can act on best comes first (product 4.3).
int Actionability(Reason reason);

// What a wait that a host asked for is made longer by, so that not all come back at once: at most a fifth of it (P13) and
// at most `base`; `random` is in [0, 1).
time::Duration RetryJitter(time::Duration wait, time::Duration base, double random);

}  // namespace berth::registry
