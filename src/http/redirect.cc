#include "http/redirect.h"

#include <algorithm>

namespace berth::http {
namespace {

bool IsRedirect(int status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }

bool TravelsAlong(std::string_view name) {
  for (const std::string_view kept : {"Accept", "Range", "If-Range", "User-Agent"})
    if (EqualNoCase(name, kept)) return true;
  return false;
}

}  // namespace

class Follower {
 public:
  Follower(Client& client, const Request& request, const RedirectPolicy& policy)
      : client_(client), policy_(policy), first_(request.url.origin()), current_(request.Clone()), addresses_(policy.addresses) {}

  Result<std::unique_ptr<Response>> Run(const task::Context& ctx, const std::function<Result<>(const Hop&)>& on_hop) {
    for (int hops = 0;; ++hops) {
      auto sent = client_.Send(ctx, current_);
      if (!sent) return hops == 0 ? std::move(sent).error() : std::move(sent).error().Context("after " + std::to_string(hops) + " redirects");
      Response& response = **sent;
      response.hops_ = hops;
      response.foreign_ = current_.url.origin() != first_;
      const bool carries_body = current_.method == Method::kPost || current_.method == Method::kPut;
      if (!IsRedirect(response.status()) || carries_body || !response.headers().Has("Location")) return sent;
      if (hops == 0 && !response.proxied()) addresses_.Except(response.remote_address());
      if (auto taken = Take(response, hops, on_hop); !taken)
        return std::move(taken).error().Context("redirect " + std::to_string(hops + 1) + " from " + current_.url.Redacted());
    }
  }

 private:
  Result<> Take(const Response& response, int hops, const std::function<Result<>(const Hop&)>& on_hop) {
    const auto locations = response.headers().All("Location");
    if (std::any_of(locations.begin(), locations.end(), [&](std::string_view l) { return l != locations[0]; }))
      return Error(Reason::kProtocolError, "the redirect names several places");
    ASSIGN_OR_RETURN(Url to, current_.url.Resolve(locations[0]));
    if (current_.url.https() && !to.https())
      return Error(Reason::kInsecureRedirect, "it leads from https to plain http at " + to.origin().ToString())
          .Next("the registry must redirect to https");
    if (hops >= policy_.max_hops)
      return Error(Reason::kTooManyRedirects, "more than " + std::to_string(policy_.max_hops) + " redirects (redirects)");
    const Origin target = to.origin();
    const bool crosses = target != current_.url.origin();
    if (target != first_ && !policy_.allowed_origins.empty() &&
        std::find(policy_.allowed_origins.begin(), policy_.allowed_origins.end(), target) == policy_.allowed_origins.end())
      return Error(Reason::kPolicy, "it leads to " + target.ToString() + ", which is not in the list of allowed origins");
    if (on_hop) RETURN_IF_ERROR(on_hop({hops + 1, response.status(), current_.url, to, crosses}));
    if (crosses) Strip(target);
    current_.url = std::move(to);
    return {};
  }

  // From here on nothing goes out that only the first origin may see; it does not come back when a later hop does.
  void Strip(const Origin& target) {
    current_.authorization.reset();
    Headers kept;
    for (const Header& h : current_.headers)
      if (TravelsAlong(h.name)) kept.Add(h.name, h.value);
    current_.headers = std::move(kept);
    if (policy_.tls) {
      current_.tls = policy_.tls(target);
    } else {
      current_.tls.client_cert.clear();
      current_.tls.client_key.clear();
      current_.tls.skip_verify = false;
    }
    if (!stripped_) current_.addresses.Add(addresses_);
    stripped_ = true;
  }

  Client& client_;
  const RedirectPolicy& policy_;
  const Origin first_;
  Request current_;
  AddressPolicy addresses_;
  bool stripped_ = false;
};

Result<std::unique_ptr<Response>> SendFollowing(Client& client, const task::Context& ctx, const Request& request,
                                                const RedirectPolicy& policy, const std::function<Result<>(const Hop&)>& on_hop) {
  return Follower(client, request, policy).Run(ctx, on_hop);
}

}  // namespace berth::http
