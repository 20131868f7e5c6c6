// kube/quantity.h: Kubernetes quantities ("500m", "1Gi", "1e3").
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace berth::kube {

// The grammar of k8s.io/apimachinery resource.Quantity.
bool IsQuantity(std::string_view text);
// The value in thousandths, rounded up; saturates at the ends of int64. nullopt when it is no quantity.
std::optional<std::int64_t> Milli(std::string_view text);
// The value as a whole number, rounded up ("1500m" is 2).
std::optional<std::int64_t> Whole(std::string_view text);

}  // namespace berth::kube
