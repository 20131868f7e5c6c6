// admission/service_account.h: the admission plug-in ServiceAccount, as far as images go (kubelet-images 3.3).
//
// Of a Pod that is created: the account `default` when it names none; the account's imagePullSecrets, all of them in order, when the Pod
// lists none (never merged; one entry without a name is a list). Mirror Pods are left alone and may name no account and no secret. An
// account with kubernetes.io/enforce-mountable-secrets: "true" lets its Pods use its own secrets only. Tokens are not mounted.
#pragma once

#include <cstdint>
#include <functional>

#include "admission/draft.h"
#include "admission/request.h"
#include "kube/status.h"
#include "task/context.h"

namespace berth::admission {

struct AccountOptions {
  int tries_of_default = 10;                // the account `default` of a new namespace may be about to be made; others: one try
  std::function<std::uint64_t()> random{};  // 64 bits: how long to wait between tries, 100 to 199 ms; empty: 100 ms
};

// 403 `error looking up service account NS/NAME: …`.
kube::Answer<> AdmitAccount(const task::Context& ctx, Draft& draft, const PodPart& pod, const Request& request, Facts& facts,
                            const AccountOptions& options);
// Pods that are created, and ephemeral containers that are added.
kube::Answer<> CheckAccount(const task::Context& ctx, const PodPart& pod, const Request& request, Facts& facts,
                            const AccountOptions& options);

}  // namespace berth::admission
